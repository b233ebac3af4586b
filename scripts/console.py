"""What a training run shows: one live line on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Mapping
from typing import Any

import psutil
from rich.console import Console
from rich.live import Live
from rich.text import Text


class LiveLine:
    """One line that is written over on a terminal, plain lines elsewhere."""

    def __init__(self, quiet: bool):
        self._quiet = quiet
        self._live: Live | None = None
        console = Console()
        if console.is_terminal and not quiet:
            self._live = Live(Text("compiling ..."), console=console, refresh_per_second=2)
            self._live.start()

    def show(self, line: str, is_kept: bool = True) -> None:
        """Replace the line; where there is no terminal, print it if `is_kept`."""
        if self._live is not None:
            self._live.update(Text(line, no_wrap=True, overflow="ellipsis"))
        elif is_kept and not self._quiet:
            print(line, flush=True)

    def say(self, text: str, is_error: bool = False) -> None:
        """Print a line above the live one."""
        if is_error:
            print(text, file=sys.stderr, flush=True)
        elif not self._quiet:
            print(text, flush=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()
            self._live = None


class Progress(LiveLine):
    """The live line of an agent's run; `update` it with each row of metrics."""

    def __init__(self, total_frames: int, start_frames: int, quiet: bool):
        super().__init__(quiet)
        self._total = total_frames
        self._start_frames, self._start_time = start_frames, time.monotonic()

    def update(self, row: Mapping[str, Any], replay_fill: float) -> None:
        """Show a row of metrics."""
        speed = (row["frames"] - self._start_frames) / (time.monotonic() - self._start_time)
        left = (self._total - row["frames"]) / max(speed, 1e-9)
        line = (
            f"{row['frames']:>10,} frames  {row['frames_per_second']:>6,.0f}/s  "
            f"ETA {clock(left)}  return {_number(row['episode_return_mean'], '.2f')} "
            f"({row['episodes']} episodes)  loss {_number(row['loss'], '.4f')}  "
            f"epsilon {row['epsilon']:.3f}  replay {replay_fill:.0%}  "
            f"memory {psutil.Process().memory_info().rss / 2**30:.1f} GiB"
        )
        self.show(line)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def clock(seconds: float) -> str:
    """5025 seconds as 1:23:45."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
