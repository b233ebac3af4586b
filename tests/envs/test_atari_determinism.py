"""The same seed and actions give the same games: what resuming by replaying actions rests on."""

import numpy as np
import pytest

import envs


def run(env, seed, actions):
    state, timestep = env.reset(seed)
    steps = [timestep]
    for row in actions:
        state, timestep = env.step(state, row)
        steps.append(timestep)
    return [np.stack(field) for field in zip(*steps, strict=True)]


def assert_equal(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def random_actions(env, num_steps):
    shape = (num_steps, env.spec.num_envs)
    return np.random.default_rng(1).integers(0, env.spec.num_actions, shape)


@pytest.mark.parametrize("game", ["Qbert", "Pong"])
def test_games_repeat_bit_for_bit_with_any_number_of_threads(game):
    first = envs.make(game, 4, num_threads=1)
    assert first.spec.protocol["sticky_actions"] == 0.25
    actions = random_actions(first, 300)
    expected = run(first, 7, actions)
    assert_equal(run(first, 7, actions), expected)  # a second seeded reset forgets everything
    assert_equal(run(envs.make(game, 4, num_threads=3), 7, actions), expected)
    alone = run(envs.make(game, 1), 7, actions[:, :1])
    assert_equal(alone, [field[:, :1] for field in expected])


def test_sticky_actions_make_the_games_of_a_batch_and_of_other_seeds_differ():
    env = envs.make("Pong", 4)
    actions = np.repeat(random_actions(env, 100)[:, :1], 4, axis=1)
    obs = run(env, 7, actions)[0]
    other = run(env, 8, actions)[0]
    assert len({last.tobytes() for last in (*obs[-1], *other[-1])}) == 8


def test_a_colour_film_shows_the_same_games():
    env = envs.make("Breakout", 2)
    camera = envs.make("Breakout", 1, grayscale=False, height=210, width=160)
    assert camera.spec.obs_shape == (210, 160, 3)
    actions = random_actions(env, 400)
    _, reward, discount, first = run(env, 5, actions)
    film, *rest = run(camera, 5, actions[:, :1])
    assert film.shape == (401, 1, 210, 160, 3)
    assert (discount[:, 0] == 0).any()
    assert_equal(rest, [field[:, :1] for field in (reward, discount, first)])
