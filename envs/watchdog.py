"""Ends a process whose games never return.

A wait inside the emulator's C++ cannot be interrupted, not even by Ctrl-C, so a hung run would
hold its machine for ever. The wait does release the GIL, so a Python thread can still act.
"""

import faulthandler
import os
import sys
import threading
from collections.abc import Callable
from typing import NamedTuple

EXIT_CODE = 70  # EX_SOFTWARE of sysexits.h
_TICKS = 4


class Watchdog(NamedTuple):
    """Call `enter` before what may hang and `leave` after it; `stop` ends the thread."""

    enter: Callable[[], None]
    leave: Callable[[], None]
    stop: Callable[[], None]


def start(timeout_s: float, describe: Callable[[], str]) -> Watchdog:
    """Starts a daemon thread that ends the process once one call lasts longer than `timeout_s`.

    It writes `describe()` and all stacks to stderr and exits with EXIT_CODE, after at most
    1.25 * timeout_s. Time is counted in ticks of this thread, not read from a clock: a process
    that was suspended (Ctrl-Z, a debugger) must not be ended when it wakes up.
    """
    calls = [0]  # odd while inside a call
    stopped = threading.Event()

    def count() -> None:
        calls[0] += 1

    def watch() -> None:
        seen, ticks = 0, 0
        while not stopped.wait(timeout_s / _TICKS):
            is_same_call = calls[0] == seen and seen % 2 == 1
            seen, ticks = calls[0], ticks + 1 if is_same_call else 0
            if ticks == _TICKS:
                _end_process(f"no answer for {timeout_s:g} s from {describe()}")

    threading.Thread(target=watch, name="env-watchdog", daemon=True).start()
    return Watchdog(enter=count, leave=count, stop=stopped.set)


def _end_process(message: str) -> None:
    os.write(2, f"fatal: {message}\n".encode())
    faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
    os._exit(EXIT_CODE)
