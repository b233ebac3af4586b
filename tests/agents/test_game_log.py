"""Games get fresh seeds from time to time, and none is cut for it."""

import dataclasses

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import envs
from agents import game_log
from agents.driver import HostDriver
from agents.presets import preset
from agents.settings import Settings
from dqnlab.types import Env
from envs import protocols
from tests.agents.running import Run, assert_equal, saved_and_loaded, start

LENGTH = 50  # agent steps of a game under the short cap


def small(num_envs: int) -> Settings:
    return dataclasses.replace(
        preset("dqn", "laptop"),
        num_envs=num_envs,
        replay_capacity=num_envs * 60,
        learning_starts=10**9,  # games only
        torso="mlp",
        hidden=4,
        precision="float32",
    )


def short_games(game: str, num_envs: int) -> Env:
    """Atari games that the frame cap ends after `LENGTH` agent steps."""
    cap = dataclasses.replace(protocols.find("machado2018"), max_frames_train=4 * LENGTH)
    return envs.make(game, num_envs, cap, training=True)


class Steps(gymnasium.Env):
    """Every step gives 1. The game ends after as many steps as its seed says, or never."""

    observation_space = spaces.Box(-1, 1e6, (2,), np.float32)
    action_space = spaces.Discrete(300)

    def __init__(self, endless: bool = False):
        self.endless = endless

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.length = 0, int(self.np_random.integers(20, 60))
        return np.array([self.length, 0], np.float32), {}

    def step(self, action):
        self.steps += 1
        is_over = self.steps == self.length and not self.endless
        return np.array([self.length, action], np.float32), 1.0, is_over, False, {}


gymnasium.register("Steps-v0", entry_point=Steps)
gymnasium.register("Endless-v0", entry_point=Steps, kwargs={"endless": True})


def begin(env: Env, seed_period: int) -> Run:
    run = start("dqn", small(env.spec.num_envs), env)
    return run._replace(driver=HostDriver(run.runner, env, run_seed=0, seed_period=seed_period))


def test_all_of_64_games_near_the_cap_are_played_to_their_end():
    run = begin(short_games("Pong", 64), seed_period=LENGTH // 4)
    run.driver.tracker.add = count_lengths(run.driver.tracker)
    run = run.advance(2 * LENGTH)
    assert run.driver.tracker.lengths == [LENGTH] * 64
    assert run.driver.snapshot()["log"]["number"].tolist() == [1] * 64


@pytest.mark.slow
def test_128_games_of_freeway_end_under_the_default_period():
    run = begin(envs.make("Freeway", 128, training=True), seed_period=15_000)
    run.driver.tracker.add = count_lengths(run.driver.tracker)
    run = run.advance(2_100)
    assert len(run.driver.tracker.lengths) == 128
    assert min(run.driver.tracker.lengths) > 2_000


def count_lengths(tracker):
    """Let a tracker keep the length of each finished game, too."""
    plain, tracker.lengths = tracker.add, []

    def add(reward, first):
        over = np.flatnonzero(first & (tracker._lengths > 0))
        tracker.lengths += tracker._lengths[over].tolist()
        return plain(reward, first)

    return add


def test_games_of_many_lengths_have_the_scores_of_whole_games():
    run = begin(envs.make("Steps-v0", 5), seed_period=70)
    run.driver.tracker.add = count_lengths(run.driver.tracker)
    run = run.advance(400)
    tracker = run.driver.tracker
    assert tracker.episodes == len(tracker.lengths) > 40
    assert tracker._recent == tracker.lengths[-100:]
    assert min(tracker.lengths) >= 20
    assert run.driver.snapshot()["log"]["number"].min() >= 3


def test_a_fresh_seed_comes_at_the_first_end_after_the_period():
    run = begin(envs.make("Steps-v0", 3), seed_period=70)
    ages = []
    for _ in range(300):
        before = run.driver.snapshot()["log"]["seeded_at"].copy()
        run = run.advance(1)
        seeded = run.driver.snapshot()["log"]["seeded_at"]
        ages += (seeded - before)[seeded != before].tolist()
    assert len(ages) >= 6
    assert all(70 <= age <= 70 + 61 for age in ages)


@pytest.mark.parametrize("game", ["Breakout", "Steps-v0"])
def test_games_are_found_again_after_any_number_of_fresh_seeds(game):
    def fresh() -> Env:
        return short_games(game, 4) if game == "Breakout" else envs.make(game, 4)

    settings = small(4)
    whole = start("dqn", settings, fresh(), seed_period=60).advance(250)
    run = start("dqn", settings, fresh(), seed_period=60)
    for rows in (1, 50, 60, 3, 136):
        run = saved_and_loaded(run.advance(rows), "dqn", settings, fresh(), seed_period=60)
    assert_equal(run.state, whole.state)
    ours, expected = run.driver.snapshot()["log"], whole.driver.snapshot()["log"]
    assert expected["number"].min() >= 2
    for name, saved in expected.items():
        np.testing.assert_array_equal(ours[name], saved)


def test_a_game_without_an_end_is_cut_as_a_truncation(monkeypatch):
    monkeypatch.setattr(game_log, "LONGEST", 40)
    run = begin(envs.make("Endless-v0", 2), seed_period=10)
    discounts, lasts = [], []
    for _ in range(130):
        run = run.advance(1)
        timestep = run.driver.snapshot()["timestep"]
        discounts.append(timestep.discount.min())
        lasts.append(timestep.first.tolist())
    assert min(discounts) == 1.0
    assert [row for row, first in enumerate(lasts) if any(first)] == [51, 103]
    assert run.driver.tracker.episodes == 0


def test_actions_beyond_a_byte_are_kept():
    env = envs.make("Steps-v0", 2)
    log = game_log.GameLog(env, 0, 10)
    log.record(3, slice(0, 2), np.array([299, 0]))
    assert log.state()["actions"][3].tolist() == [299, 0]
