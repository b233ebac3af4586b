"""What a run shows: a live line on a terminal, and lines that stay, at readable distances."""

import sys
import threading
import time
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.text import Text

_SILENCE_S = 15.0  # after so long without a line, one stays that need not otherwise
_HISTORY = 1 / 40  # lines stay at distances of this share of the time so far ...
_LONGEST_S = 60.0  # ... at most this


class LiveLine:
    """The newest line, live on a terminal, and a history of lines above it or in a log.

    `wait` names work that shows nothing by itself, such as compiling: a terminal counts its time.
    Elsewhere silence is broken every 20 seconds.
    """

    def __init__(self, quiet: bool):
        self._quiet = quiet
        console = Console()
        is_live = console.is_terminal and not console.is_dumb_terminal and not quiet
        self.width = console.width if is_live else 80
        self._began = self._spoke = time.monotonic()
        self._kept: float | None = None  # when a line of the history was last shown
        self._line = ""
        self._waiting: float | None = None  # since when
        self._live: Live | None = None
        self._closed = threading.Event()
        if is_live:
            self._live = Live(
                console=console, refresh_per_second=2, get_renderable=self._now, transient=True
            )
            self._live.start()
        elif not quiet:
            threading.Thread(target=self._break_silence, daemon=True).start()

    @property
    def is_waiting(self) -> bool:
        """Whether nothing was shown since `wait`."""
        return self._waiting is not None

    def wait(self, text: str) -> None:
        """Say what takes its time from now on, until the next line."""
        if self._live is None:
            self.say(text)
        self._line, self._waiting = text, time.monotonic()

    def show(self, line: str, is_row: bool = True, is_kept: bool = False) -> None:
        """Make this the newest line.

        It also stays (`is_kept`: in any case) where the last one that did is far enough above: a
        row of metrics soon at first and later more seldom, another line only against silence.
        """
        self._line, self._waiting = line, None
        now = time.monotonic()
        distance = min(_LONGEST_S, (now - self._began) * _HISTORY)
        is_due = self._kept is None or now - self._kept >= distance
        if not is_row:
            is_due = now - self._spoke >= max(_SILENCE_S, distance)
        if is_kept or is_due:
            self._kept = now
            self.say(line)

    def say(self, text: str, is_error: bool = False) -> None:
        """Print lines that stay."""
        self._spoke = time.monotonic()
        if is_error:
            print(text, file=sys.stderr, flush=True)
        elif not self._quiet:
            print(text, flush=True)

    def close(self) -> None:
        """Leave the terminal as it was; lines are still printed."""
        self._closed.set()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _now(self) -> Text:
        seconds = f"  {time.monotonic() - self._waiting:.0f} s" if self._waiting else ""
        return Text(self._line + seconds, no_wrap=True, overflow="ellipsis")

    def _break_silence(self) -> None:
        while not self._closed.wait(1.0):
            now, began = time.monotonic(), self._waiting
            # Nothing to repeat, or `show` may still speak.
            if not self._line or now - self._spoke < _SILENCE_S + 5:
                continue
            text = f"for {now - began:.0f} s" if began else f"{now - self._spoke:.0f} s ago"
            try:
                self.say(f"... {self._line.rstrip(' .')}, {text}")
            except (OSError, ValueError):  # nobody reads any more: the run itself will find out
                return


def fit(parts: Sequence[str], width: int) -> str:
    """As many of the parts, in order of importance, as a line of this width holds."""
    line = parts[0]
    for part in parts[1:]:
        if len(line) + 2 + len(part) > width:
            break
        line += f"  {part}"
    return line


def clock(seconds: float) -> str:
    """5025 seconds as 1:23:45."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
