"""What a run reports: rows in `metrics.jsonl`, mirrored to TensorBoard and where else asked."""

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2, summary_pb2

from dqnlab import files
from dqnlab.types import UserError

FILE = "metrics.jsonl"
PARTIAL = "partial"  # true in a run's last row where it was stopped before the row was due
STEP = "agent_steps"  # every row has it, or another name: what resuming and TensorBoard count in


class MetricsWriter:
    """Appends rows to `<run_dir>/metrics.jsonl` and to a TensorBoard events file beside it.

    Args:
      run_dir: an existing folder.
      resume_step: None for a new run. Else rows of later steps are dropped, as the run that is
        resumed from the checkpoint of that step writes them again. So is a partial row: it ends
        where the run stopped, and the row that was due later contains it.
      step: the name of the whole number that every row counts in.
      mirror: is given every row, once it is written.
      tag: TensorBoard's name of a column; it puts those with the same text before "/" together.

    Raises:
      UserError: the folder holds rows already and `resume_step` is None, or a file is unusable.
    """

    def __init__(
        self,
        run_dir: str | Path,
        resume_step: int | None = None,
        step: str = STEP,
        mirror: Callable[[dict[str, Any]], None] = lambda row: None,
        tag: Callable[[str], str] = str,
    ):
        self._step, self._mirror, self._tag = step, mirror, tag
        self.path = Path(run_dir) / FILE
        try:
            if resume_step is not None:
                first_again = _drop_after(self.path, resume_step, step)
            elif self.path.exists() and self.path.stat().st_size:
                raise UserError(f"{self.path} has rows already: resume that run instead")
            self._rows = open(self.path, "ab", buffering=0)  # noqa: SIM115 (closed by `close`)
            # tensorboardX's SummaryWriter has a thread empty a bounded queue: when the disk is full
            # the thread dies and the run hangs on the queue. Written from here it is an error.
            # The suffix keeps a resume within the same second from overwriting the file before.
            self._events = EventsWriter(str(Path(run_dir) / "events"), f".{time.time_ns()}")
            if resume_step is not None:
                start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
                self._event(first_again, session_log=start)  # hides what was written from there on
        except OSError as error:
            raise UserError(f"{error.filename or self.path}: {error.strerror}") from error

    def write(self, row: Mapping[str, Any]) -> None:
        """Appends one row; it must have the step. NaN and infinity become null.

        Raises:
          UserError: a value is no scalar, string or list of them, or the disk refuses the row.
        """
        plain = {name: _plain(name, value) for name, value in row.items()}
        if type(plain.get(self._step)) is not int:
            raise UserError(f"a row of metrics needs a whole number {self._step!r}: {plain}")
        line = json.dumps(plain, allow_nan=False).encode() + b"\n"
        scalars = [
            summary_pb2.Summary.Value(tag=self._tag(name), simple_value=value)
            for name, value in plain.items()
            if type(value) in (int, float) and name != self._step
        ]
        before = self._rows.seek(0, os.SEEK_END)
        try:
            if self._rows.write(line) != len(line):  # half a row: the disk is full
                self._rows.truncate(before)
                raise UserError(f"{self.path}: no space left for a row of metrics")
        except OSError as error:
            raise UserError(f"{self.path}: {error.strerror}") from error
        self._event(plain[self._step], summary=summary_pb2.Summary(value=scalars))
        self._mirror(plain)

    def write_histogram(self, name: str, values: Any, agent_steps: int, bins: int = 50) -> None:
        """Mirrors the distribution of an array's finite values to TensorBoard only."""
        flat = np.asarray(values, np.float64).reshape(-1)
        flat = flat[np.isfinite(flat)]
        if flat.size:
            self._event(agent_steps, summary=summary.histogram(name, flat, bins))

    def write_picture(self, name: str, encoded: bytes, agent_steps: int) -> None:
        """Shows a PNG, JPEG or (moving) GIF file's bytes in TensorBoard."""
        picture = summary_pb2.Summary.Image(colorspace=3, encoded_image_string=encoded)
        value = summary_pb2.Summary.Value(tag=name, image=picture)
        self._event(agent_steps, summary=summary_pb2.Summary(value=[value]))

    def close(self) -> None:
        """Closes both files; nothing can be written afterwards.

        Raises:
          UserError: the disk refuses what it refused before: the last events.
        """
        self._rows.close()
        with self._events_errors():
            self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _event(self, step: int, **content: Any) -> None:
        event = event_pb2.Event(wall_time=time.time(), step=step, **content)
        with self._events_errors():
            self._events.write_event(event)
            self._events.flush()

    @contextlib.contextmanager
    def _events_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"TensorBoard events of {self.path}: {error.strerror}") from error


def read(path: str | Path, step: str = STEP) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`, also while a run writes it: a torn last line is left out.

    Raises:
      UserError: the file is absent, or another line is no row.
    """
    return [row for _, row in _rows(Path(path), step)]


def _rows(path: Path, step: str) -> list[tuple[bytes, dict[str, Any]]]:
    try:
        *lines, last = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append((line, _row(line, step)))
        except ValueError:
            raise UserError(f"{path}, line {number}: {line[:80]!r} is no row of metrics") from None
    with contextlib.suppress(ValueError):  # without its newline a row is whole where it parses
        rows.append((last, _row(last, step)))
    return rows


def _row(line: bytes, step: str) -> dict[str, Any]:
    row = json.loads(line)
    if not isinstance(row, dict) or type(row.get(step)) is not int:
        raise ValueError("no row")
    return row


def _drop_after(path: Path, last: int, step: str) -> int:
    """Drop rows of later steps, and partial ones. Returns the first step that is written again."""
    if not path.exists():
        return last + 1
    rows = _rows(path, step)
    kept = [line for line, row in rows if row[step] <= last and not row.get(PARTIAL)]
    files.write_atomic(path, b"".join(line + b"\n" for line in kept))
    partial: list[int] = [row[step] for _, row in rows if row.get(PARTIAL)]
    return min([last + 1, *partial])


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(name, each) for each in value]
    if hasattr(value, "dtype") and value.shape == ():
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    raise UserError(f"metric {name!r} is a {type(value).__name__}, not a number or a string")
