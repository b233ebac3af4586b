"""How many lives are left, for those who watch."""

import numpy as np

import envs


def test_breakout_begins_with_five_lives_and_loses_them_one_by_one():
    env = envs.make("Breakout", 2, training=False)
    state, _ = env.reset(0)
    lives = [env.lives()]
    np.testing.assert_array_equal(lives[0], [5, 5])
    fire, steps = env.spec.action_meanings.index("FIRE"), 0
    while lives[-1].min() > 2 and steps < 2_000:  # a player that only serves
        state, _ = env.step(state, np.full(2, fire, np.int32))
        lives.append(env.lives())
        steps += 1
    env.close()
    falls = np.diff(np.stack(lives), axis=0)
    assert set(np.unique(falls)) == {-1, 0}


def test_games_without_lives_have_none():
    assert envs.make("catch", 1).lives is None
