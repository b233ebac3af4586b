"""Single games of a batch begin anew, as a reset with that seed would begin them."""

import numpy as np
import pytest

import envs
from dqnlab.types import TimeStep

GAMES = [("Breakout", "machado2018"), ("Qbert", "atari100k"), ("CartPole-v1", None)]


def play(env, state, rng_seed: int, rows: int) -> list[TimeStep]:
    rng = np.random.default_rng(rng_seed)
    shown = []
    for _ in range(rows):
        actions = rng.integers(0, env.spec.num_actions, env.spec.num_envs).astype(np.int32)
        state, timestep = env.step(state, actions)
        shown.append(timestep)
    return shown


@pytest.mark.parametrize(("game", "protocol"), GAMES, ids=[game for game, _ in GAMES])
def test_restarted_games_are_those_of_a_reset_and_the_others_go_on(game, protocol):
    def make():
        return envs.make(game, 4, *([protocol] if protocol else []))

    disturbed, plain, fresh = make(), make(), make()
    for env in (disturbed, plain):
        state, _ = env.reset(1)
        play(env, state, 0, 37)
    mine, others = np.array([1, 3]), np.array([0, 2])
    obs = disturbed.restart(mine, 99)
    state, told = fresh.reset(99)
    np.testing.assert_array_equal(obs, told.obs[mine])
    if fresh.lives is not None:
        np.testing.assert_array_equal(disturbed.lives()[mine], fresh.lives()[mine])
    ours, undisturbed = play(disturbed, 37, 5, 60), play(plain, 37, 5, 60)
    for one, other, new in zip(ours, undisturbed, play(fresh, state, 5, 60), strict=True):
        for field, same, begun in zip(one, other, new, strict=True):
            np.testing.assert_array_equal(field[others], same[others])
            np.testing.assert_array_equal(field[mine], begun[mine])
