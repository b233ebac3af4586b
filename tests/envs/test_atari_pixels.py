"""Frames, rewards and ends against Gymnasium's own, much slower, preprocessing."""

import dataclasses

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

import envs
from envs import names
from envs.protocols import PROTOCOLS

QUIET = dataclasses.replace(PROTOCOLS["machado2018"], name="quiet", sticky_actions=0.0)


def reference(game):
    raw = gymnasium.make(
        f"ALE/{game}-v5", frameskip=1, repeat_action_probability=0.0, disable_env_checker=True
    )
    return FrameStackObservation(AtariPreprocessing(raw, noop_max=0), 4, padding_type="zero")


def pushed(stack, frame, first):
    """The last four frames of one game, zero before its start."""
    return np.concatenate([np.zeros_like(stack[1:]) if first else stack[1:], frame[None]])


@pytest.mark.parametrize("game", ["Breakout", "Pong", "MsPacman", "Seaquest", "Qbert"])
def test_games_equal_gymnasiums_preprocessing_over_2000_random_steps(game):
    assert names.find_atari(game) == game
    slow, env = reference(game), envs.make(game, 1, QUIET)
    rng = np.random.default_rng(0)
    expected, _ = slow.reset(seed=0)
    state, timestep = env.reset(0)
    stack = pushed(np.zeros((4, 84, 84), np.uint8), timestep.obs[0], first=True)
    ended, num_ends = False, 0
    for _ in range(2000):
        action = rng.integers(env.spec.num_actions)
        if ended:
            (expected, _), reward, terminated, truncated = slow.reset(), 0, False, False
        else:
            expected, reward, terminated, truncated, _ = slow.step(action)
        state, timestep = env.step(state, [action])
        assert timestep.first[0] == ended
        assert timestep.reward[0] == reward
        assert timestep.discount[0] == (not terminated)
        stack = pushed(stack, timestep.obs[0], timestep.first[0])
        np.testing.assert_array_equal(stack, expected)
        ended = terminated or truncated
        num_ends += ended
    assert num_ends > 0
