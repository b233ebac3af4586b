"""The supervised training loop: the same TrainState and update as the agents', over epochs."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dqnlab import batches
from dqnlab.progress import Best, Progress, begin
from dqnlab.train import LossAux, TrainState
from dqnlab.types import Array, PyTree, UserError
from dqnlab.validation import seed as check_seed

Update = Callable[[TrainState, Array, Any], tuple[TrainState, LossAux]]
Evaluate = Callable[[TrainState, Array, Any], dict[str, Array]]
INIT, EPOCHS, VALIDATION = 0, 1, 2  # what is folded into the seed's key for each purpose
_LAUNCH_BYTES = 64 << 20  # of examples copied to the device at a time


class Fitted(NamedTuple):
    """What a fit gives back."""

    state: TrainState  # with the best parameters and net state
    history: list[dict[str, float]]  # one row per epoch: epoch, loss, grad_norm, valid_loss ...
    best_epoch: int
    progress: Progress  # fit(progress, ...) goes on from here


def fit(
    start: TrainState | Progress,
    update: Update,
    data: PyTree,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    validation: PyTree | None = None,
    evaluate: Evaluate | None = None,
    patience: int | None = None,
    batches_per_launch: int = 32,
    callbacks: Sequence[Callable[[Progress], Any]] = (),
    is_stopped: Callable[[Progress], bool] | None = None,
) -> Fitted:
    """Train for some epochs over shuffled minibatches, the last partial one included.

    Args:
      start: from `dqnlab.train.init`; or the progress of an earlier fit with the same other
        arguments (epochs may differ), which then ends as if it had not stopped, bit for bit.
      update: from `dqnlab.train.make_update`; batches have the structure of `data`.
      data: pytree of arrays that share their leading axis, the examples.
      batch_size: examples in a minibatch; where there are fewer, all of them are one minibatch.
      validation: like `data`; needs `evaluate`, whose "loss" is then watched.
      evaluate: (state, key, batch) -> scalars, at least {"loss": ...}; the same key each time.
      patience: stop after so many epochs without a lower validation loss.
      batches_per_launch: minibatches in one compiled loop: small nets are otherwise bound by
        dispatch. 1 has no loop, which suits layers that XLA runs slowly inside one on CPU.
      callbacks: called after each epoch; a true answer stops the fit.
      is_stopped: asked after each launch; a true answer stops the fit, maybe within an epoch.

    Raises:
      UserError: sizes that cannot be, arrays of different lengths, a loss that is not finite.
    """
    size, seed = batches.num_examples(data), check_seed(seed)
    _check(epochs, batch_size, batches_per_launch)
    batch_size = min(batch_size, size)
    _check_validation(validation, evaluate, patience)
    launch = _make_launch(update, is_loop=batches_per_launch > 1)
    measure = None if evaluate is None else jax.jit(evaluate)
    progress = _prepare(start, update, data, batch_size)
    if measure is not None and progress.history and "valid_loss" not in progress.history[-1]:
        progress = progress._replace(best_loss=np.inf)  # what came before was not validated
    while progress.epoch <= epochs and not _is_over(progress, patience):
        for progress in _epoch(progress, launch, data, batch_size, seed, batches_per_launch):  # noqa: B020
            if is_stopped is not None and is_stopped(progress):
                return _fitted(progress)
        row = _means(progress, size)
        if measure is not None:
            key = jax.random.fold_in(jax.random.PRNGKey(seed), VALIDATION)
            here = functools.partial(measure, progress.train)
            means = batches.mean_metrics(here, key, validation, batch_size)
            row |= {f"valid_{name}": value for name, value in means.items()}
        progress = _end_epoch(progress, row)
        answers = [callback(progress) for callback in callbacks]
        if any(answers):
            break
    return _fitted(progress)


def _prepare(
    start: TrainState | Progress, update: Update, data: PyTree, batch_size: int
) -> Progress:
    if isinstance(start, TrainState):
        start = begin(start)
    if start.batch > -(-batches.num_examples(data) // batch_size):
        raise UserError(f"the progress is not of this data: {start.batch} minibatches of an epoch")
    totals = start.totals
    if start.batch == 0:
        example = batches.take(data, np.arange(batch_size))
        _, aux = jax.eval_shape(update, start.train, jax.random.PRNGKey(0), example)
        totals = {name: jnp.zeros((), jnp.float32) for name in sorted(aux.metrics)}
    # Copies: launches donate their arrays, and these are the caller's.
    train, totals = jax.tree.map(jnp.array, (start.train, totals))
    return start._replace(train=train, totals=totals)


def _epoch(
    progress: Progress,
    launch: Callable[..., tuple[TrainState, PyTree]],
    data: PyTree,
    batch_size: int,
    seed: int,
    per_launch: int,
) -> Iterator[Progress]:
    """What is left of an epoch: the progress after each launch."""
    key = jax.random.fold_in(jax.random.PRNGKey(seed), EPOCHS)
    key = jax.random.fold_in(key, progress.epoch)
    for first, count, examples in _launches(data, batch_size, seed, progress, per_launch):
        train, totals = launch(progress.train, progress.totals, key, first, count, examples)
        progress = progress._replace(train=train, totals=totals, batch=first + count)
        yield progress


def _means(progress: Progress, size: int) -> dict[str, float]:
    row = {name: float(total) / size for name, total in progress.totals.items()}
    if not np.isfinite(row["loss"]):
        raise UserError(
            f"the loss is not finite in epoch {progress.epoch}: lower the learning rate, clip the "
            "gradients, or look for values in the data that are not finite"
        )
    return row


def _end_epoch(progress: Progress, row: dict[str, float]) -> Progress:
    row = {"epoch": float(progress.epoch), **row}
    # Without validation data the last epoch is the best.
    watched = row.get("valid_loss", -float(progress.epoch))
    if watched < progress.best_loss:
        best = Best(progress.train.params, progress.train.net_state)
        progress = progress._replace(
            best=jax.tree.map(jnp.array, best), best_loss=watched, best_epoch=progress.epoch
        )
    return progress._replace(
        totals=jax.tree.map(jnp.zeros_like, progress.totals),
        epoch=progress.epoch + 1,
        batch=0,
        history=(*progress.history, row),
    )


def _is_over(progress: Progress, patience: int | None) -> bool:
    return patience is not None and progress.epoch - 1 - progress.best_epoch >= patience


def _fitted(progress: Progress) -> Fitted:
    best = progress.best if progress.best_epoch else Best(*progress.train[:2])
    # A copy: going on from the progress donates its arrays.
    state = jax.tree.map(jnp.array, progress.train._replace(**best._asdict()))
    return Fitted(state, list(progress.history), progress.best_epoch, progress)


@functools.lru_cache(maxsize=32)  # fitting again with the same update compiles nothing again
def _make_launch(update: Update, is_loop: bool) -> Callable[..., tuple[TrainState, PyTree]]:
    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def launch(
        state: TrainState, totals: PyTree, key: Array, first: Array, count: Array, examples: PyTree
    ) -> tuple[TrainState, PyTree]:
        def step(index: Any, carry: tuple[TrainState, PyTree]) -> tuple[TrainState, PyTree]:
            state, totals = carry
            batch = jax.tree.map(
                lambda x: lax.dynamic_index_in_dim(x, index, keepdims=False) if is_loop else x[0],
                examples,
            )
            state, aux = update(state, jax.random.fold_in(key, first + index), batch)
            size = jax.tree.leaves(batch)[0].shape[0]
            sums = {name: sum_ + size * aux.metrics[name] for name, sum_ in totals.items()}
            return state, sums

        if not is_loop:
            return step(0, (state, totals))
        # The number of steps is no constant: the remainder of an epoch compiles nothing new.
        carry: tuple[TrainState, PyTree] = lax.fori_loop(0, count, step, (state, totals))
        return carry

    return launch


def _launches(
    data: PyTree, batch_size: int, seed: int, progress: Progress, per_launch: int
) -> Iterator[tuple[int, int, PyTree]]:
    """(first minibatch, how many, examples [L, B, ...]) of what is left of the epoch.

    The last launch of full minibatches is filled up to L with examples that are not looked at.
    """
    size = batches.num_examples(data)
    order = batches.shuffled(size, seed, progress.epoch)
    full, rest = divmod(size, batch_size)
    example_bytes = sum(np.asarray(x).nbytes for x in jax.tree.leaves(data)) / size
    fits = int(_LAUNCH_BYTES / max(1.0, example_bytes * batch_size))
    length = max(1, min(per_launch, full, fits))
    first = progress.batch
    while first < full:
        count = min(length, full - first)
        chosen = order[first * batch_size : (first + count) * batch_size]
        chosen = np.resize(chosen, (length, batch_size))
        yield first, count, batches.take(data, chosen)
        first += count
    if rest and first == full:
        yield full, 1, batches.take(data, order[None, full * batch_size :])


def _check(epochs: int, batch_size: int, batches_per_launch: int) -> None:
    sizes = {"epochs": epochs, "batch_size": batch_size, "batches_per_launch": batches_per_launch}
    for name, value in sizes.items():
        if value < 1:
            raise UserError(f"{name} is {value}; it must be at least 1")


def _check_validation(
    validation: PyTree | None, evaluate: Evaluate | None, patience: int | None
) -> None:
    if validation is not None and evaluate is None:
        raise UserError("validation data are given, but no `evaluate` to measure them with")
    if validation is None and evaluate is not None:
        raise UserError("`evaluate` is given, but no validation data to measure")
    if patience is not None and validation is None:
        raise UserError(f"patience is {patience}, but there are no validation data to watch")
    if patience is not None and patience < 1:
        raise UserError(f"patience is {patience}; it must be at least 1, or None")
