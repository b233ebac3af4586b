"""Sequence replay against a plain model of episodes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.replay import sequence
from agents.replay.prioritized import Schedule
from dqnlab.types import UserError
from tests.agents.replay.hand_made import goes_on, play, spec_of, stack_at

GAMMA = 0.9


def filled(replay, steps, actions):
    """The replay's state after these rows; the recurrent state of a row is (row, game)."""
    state = replay.init()
    for row, (step, action) in enumerate(zip(steps, actions, strict=True)):
        state = replay.add(state, step, jnp.asarray(action, jnp.int32), cores(row, len(action)))
    return state


def cores(row, num_envs):
    return jnp.stack([jnp.full(num_envs, float(row)), jnp.arange(num_envs) * 1.0], axis=1)


def model_n_step(steps, row, game, n_step):
    """(return, factor, row of the bootstrap)."""
    total, factor = 0.0, 1.0
    for n in range(n_step):
        if not goes_on(steps, row + n, game):
            return total, factor, row + n
        total += factor * steps[row + n + 1].reward[game]
        factor *= GAMMA * steps[row + n + 1].discount[game]
    return total, factor, row + n_step


def valid_starts(shape, num_rows, ring_rows, stack):
    """Starts whose first stack is not being overwritten and whose last row is there."""
    oldest = max(0, num_rows - ring_rows + stack - 1)
    return [s for s in range(oldest, num_rows - shape.rows + 1) if s % shape.period == 0]


@functools.cache
def make(num_envs, stack, shape, ring_rows, batch_size, exponent):
    replay = sequence.make(
        spec_of(num_envs, stack),
        ring_rows * num_envs,
        batch_size,
        shape,
        GAMMA,
        cores(0, num_envs),
        exponent=exponent,
        importance=Schedule(0.6, 0.6, 0, 1),
    )
    functions = ("add", "sample", "update")
    return replay._replace(**{name: jax.jit(getattr(replay, name)) for name in functions})


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    extra_rows=st.integers(0, 60),
    case=st.sampled_from(
        [
            (1, 1, sequence.Shape(0, 1, 1, 1), 0),
            (2, 4, sequence.Shape(2, 4, 3, 2), 0),
            (3, 2, sequence.Shape(3, 3, 2, 5), 7),
            (2, 3, sequence.Shape(0, 6, 5, 3), 1),
        ]
    ),
    end=st.sampled_from([0.05, 0.3, 0.8]),
    exponent=st.sampled_from([None, 0.9]),
)
def test_sequences_equal_a_plain_model(seed, extra_rows, case, end, exponent):
    num_envs, stack, shape, spare = case
    rng = np.random.default_rng(seed)
    steps = play(rng, shape.rows + extra_rows, num_envs, end)
    actions = rng.integers(0, 3, size=(len(steps), num_envs))
    smallest = shape.rows + stack + shape.period - 2
    replay = make(num_envs, stack, shape, smallest + spare, 40, exponent)
    state = filled(replay, steps, actions)
    ring_rows = state.ring.first.shape[0]
    sample = replay.sample(state, jax.random.PRNGKey(seed))
    batch = jax.tree.map(np.asarray, sample.batch)
    starts = valid_starts(shape, len(steps), ring_rows, stack)
    assert starts
    for b in range(40):
        row, game_index = int(batch.core[b, 0]), int(batch.core[b, 1])
        assert row in starts
        for t in range(shape.rows):
            obs = stack_at(steps, row + t, game_index, stack)
            np.testing.assert_array_equal(batch.obs[t, b], obs)
            assert batch.first[t, b] == steps[row + t].first[game_index]
        for t in range(shape.length):
            at = row + shape.burn_in + t
            assert batch.action[t, b] == actions[at][game_index]
            assert batch.mask[t, b] == goes_on(steps, at, game_index)
            if batch.mask[t, b]:
                r_t, discount_t, last = model_n_step(steps, at, game_index, shape.n_step)
                np.testing.assert_allclose(batch.r_t[t, b], r_t, rtol=1e-4, atol=1e-5)
                np.testing.assert_allclose(batch.discount_t[t, b], discount_t, rtol=1e-5)
                if discount_t:
                    assert row + batch.bootstrap[t, b] == last


@pytest.mark.parametrize("exponent", [None, 0.9])
@pytest.mark.parametrize("num_rows", [30, 31, 32, 47, 95])
def test_exactly_the_whole_sequences_in_the_ring_are_drawn(exponent, num_rows):
    shape, stack = sequence.Shape(2, 4, 2, 2), 4
    steps = play(np.random.default_rng(0), num_rows, 2, 0.1)
    replay = make(2, stack, shape, 30, 64, exponent)
    state = filled(replay, steps, np.zeros((num_rows, 2), int))
    drawn = set()
    for key in jax.random.split(jax.random.PRNGKey(0), 20):
        drawn |= {(int(row), int(game)) for row, game in replay.sample(state, key).batch.core}
    starts = valid_starts(shape, num_rows, 30, stack)
    assert drawn == {(row, game) for row in starts for game in range(2)}


def test_priorities_decide_how_often_and_with_what_weight_a_sequence_is_drawn():
    shape = sequence.Shape(0, 4, 1, 5)
    replay = make(1, 1, shape, 20, 400, 0.5)
    state = filled(replay, play(np.random.default_rng(0), 20, 1, 0.1), np.zeros((20, 1), int))
    state = replay.update(state, jnp.arange(4), jnp.array([1.0, 4.0, 9.0, 16.0]))
    draws = [replay.sample(state, key) for key in jax.random.split(jax.random.PRNGKey(0), 5)]
    index = np.concatenate([draw.indices for draw in draws])
    # Square roots 1, 2, 3, 4 of 10; draws from equal slices of the mass vary little.
    np.testing.assert_allclose(np.bincount(index) / len(index), [0.1, 0.2, 0.3, 0.4], atol=0.005)
    weight = {int(i): float(w) for i, w in zip(draws[0].indices, draws[0].weights, strict=True)}
    assert weight == pytest.approx({i: (1 / (i + 1)) ** 0.6 for i in range(4)}, rel=1e-4)


def test_a_new_sequence_has_the_largest_priority_so_far():
    shape = sequence.Shape(0, 4, 1, 5)
    replay = make(1, 1, shape, 20, 4, 1.0)
    steps = play(np.random.default_rng(0), 25, 1, 0.1)
    state = filled(replay, steps[:20], np.zeros((20, 1), int))
    state = replay.update(state, jnp.arange(4), jnp.array([0.1, 0.2, 7.0, 0.1]))
    for row in range(20, 25):
        state = replay.add(state, steps[row], jnp.zeros(1, jnp.int32), cores(row, 1))
    assert state.extra.priorities.tree.nodes[4] == 7.0  # rows 20..24 overwrote the first sequence


def test_a_replay_too_small_for_a_sequence_is_refused():
    shape = sequence.Shape(2, 4, 1, 1)  # 7 rows; with a stack of 3 the first needs 9
    make(2, 3, shape, 9, 4, None)
    with pytest.raises(UserError, match=r"replay_capacity is 16; 2 games with .* at least 18"):
        make(2, 3, shape, 8, 4, None)
