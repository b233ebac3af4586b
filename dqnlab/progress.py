"""Where a supervised fit stands: everything that going on exactly needs, as arrays and as JSON."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dqnlab.train import TrainState
from dqnlab.types import Array, Params, PyTree


class Best(NamedTuple):
    """The network of the epoch with the lowest validation loss; without validation, the last."""

    params: Params
    net_state: PyTree


class Progress(NamedTuple):
    """A fit between two launches. Orders and random keys follow from (seed, epoch, batch)."""

    train: TrainState
    best: Best
    totals: dict[str, Array]  # float32[]: metrics' sums over the epoch under way; {} at the start
    epoch: int = 1  # under way
    batch: int = 0  # minibatches of it that are done
    history: tuple[dict[str, float], ...] = ()  # a row for each epoch that is complete
    best_loss: float = math.inf
    best_epoch: int = 0


def begin(state: TrainState) -> Progress:
    """The progress before the first minibatch; all arrays are copies, as `fit` donates them."""
    train = jax.tree.map(jnp.array, state)
    best = jax.tree.map(jnp.array, Best(state.params, state.net_state))
    return Progress(train, best, totals={})


def split(progress: Progress) -> tuple[PyTree, dict[str, Any]]:
    """The arrays and the JSON that `join` makes the progress of again, bit for bit."""
    rest = progress._asdict()
    arrays = {name: rest.pop(name) for name in ("train", "best")}
    rest["best_loss"] = None if math.isinf(progress.best_loss) else progress.best_loss
    # A float32 survives as a float of JSON exactly.
    rest["totals"] = {name: float(total) for name, total in progress.totals.items()}
    return arrays, rest


def join(arrays: PyTree, rest: dict[str, Any]) -> Progress:
    """The inverse of `split`; arrays may be NumPy's, and lists stand for tuples."""
    best_loss = math.inf if rest["best_loss"] is None else rest["best_loss"]
    totals = {name: jnp.float32(total) for name, total in rest["totals"].items()}
    rest = {**rest, "best_loss": best_loss, "history": tuple(rest["history"]), "totals": totals}
    return Progress(**jax.tree.map(jnp.asarray, arrays), **rest)
