"""Where a supervised fit stands: everything that going on exactly needs, as arrays and as JSON."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dqnlab.train import LossAux, TrainState
from dqnlab.types import Array, Params, PyTree

Update = Callable[[TrainState, Array, Any], tuple[TrainState, LossAux]]


class Best(NamedTuple):
    """The network of the epoch with the lowest validation loss; without validation, the last."""

    params: Params
    net_state: PyTree


class Progress(NamedTuple):
    """A fit between two launches. Orders and random keys follow from (seed, epoch, batch)."""

    train: TrainState
    best: Best
    totals: dict[str, Array]  # float32[]: sums over the examples of the epoch under way
    epoch: int = 1  # under way
    batch: int = 0  # minibatches of it that are done
    history: tuple[dict[str, float], ...] = ()  # a row for each epoch that is complete
    best_loss: float = math.inf
    best_epoch: int = 0


def begin(state: TrainState, update: Update, batch: PyTree) -> Progress:
    """The progress before the first minibatch, which looks like `batch`."""
    _, aux = jax.eval_shape(update, state, jax.random.PRNGKey(0), batch)
    totals = {name: jnp.zeros((), jnp.float32) for name in sorted(aux.metrics)}
    train = jax.tree.map(jnp.array, state)  # copies: the caller's arrays are not donated
    best = jax.tree.map(jnp.array, Best(state.params, state.net_state))
    return Progress(train, best, totals)


def split(progress: Progress) -> tuple[PyTree, dict[str, Any]]:
    """The arrays and the JSON that `join` makes the progress of again, bit for bit."""
    rest = progress._asdict()
    arrays = {name: rest.pop(name) for name in ("train", "best", "totals")}
    rest["best_loss"] = None if math.isinf(progress.best_loss) else progress.best_loss
    return arrays, rest


def join(arrays: PyTree, rest: dict[str, Any]) -> Progress:
    """The inverse of `split`; arrays may be NumPy's, and lists stand for tuples."""
    arrays = jax.tree.map(jnp.asarray, arrays)
    best_loss = math.inf if rest["best_loss"] is None else rest["best_loss"]
    rest = {**rest, "best_loss": best_loss, "history": tuple(rest["history"])}
    return Progress(**arrays, **rest)
