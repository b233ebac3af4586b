"""Ctrl-C and SIGTERM: the first asks a run to stop and save, the second stops it at once."""

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, Self


class Interrupts:
    """Remembers the first signal; `is_set` is what a driver asks between steps.

    In a `with` statement: afterwards the handlers are again those from before. In a thread no
    signal arrives, and none is handled.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.is_saved = False  # set where nothing is left to save: the first signal ends it then
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def is_set(self) -> bool:
        """Whether the run should stop."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """The exit code of a process that a signal ended, 130 or 143; 0 without a signal."""
        return 0 if self.signal is None else 128 + self.signal

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None or self.is_saved:
            words = "stopped; training is saved" if self.is_saved else "stopped without saving"
            os.write(2, f"\n{words}\n".encode())  # print may be interrupted
            os._exit(128 + number)
        self.signal = number
        print("\nstopping: saving a checkpoint (again to stop at once)", file=sys.stderr)
