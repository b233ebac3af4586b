"""Ctrl-C and SIGTERM: the first asks a run to stop and save, the second stops it at once."""

import os
import signal
import sys
from types import FrameType


class Interrupts:
    """Remembers the first signal; `is_set` is what a driver asks between steps."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.is_saved = False  # set where nothing is left to save: the first signal ends it then
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def is_set(self) -> bool:
        """Whether the run should stop."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process ended by this signal: 130 or 143."""
        return 0 if self.signal is None else 128 + self.signal

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None or self.is_saved:
            words = "stopped; training is saved" if self.is_saved else "stopped without saving"
            os.write(sys.stderr.fileno(), f"\n{words}\n".encode())  # print may be interrupted
            os._exit(128 + number)
        self.signal = number
        print("\nstopping: saving a checkpoint (again to stop at once)", file=sys.stderr)
