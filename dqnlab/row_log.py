"""An append-only log of rows that consecutive checkpoints share: which rows go where."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dqnlab import manifest, npz
from dqnlab.manifest import Checkpoint, CheckpointError, File, Log

SEGMENT_BYTES = 64 << 20  # of rows in one file, before compression: what saving and loading need


class Segment(NamedTuple):
    """Rows [start, stop) of a log; each array has one entry per row on its leading axis."""

    start: int
    stop: int
    arrays: dict[str, np.ndarray]


class Plan(NamedTuple):
    """How the log of the next checkpoint comes about."""

    log: Log
    shared: dict[Path, File]  # segments whose files are there already, in another checkpoint
    written: list[tuple[int, int]]  # segments to cut out of `new`
    new: Segment


def plan(saved: Iterable[Checkpoint], new: Segment, oldest: int) -> Plan:
    """Plans a log of rows [oldest, new.stop).

    Args:
      saved: the checkpoints that may share their rows, newest first.
      new: the rows to write; those before `oldest` are left out.
      oldest: the first row still needed.

    Raises:
      CheckpointError: rows are missing between those saved and the new ones, or arrays differ.
    """
    arrays = _row_specs(new)
    if not 0 <= oldest <= new.stop:
        raise CheckpointError(f"oldest row {oldest} must be in [0, {new.stop}]")
    first = max(new.start, oldest)
    written = _pieces(first, new.stop, sum(row.nbytes for row in arrays.values()))
    if oldest >= new.start:
        return Plan(Log(oldest, new.stop, arrays, written), {}, written, new)
    for base in saved:
        if base.log is not None and base.log.stop == new.start and base.log.oldest <= oldest:
            break
    else:
        raise CheckpointError(
            f"rows from {oldest} on are needed, the new ones start at {new.start}, and no intact "
            "checkpoint has those before: give all rows that are still needed"
        )
    if written and base.log.arrays != arrays:
        raise CheckpointError(f"the log has {base.log.arrays} a row, the new rows have {arrays}")
    kept = [(start, stop) for start, stop in base.log.segments if stop > oldest]
    log = Log(oldest, new.stop, base.log.arrays, kept + written)
    names = [manifest.segment_name(start, stop) for start, stop in kept]
    return Plan(log, {base.path / name: base.files[name] for name in names}, written, new)


def rows(new: Segment, start: int, stop: int) -> dict[str, np.ndarray]:
    """Rows [start, stop) of the new ones, not copied."""
    return {name: each[start - new.start : stop - new.start] for name, each in new.arrays.items()}


def nbytes(log: Log, start: int, stop: int) -> int:
    """Bytes of rows [start, stop) in memory."""
    return sum(each.nbytes for each in manifest.segment_specs(log, start, stop).values())


def _row_specs(new: Segment) -> dict[str, npz.Spec]:
    if not 0 <= new.start <= new.stop < 10**12:
        raise CheckpointError(f"rows {new.start} to {new.stop} are no range of the log")
    for name, each in new.arrays.items():
        if each.shape[:1] != (new.stop - new.start,):
            raise CheckpointError(
                f"array {name!r} has shape {each.shape}; rows {new.start} to {new.stop} are given"
            )
    specs = {name: npz.spec(each) for name, each in new.arrays.items()}
    rows = {name: npz.Spec(each.dtype, each.shape[1:]) for name, each in specs.items()}
    try:
        size = sum(row.nbytes for row in rows.values())
    except ValueError as error:
        raise CheckpointError(f"rows of the log: {error}") from None
    if size > manifest.SEGMENT_LIMIT:
        raise CheckpointError(f"one row of the log has {size} bytes: too many for a segment")
    return rows


def _pieces(start: int, stop: int, row_bytes: int) -> list[tuple[int, int]]:
    count = max(1, SEGMENT_BYTES // max(1, row_bytes))
    return [(row, min(row + count, stop)) for row in range(start, stop, count)]
