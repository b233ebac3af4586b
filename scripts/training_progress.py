"""What an agent's run shows: how far it is, how long it takes, what it has learnt."""

import time
from collections.abc import Mapping
from typing import Any

import psutil

from dqnlab.types import EnvSpec
from scripts.console import LiveLine, clock, fit
from scripts.eta import Eta, evaluation

_REFRESH_S = 0.5
COMPILING = "compiling (about a minute for btr; the next start is quicker) ..."
EVALUATION_ENVS = 8  # games that are played at once at the end


class Progress(LiveLine):
    """The line of an agent's run: `step` tells it how far the run is, `update` a row of metrics."""

    def expect(
        self, frames: int, learning_from: int, spec: EnvSpec, eval_episodes: int = 0
    ) -> None:
        """Begin to measure a run of so many frames.

        Args:
          frames: at the end of training.
          learning_from: frames at the first gradient step of this process.
          spec: of the games.
          eval_episodes: games played at the end, whose time counts.
        """
        self._total, self._learning_from = frames, learning_from
        self._eta = Eta(frames, learning_from)
        self._spec, self._eval_episodes = spec, eval_episodes
        self._stepped = 0.0
        self._row: Mapping[str, Any] = {}
        self._counted = [(0, 0)]  # frames and finished games of each row
        self._fill = 0.0

    def step(self, frames: int) -> None:
        """Show how far the run is, before the next step; cheap enough for each."""
        now = time.monotonic()
        if now - self._stepped >= _REFRESH_S or self.is_waiting:
            self._stepped = now
            self._eta.add(frames, now)
            speed = self._eta.speed() or self._eta.speed_before()
            self.show(self._text(frames, speed or self._row.get("frames_per_second")), is_row=False)

    def update(self, row: Mapping[str, Any], replay_fill: float, is_last: bool = False) -> None:
        """Show a row of metrics."""
        self._row, self._fill = row, replay_fill
        self._counted.append((row["frames"], row["episodes"]))
        self._eta.add(row["frames"], time.monotonic())
        self.show(self._text(row["frames"], row["frames_per_second"]), is_kept=is_last)

    def _left(self) -> str:
        """The time until training and the games after it are over, as far as it is known."""
        left, games = self._eta.left(), self._eval_episodes
        if left is None:
            return "-"
        steps = self._game_steps()
        if games and steps is None:
            return clock(left) + "+"
        speed = self._eta.speed_before() or self._eta.speed() or 1.0
        rows_per_second = speed / self._spec.num_envs / self._spec.frame_skip
        return clock(left + evaluation(games, EVALUATION_ENVS, steps or 0.0, rows_per_second))

    def _game_steps(self) -> float | None:
        """Agent steps of a game, of those that ended in the newest half of all rows.

        None before as many ended as are played at once: those under way are among the steps.
        """
        middle = max(0, len(self._counted) // 2 - 1)
        (first, began), (last, ended) = self._counted[middle], self._counted[-1]
        if ended - began < self._spec.num_envs:
            return None
        return (last - first) / self._spec.frame_skip / (ended - began)

    def _text(self, frames: int, speed: float | None) -> str:
        row = self._row
        learnt = f"loss {_number(row.get('loss'), '.4f')}"
        if frames < self._learning_from < self._total and not row.get("updates"):
            learnt = f"learns from {self._learning_from:,} on"
        parts = [
            f"{frames:>{len(f'{self._total:,}')},} frames {frames / self._total:>4.0%}",
            f"{_number(speed, ',.0f'):>6}/s  ETA {self._left():>7}",
            f"return {_number(row.get('episode_return_mean'), ',.2f')}",
            learnt,
        ]
        if row:
            parts += [
                f"{row['episodes']:,} game{'' if row['episodes'] == 1 else 's'}",
                f"epsilon {row['epsilon']:.3f}",
                f"replay {self._fill:.0%}",
                f"memory {psutil.Process().memory_info().rss / 2**30:.1f} GiB",
            ]
        return fit(parts, self.width)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
