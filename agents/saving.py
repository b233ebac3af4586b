"""A run's state cut in two for saving: a small tree, and the replay's rows as a growing log.

Most of a run is frames. Rows once written never change, so a checkpoint only needs those that
are new since the last one.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from agents.replay.ring import Ring
from agents.runner import RunState

_COLUMNS = ("obs", "action", "reward", "discount", "first")
_CHUNK = 256  # rows moved at a time; bounds the memory beside the ring


def small_part(state: RunState) -> RunState:
    """The state without the columns of its ring."""
    return _with_columns(state, dict.fromkeys(_COLUMNS, ()))


def oldest_row(ring: Ring, num_rows: int) -> int:
    """The first row that is still in the ring."""
    return max(0, num_rows - ring.first.shape[0])


def read_rows(ring: Ring, start: int, stop: int) -> dict[str, np.ndarray]:
    """Rows [start, stop), column by column: copies on the host, never views of donated memory."""
    size = ring.first.shape[0]
    chunk = min(_CHUNK, size)
    columns = {
        name: np.empty((stop - start, *getattr(ring, name).shape[1:]), getattr(ring, name).dtype)
        for name in _COLUMNS
    }
    row = start
    while row < stop:
        # One compiled shape: always a whole chunk, of which only the wanted rows are kept.
        index = min(row % size, size - chunk)
        skipped = row % size - index
        length = min(chunk - skipped, stop - row)
        piece = _slice(ring, jnp.int32(index), chunk)
        for name, column in columns.items():
            column[row - start : row - start + length] = np.asarray(piece[name])[
                skipped : skipped + length
            ]
        row += length
    return columns


def write_rows(ring: Ring, start: int, columns: dict[str, np.ndarray]) -> Ring:
    """Put rows back where they were. The ring is donated."""
    size, stop = ring.first.shape[0], start + len(columns["first"])
    while start < stop:
        # Whole chunks where they fit, single rows otherwise: two compiled shapes in all.
        fits = start + _CHUNK <= stop and start % size + _CHUNK <= size
        length = _CHUNK if fits else 1
        piece = {name: value[:length] for name, value in columns.items()}
        columns = {name: value[length:] for name, value in columns.items()}
        ring = _update(ring, piece, jnp.int32(start % size))
        start += length
    return ring


def join(small: RunState, ring: Ring) -> RunState:
    """The whole state again, from `small_part` and a ring whose columns are filled."""
    return _with_columns(small, {name: getattr(ring, name) for name in _COLUMNS})


def _with_columns(state: RunState, columns: dict[str, Any]) -> RunState:
    ring = state.replay.ring._replace(**columns)
    return state._replace(replay=state.replay._replace(ring=ring))


@functools.partial(jax.jit, static_argnums=2)
def _slice(ring: Ring, index: Any, length: int) -> dict[str, Any]:
    return {name: lax.dynamic_slice_in_dim(getattr(ring, name), index, length) for name in _COLUMNS}


@functools.partial(jax.jit, donate_argnums=0)
def _update(ring: Ring, piece: dict[str, Any], index: Any) -> Ring:
    return ring._replace(
        **{
            name: lax.dynamic_update_slice_in_dim(getattr(ring, name), value, index, axis=0)
            for name, value in piece.items()
        }
    )
