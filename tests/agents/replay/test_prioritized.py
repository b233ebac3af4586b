"""Prioritized replay against a dictionary of priorities, over random episodes and updates."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.replay import Replay, prioritized, sum_tree, uniform
from agents.replay import ring as rings
from agents.replay.prioritized import Schedule
from dqnlab.types import UserError
from tests.agents.replay.hand_made import goes_on, play, spec_of

ALPHA, GAMMA = 0.6, 0.9
BETA = Schedule(start=0.4, end=1.0, begin_steps=20, num_steps=100)


class Functions(NamedTuple):
    replay: Replay
    add: Any
    sample: Any
    update: Any


@functools.cache
def functions(num_envs=2, stack=2, n_step=2, capacity=26, batch_size=8, **options) -> Functions:
    options = {"exponent": ALPHA, "importance": BETA, **options}
    replay = prioritized.make(
        spec_of(num_envs, stack), capacity, batch_size, n_step, GAMMA, **options
    )
    add = jax.jit(replay.add, donate_argnums=0)
    return Functions(replay, add, jax.jit(replay.sample), jax.jit(replay.update, donate_argnums=0))


def priorities(state) -> np.ndarray:
    """Of all (slot, game): [T, N]."""
    rows, games = state.ring.first.shape
    leaves = sum_tree.get(state.extra.tree, jnp.arange(rows * games))
    return np.asarray(leaves).reshape(rows, games)


def starts(steps, num_envs, stack, n_step, rows) -> set[tuple[int, int]]:
    """Where a transition starts whose stack and n steps are all still there."""
    low = 0 if len(steps) <= rows else len(steps) - rows + stack - 1
    return {
        (row, game)
        for row in range(low, len(steps) - n_step)
        for game in range(num_envs)
        if goes_on(steps, row, game)
    }


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    length=st.integers(1, 50),
    shape=st.sampled_from([(1, 1, 1, 12), (2, 2, 2, 26), (3, 4, 3, 42)]),
    end=st.sampled_from([0.05, 0.3, 0.8]),
)
def test_exactly_the_startable_rows_have_the_priorities_of_a_dictionary(seed, length, shape, end):
    num_envs, stack, n_step, capacity = shape
    fns = functions(num_envs, stack, n_step, capacity)
    rng = np.random.default_rng(seed)
    steps, rows = play(rng, length, num_envs, end), capacity // num_envs
    state, model, largest = fns.replay.init(), {}, 1.0
    for count, step in enumerate(steps, start=1):
        state = fns.add(state, step, np.zeros(num_envs, np.int32), ())
        valid = starts(steps[:count], num_envs, stack, n_step, rows)
        model = {place: model.get(place, largest) for place in valid}
        expected = np.zeros((rows, num_envs), np.float32)
        for (row, game), value in model.items():
            expected[row % rows, game] = value
        np.testing.assert_allclose(priorities(state), expected, rtol=1e-6)
        if not valid or rng.random() < 0.5:
            continue
        sample = fns.sample(state, jax.random.PRNGKey(count))
        assert (np.asarray(sample.weights) > 0).all()
        leaves = np.asarray(sample.indices)
        errors = (10 * rng.random(8)).astype(np.float32)
        state = fns.update(state, sample.indices, jnp.asarray(errors))
        for leaf, error in zip(leaves, errors, strict=True):  # the last of equal ones wins
            slot, game = divmod(int(leaf), num_envs)
            (place,) = [p for p in valid if p[0] % rows == slot and p[1] == game]
            model[place] = np.float32(error) ** ALPHA
            largest = max(largest, model[place])
        np.testing.assert_allclose(state.extra.largest, largest, rtol=1e-6)


def filled(fns, length=40, seed=0, num_envs=2):
    state = fns.replay.init()
    steps = play(np.random.default_rng(seed), length, num_envs, 0.3)
    for step in steps:
        state = fns.add(state, step, np.zeros(num_envs, np.int32), ())
    return state, steps


def set_priorities(fns, state, values: np.ndarray):
    """Give every item that is there its priority of values[T * N]."""
    for begin in range(0, len(values), 8):
        index = jnp.minimum(jnp.arange(begin, begin + 8), len(values) - 1)
        state = fns.update(state, index, jnp.asarray(values)[index])
    return state


@pytest.mark.parametrize("uniform_share", [0.0, 0.25])
def test_draws_and_weights_follow_the_priorities(uniform_share):
    fns = functions(uniform_share=uniform_share)
    state, _ = filled(fns)
    values = np.random.default_rng(1).gamma(1.0, size=26).astype(np.float32)
    state = set_priorities(fns, state, values)
    stored = priorities(state).ravel()
    tree_share = stored / stored.sum()
    is_there = stored > 0
    expected = (1 - uniform_share) * tree_share + uniform_share * is_there / is_there.sum()
    draws = 3000
    sample = jax.jit(jax.vmap(fns.replay.sample, (None, 0)))(
        state, jax.random.split(jax.random.PRNGKey(2), draws)
    )
    counts = np.bincount(np.asarray(sample.indices).ravel(), minlength=26)
    assert not counts[~is_there].any()
    np.testing.assert_allclose(counts / counts.sum(), expected, atol=0.006)
    # 40 rows of 2 games: beta is 0.4 + 0.6 * (80 - 20) / 100. The share of the uniform draws is
    # spread over all rows in range, among them those that end an episode.
    low, high = 40 - 13 + 1, 38
    probability = (1 - uniform_share) * tree_share + uniform_share / (2 * (high - low))
    for indices, weights in zip(sample.indices[:50], sample.weights[:50], strict=True):
        raw = probability[np.asarray(indices)] ** -0.76
        np.testing.assert_allclose(weights, raw / raw.max(), rtol=1e-4)


def test_exponent_0_draws_uniformly_with_weight_1():
    fns = functions(exponent=0.0)
    state, _ = filled(fns)
    state = set_priorities(fns, state, np.linspace(0.1, 50, 26).astype(np.float32))
    assert set(np.unique(priorities(state))) == {0.0, 1.0}
    np.testing.assert_allclose(fns.sample(state, jax.random.PRNGKey(0)).weights, 1.0)


def test_batches_are_those_of_the_uniform_replay():
    fns = functions()
    state, _ = filled(fns)
    sample = fns.sample(state, jax.random.PRNGKey(0))
    row, game = np.divmod(sample.indices, 2)
    expected = rings.transitions(state.ring, row, game, stack=2, n_step=2, gamma=GAMMA)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), sample.batch, expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0, 0.0, 1e38])
def test_any_priority_leaves_an_item_there_and_the_sums_finite(bad):
    fns = functions()
    state, _ = filled(fns)
    before = priorities(state)
    sample = fns.sample(state, jax.random.PRNGKey(0))
    state = fns.update(state, sample.indices, jnp.full(8, bad, jnp.float32))
    after = priorities(state)
    np.testing.assert_array_equal(after > 0, before > 0)
    assert np.isfinite(sum_tree.total(state.extra.tree))
    assert np.isfinite(state.extra.largest)
    again = fns.sample(state, jax.random.PRNGKey(1))
    assert np.isfinite(again.weights).all()
    assert np.max(again.weights) == 1.0


def test_a_late_update_does_not_bring_back_what_was_overwritten():
    fns = functions()
    state, steps = filled(fns)
    stale = fns.sample(state, jax.random.PRNGKey(0)).indices
    for step in steps[:12]:  # all but one of 13 rows
        state = fns.add(state, step, np.zeros(2, np.int32), ())
    before = priorities(state).ravel()
    state = fns.update(state, stale, jnp.full(8, 7.0))
    after = priorities(state).ravel()
    np.testing.assert_array_equal(after > 0, before > 0)


def test_nothing_to_sample_gives_weight_0():
    fns = functions()
    sample = fns.sample(fns.replay.init(), jax.random.PRNGKey(0))
    np.testing.assert_array_equal(sample.weights, 0.0)


def test_adding_and_updating_copy_neither_ring_nor_tree():
    fns = functions(capacity=50_000)
    state = fns.replay.init()
    step = play(np.random.default_rng(0), 1, 2, 0.3)[0]
    places = [x.unsafe_buffer_pointer() for x in (state.ring.obs, state.extra.tree.nodes)]
    state = fns.add(state, step, np.zeros(2, np.int32), ())
    state = fns.update(state, jnp.arange(8), jnp.ones(8))
    assert [x.unsafe_buffer_pointer() for x in (state.ring.obs, state.extra.tree.nodes)] == places


def test_impossible_sizes_are_refused_as_by_the_uniform_replay():
    for make in (prioritized.make, uniform.make):
        options = {} if make is uniform.make else {"exponent": ALPHA, "importance": BETA}
        with pytest.raises(UserError, match="replay capacity 6 is too small"):
            make(spec_of(2, 2), 6, 4, 2, GAMMA, **options)
