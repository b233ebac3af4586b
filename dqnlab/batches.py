"""Data sets, pytrees of arrays that share their leading axis: checked, shuffled, cut, averaged."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from dqnlab.types import Array, PyTree, UserError


def num_examples(data: PyTree) -> int:
    """The shared leading length of all arrays; UserError where they differ or are empty."""
    leaves = jax.tree.leaves(data)
    lengths = {len(leaf) if np.ndim(leaf) else 0 for leaf in leaves}
    if len(lengths) > 1:
        raise UserError(f"the arrays hold different numbers of examples: {sorted(lengths)}")
    if not lengths or lengths == {0}:
        raise UserError("the data is empty: there is not one example")
    return lengths.pop()


def check_finite(data: PyTree, name: str) -> None:
    """Raise UserError where a floating-point array has a NaN or an infinity."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(data):
        array = np.asarray(leaf)
        if not np.issubdtype(array.dtype, np.floating) or np.isfinite(array).all():
            continue
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        count = int((~np.isfinite(array)).sum())
        where = f"{name}{jax.tree_util.keystr(path)}{list(index)}"
        raise UserError(f"{where} is {array[index]}; {count} values of the data are not finite")


def shuffled(size: int, seed: int, epoch: int) -> np.ndarray:
    """int64[size]: the order of an epoch's examples, another one in each epoch."""
    return np.random.default_rng((seed, epoch)).permutation(size)


def take(data: PyTree, chosen: np.ndarray) -> PyTree:
    """The chosen examples; `chosen` may have any shape, which replaces the leading axis."""
    return jax.tree.map(lambda x: np.asarray(x)[chosen], data)


def in_order(data: PyTree, batch_size: int) -> Iterator[PyTree]:
    """Batches in the order of the data; the last may be smaller."""
    for start in range(0, num_examples(data), batch_size):
        yield jax.tree.map(lambda x: np.asarray(x)[start : start + batch_size], data)  # noqa: B023


def mean_metrics(
    measure: Callable[[Array, Any], dict[str, Array]], key: Array, data: PyTree, batch_size: int
) -> dict[str, float]:
    """Means over all examples of what `measure(key, batch)` says of batches (jit it before)."""
    size = num_examples(data)
    sums: dict[str, float] = {}
    for index, batch in enumerate(in_order(data, batch_size)):
        weight = num_examples(batch) / size
        for name, value in measure(jax.random.fold_in(key, index), batch).items():
            sums[name] = sums.get(name, 0.0) + weight * float(value)
    return sums


def map_batches(function: Callable[[Any], PyTree], data: PyTree, batch_size: int = 256) -> PyTree:
    """`function` (jit it before) of each batch, joined along the leading axis, as NumPy arrays."""
    parts = [jax.device_get(function(batch)) for batch in in_order(data, batch_size)]
    return jax.tree.map(lambda *each: np.concatenate(each), *parts)
