"""Rollouts against a plain model of episodes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.replay import rollout
from dqnlab.types import UserError
from tests.agents.replay.hand_made import goes_on, play, spec_of, stack_at

GAMMA, LAMBDA = 0.9, 0.7


@functools.cache
def make(num_envs, stack, length, batch_size):
    replay = rollout.make(spec_of(num_envs, stack), length, batch_size, 2, GAMMA, LAMBDA)
    names = ("add", "note", "sample", "begin")
    return replay._replace(**{name: jax.jit(getattr(replay, name)) for name in names})


def value(steps, row, game, stack):
    """Any network's: what the best action is worth."""
    return stack_at(steps, row, game, stack).astype(np.float64).sum() / 100


def model_return(steps, row, game, stop, stack):
    """The λ-return out of `row`, by its definition; the rollout ends with row `stop`."""
    following = steps[row + 1]
    v = value(steps, row + 1, game, stack)
    if row + 1 < stop and goes_on(steps, row + 1, game):
        v = (1 - LAMBDA) * v + LAMBDA * model_return(steps, row + 1, game, stop, stack)
    return following.reward[game] + GAMMA * following.discount[game] * v


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rollouts=st.integers(2, 5),
    shape=st.sampled_from([(1, 1, 4, 2), (2, 4, 5, 10), (3, 2, 8, 6), (4, 3, 1, 2)]),
    end=st.sampled_from([0.05, 0.3, 0.8]),
)
def test_every_step_of_a_rollout_comes_once_an_epoch_with_its_lambda_return(
    seed, rollouts, shape, end
):
    num_envs, stack, length, batch_size = shape
    rng = np.random.default_rng(seed)
    steps = play(rng, rollouts * length, num_envs, end)
    actions = rng.integers(0, 3, size=(len(steps), num_envs))
    replay = make(num_envs, stack, length, batch_size)
    state = replay.init()
    for row, (step, action) in enumerate(zip(steps, actions, strict=True)):
        state = replay.add(state, step, jnp.asarray(action, jnp.int32), ())
        best = np.array([value(steps, row, game, stack) for game in range(num_envs)], np.float32)
        state = replay.note(state, jnp.stack([best - 1, best, best - 2], axis=1))
    state = replay.begin(state, jax.random.PRNGKey(seed))
    newest = len(steps) - 1
    num_batches = length * num_envs // batch_size
    for epoch in range(2):
        seen = []
        for _ in range(num_batches):
            sample = replay.sample(state, jax.random.PRNGKey(0))
            for i, index in enumerate(np.asarray(sample.indices)):
                row, game = newest - length + index // num_envs, index % num_envs
                is_step = goes_on(steps, row, game)
                assert sample.weights[i] == is_step
                if is_step:
                    expected = model_return(steps, row, game, newest, stack)
                    np.testing.assert_allclose(sample.batch.target[i], expected, rtol=1e-5)
                    obs = stack_at(steps, row, game, stack)
                    np.testing.assert_array_equal(sample.batch.s_tm1[i], obs)
                    assert sample.batch.a_tm1[i] == actions[row][game]
                seen.append(int(index))
            state = replay.update(state, sample.indices, sample.weights)
        assert sorted(seen) == list(range(length * num_envs)), epoch


def test_the_order_is_another_in_each_epoch_and_each_rollout():
    replay = make(4, 1, 8, 16)
    state = replay.init()
    for step in play(np.random.default_rng(0), 9, 4, 0.1):
        state = replay.add(state, step, jnp.zeros(4, jnp.int32), ())
    one, other = (
        np.asarray(replay.begin(state, jax.random.PRNGKey(seed)).extra.order) for seed in (0, 1)
    )
    assert not np.array_equal(one[:2], one[2:])
    assert not np.array_equal(one, other)


def test_minibatches_that_do_not_divide_the_rollout_are_refused():
    with pytest.raises(UserError, match=r"batch_size is 5; it must divide .* 4 steps of 2 games"):
        rollout.make(spec_of(2, 1), 4, 5, epochs=1, gamma=GAMMA, lambda_=LAMBDA)
