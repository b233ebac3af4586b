import jax
import jax.numpy as jnp
import numpy as np

import envs
from envs.catch import COLUMNS, ROWS

LENGTH = ROWS  # 9 steps and the reset


def optimal_actions(obs):
    """Towards the ball, read from the picture alone."""
    ball = jnp.argmax(obs[:, :-1].max(1), axis=1)
    paddle = jnp.argmax(obs[:, -1], axis=1)
    return (1 + jnp.sign(ball - paddle)).astype(jnp.int32)


def play(seed, num_envs, num_steps, choose):
    env = envs.make("catch", num_envs)

    def step(carry, _):
        state, obs = carry
        actions = choose(obs)
        state, timestep = env.step(state, actions)
        return (state, timestep.obs), (actions, timestep)

    state, start = env.reset(seed)
    _, (actions, steps) = jax.lax.scan(step, (state, start.obs), None, num_steps)
    return start, actions, steps


def test_the_optimal_policy_catches_every_ball():
    _, _, steps = play(0, 16, 10 * LENGTH, optimal_actions)
    assert steps.reward.dtype == jnp.float32
    np.testing.assert_array_equal(steps.reward.sum(0), np.full(16, 10.0))
    np.testing.assert_array_equal((steps.discount == 0).sum(0), np.full(16, 10))


def test_standing_still_catches_one_ball_in_five():
    _, _, steps = play(1, 500, LENGTH, lambda obs: jnp.ones(len(obs), jnp.int32))
    caught = np.asarray(steps.reward.sum(0) == 1).mean()
    assert 0.1 < caught < 0.3  # 5 standard deviations around 1 / 5


def test_it_agrees_with_a_numpy_model_over_random_actions():
    num_envs, num_steps = 8, 60
    actions = np.random.default_rng(0).integers(0, 3, (num_steps, num_envs))
    env = envs.make("catch", num_envs)
    state, timestep = env.reset(3)
    obs = np.asarray(timestep.obs)
    for t in range(num_steps):
        state, timestep = env.step(state, actions[t])
        new = np.asarray(timestep.obs)
        for i in range(num_envs):
            if t % LENGTH == LENGTH - 1:  # the reset: whatever the action was
                assert timestep.first[i]
                assert (timestep.reward[i], timestep.discount[i]) == (0, 1)
                assert new[i, 0].max() == 255
                assert new[i, -1].tolist() == [0, 0, 255, 0, 0]
                continue
            row, ball = np.argwhere(obs[i])[0]
            paddle = np.clip(obs[i, -1].argmax() + actions[t, i] - 1, 0, COLUMNS - 1)
            board = np.zeros((ROWS, COLUMNS), np.uint8)
            board[row + 1, ball] = board[-1, paddle] = 255
            np.testing.assert_array_equal(new[i], board)
            is_over = row + 1 == ROWS - 1
            assert not timestep.first[i]
            assert timestep.discount[i] == (0 if is_over else 1)
            assert timestep.reward[i] == ((1 if ball == paddle else -1) if is_over else 0)
        obs = new


def test_a_vmap_over_seeds_equals_one_run_after_the_other():
    @jax.jit
    def play_one(seed):
        return play(seed, 4, 25, optimal_actions)

    _, actions, steps = jax.vmap(play_one)(jnp.arange(3, dtype=jnp.uint32))
    for i in range(3):
        _, alone_actions, alone = play_one(jnp.uint32(i))
        np.testing.assert_array_equal(actions[i], alone_actions)
        np.testing.assert_array_equal(steps.obs[i], alone.obs)
        np.testing.assert_array_equal(steps.reward[i], alone.reward)
