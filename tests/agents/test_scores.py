"""Scores that equal a plain loop's."""

import json

import hypothesis
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from agents.scores import EpisodeTracker
from dqnlab.types import UserError


class LoopTracker:
    """The same as EpisodeTracker, game by game in plain Python."""

    def __init__(self, num_envs: int):
        self.games: list[list[float]] = [[] for _ in range(num_envs)]
        self.scores: list[float] = []

    def add(self, reward: np.ndarray, first: np.ndarray) -> list[tuple[int, float, int]]:
        finished = []
        for game, rewards in enumerate(self.games):
            if first[game]:
                if rewards:
                    finished.append((game, sum(rewards), len(rewards)))
                    self.scores.append(sum(rewards))
                self.games[game] = []
            else:
                rewards.append(float(reward[game]))
        return finished


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    num_envs=st.integers(1, 8), seed=st.integers(0, 2**32 - 1), ends=st.floats(0.0, 0.6)
)
def test_the_tracker_equals_a_plain_loop(num_envs: int, seed: int, ends: float) -> None:
    rng = np.random.default_rng(seed)
    tracker, loop = EpisodeTracker(num_envs), LoopTracker(num_envs)
    first = np.ones(num_envs, bool)
    for _ in range(80):
        reward = (rng.normal(size=num_envs) * 100).astype(np.float32)
        assert tracker.add(reward, first) == loop.add(reward, first)
        first = rng.random(num_envs) < ends
        if rng.random() < 0.02:
            cut = np.flatnonzero(rng.random(num_envs) < 0.5)
            tracker.cut(cut)
            for game in cut:
                loop.games[game] = []
            first[cut] = True
        if rng.random() < 0.1:  # killed and resumed
            saved = json.loads(json.dumps(tracker.state()))
            tracker = EpisodeTracker(num_envs)
            tracker.restore(saved)
            assert tracker.state() == saved
    assert tracker.episodes == len(loop.scores)
    for last in (1, 20, 100):
        recent = loop.scores[-last:]
        expected = pytest.approx(sum(recent) / len(recent)) if recent else None
        assert tracker.mean(last) == expected


def test_only_the_last_hundred_scores_count() -> None:
    tracker = EpisodeTracker(1)
    on, off = np.ones(1, bool), np.zeros(1, bool)
    for score in range(150):
        tracker.add(np.zeros(1, np.float32), on)
        tracker.add(np.full(1, score, np.float32), off)
    tracker.add(np.zeros(1, np.float32), on)
    assert tracker.mean() == np.mean(range(50, 150))
    assert (tracker.mean(20), tracker.episodes) == (np.mean(range(130, 150)), 150)


def test_scores_of_another_number_of_games_are_refused() -> None:
    with pytest.raises(UserError, match="scores of 2 games, expected 3"):
        EpisodeTracker(3).restore(EpisodeTracker(2).state())


def test_the_tracker_takes_arrays_of_jax() -> None:
    tracker = EpisodeTracker(2)
    tracker.add(jnp.zeros(2), jnp.ones(2, bool))  # type: ignore[arg-type]
    tracker.add(jnp.asarray([1.5, 2.0]), jnp.zeros(2, bool))  # type: ignore[arg-type]
    assert tracker.state()["sums"] == [1.5, 2.0]
