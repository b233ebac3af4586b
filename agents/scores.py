"""The scores of the games that are played, counted on the host."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dqnlab.types import UserError

_RECENT = 100  # finished games that the mean score is over, as in the DQN papers


class Episode(NamedTuple):
    """A game that was played to its end."""

    game: int  # which of the N parallel games
    score: float  # sum of all rewards as the game gave them, not clipped
    length: int  # agent steps


class EpisodeTracker:
    """Scores of N parallel games, counted on the host.

    A game is over when its next one begins (`first`): a lost life or a clipped reward changes
    nothing. The reward that comes with `first` belongs to no game and is left out.
    """

    def __init__(self, num_envs: int):
        self.episodes = 0  # finished so far
        self._sums = np.zeros(num_envs, np.float64)
        self._lengths = np.zeros(num_envs, np.int64)  # agent steps since the game's first frame
        self._recent: list[float] = []  # scores of the last finished games, oldest first

    def add(self, reward: np.ndarray, first: np.ndarray) -> list[Episode]:
        """Counts one TimeStep, float32[N] and bool[N]; returns the games that are over."""
        reward, first = np.asarray(reward), np.asarray(first)
        finished = []
        if first.any():
            for game in np.flatnonzero(first & (self._lengths > 0)).tolist():
                score, length = float(self._sums[game]), int(self._lengths[game])
                finished.append(Episode(game, score, length))
            self.episodes += len(finished)
            self._recent = [*self._recent, *(each.score for each in finished)][-_RECENT:]
        self._sums += reward
        self._lengths += 1
        self._sums[first] = 0.0
        self._lengths[first] = 0
        return finished

    def cut(self, games: np.ndarray) -> None:
        """Forget the unfinished scores of `games`, int[M]: they are begun anew from outside."""
        self._sums[games] = 0.0
        self._lengths[games] = 0

    def mean(self, last: int = _RECENT) -> float | None:
        """Mean score of the last finished games, at most 100; None before the first."""
        scores = self._recent[-last:]
        return math.fsum(scores) / len(scores) if scores else None

    def state(self) -> dict[str, Any]:
        """Everything, as JSON; floats survive that exactly."""
        return {
            "episodes": self.episodes,
            "sums": self._sums.tolist(),
            "lengths": self._lengths.tolist(),
            "recent": list(self._recent),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`; UserError where it is of another number of games."""
        if len(state["sums"]) != len(self._sums):
            raise UserError(f"scores of {len(state['sums'])} games, expected {len(self._sums)}")
        self.episodes = state["episodes"]
        self._sums[:] = state["sums"]
        self._lengths[:] = state["lengths"]
        self._recent = list(state["recent"])
