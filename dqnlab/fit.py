"""The supervised training loop: the same TrainState and update as the agents', over epochs."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dqnlab.train import LossAux, TrainState
from dqnlab.types import Array, PyTree, UserError

Update = Callable[[TrainState, Array, Any], tuple[TrainState, LossAux]]
Evaluate = Callable[[TrainState, Any], dict[str, Array]]


class Fitted(NamedTuple):
    """What a fit gives back."""

    state: TrainState  # of the best epoch where there is validation data, else of the last
    history: list[dict[str, float]]  # one row per epoch: loss, grad_norm, valid_* ...
    best_epoch: int


def fit(
    state: TrainState,
    update: Update,
    data: PyTree,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    validation: PyTree | None = None,
    evaluate: Evaluate | None = None,
    patience: int | None = None,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
) -> Fitted:
    """Train for some epochs over shuffled minibatches, the last partial one included.

    Args:
      state: from `dqnlab.train.init`.
      update: from `dqnlab.train.make_update`; batches have the structure of `data`.
      data: pytree of arrays that share their leading axis, the examples.
      validation: like `data`; needs `evaluate`, whose "loss" is then watched.
      evaluate: (state, validation) -> scalars, at least {"loss": ...}.
      patience: stop after so many epochs without a lower validation loss.
      on_epoch: called with each row of the history.

    The same seed and data give the same result, bit for bit on CPU.

    Raises:
      UserError: sizes that cannot be, arrays of different lengths, a loss that is not finite.
    """
    size = num_examples(data)
    if not 1 <= batch_size <= size:
        raise UserError(f"batch_size is {batch_size}; the data has {size} examples")
    if epochs < 1:
        raise UserError(f"epochs is {epochs}; it must be at least 1")
    if (validation is None) != (evaluate is None) or (patience and validation is None):
        raise UserError("validation data, evaluate and patience go together")
    step = jax.jit(update, donate_argnums=0)
    measure = None if evaluate is None else jax.jit(evaluate)
    state = jax.tree.map(jnp.copy, state)  # the caller's own is not donated
    best, best_loss, best_epoch = state, np.inf, 0
    history: list[dict[str, float]] = []
    for epoch in range(1, epochs + 1):
        sums: dict[str, float] = {}
        for key, batch in minibatches(data, batch_size, seed, epoch):
            state, aux = step(state, key, batch)
            weight = num_examples(batch) / size
            for name, value in aux.metrics.items():
                sums[name] = sums.get(name, 0.0) + weight * float(value)
        if not np.isfinite(sums["loss"]):
            raise UserError(f"the loss is not finite in epoch {epoch}; lower the learning rate")
        row = {"epoch": float(epoch), **sums}
        if measure is not None:
            row |= {f"valid_{name}": float(x) for name, x in measure(state, validation).items()}
        history.append(row)
        if on_epoch is not None:
            on_epoch(row)
        watched = row.get("valid_loss", -float(epoch))  # without validation the last is the best
        if watched < best_loss:
            best, best_loss, best_epoch = jax.tree.map(jnp.copy, state), watched, epoch
        elif patience is not None and epoch - best_epoch >= patience:
            break
    return Fitted(best, history, best_epoch)


def minibatches(
    data: PyTree, batch_size: int, seed: int, epoch: int
) -> Iterator[tuple[Array, PyTree]]:
    """One epoch of (key, batch) in an order of its own; the last batch may be smaller."""
    size = num_examples(data)
    order = np.random.default_rng((seed, epoch)).permutation(size)
    epoch_key = jax.random.fold_in(jax.random.PRNGKey(seed), epoch)
    for index, start in enumerate(range(0, size, batch_size)):
        chosen = order[start : start + batch_size]
        yield jax.random.fold_in(epoch_key, index), jax.tree.map(lambda x: x[chosen], data)  # noqa: B023


def num_examples(data: PyTree) -> int:
    """The shared leading length of all arrays; UserError where they differ."""
    lengths = {len(leaf) for leaf in jax.tree.leaves(data)}
    if len(lengths) != 1:
        raise UserError(f"the arrays hold different numbers of examples: {sorted(lengths)}")
    return lengths.pop()
