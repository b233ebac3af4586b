"""The ring against a plain model of episodes, in Python lists."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.replay import ring as rings
from agents.replay import uniform
from dqnlab.types import EnvSpec, TimeStep, UserError

GAMMA = 0.9
_add = jax.jit(rings.add, donate_argnums=0)
_transitions = jax.jit(rings.transitions, static_argnames=("stack", "n_step", "gamma"))


def spec_of(num_envs: int, stack: int) -> EnvSpec:
    return EnvSpec("model", num_envs, 3, ("a", "b", "c"), (2,), "uint8", stack, 1, {}, False)


def play(rng: np.random.Generator, rows: int, num_envs: int, end: float) -> list[TimeStep]:
    """Rows of games with NEXT_STEP resets; each frame is unlike any other."""
    over = np.ones(num_envs, bool)
    steps = []
    for row in range(rows):
        first = over
        terminated = ~first & (rng.random(num_envs) < end / 2)
        truncated = ~first & ~terminated & (rng.random(num_envs) < end / 2)
        frame = 1 + (row * num_envs + np.arange(num_envs)) % 250
        obs = np.stack([frame, 255 - frame], axis=1).astype(np.uint8)
        reward = np.where(first, 99.0, rng.normal(size=num_envs)).astype(np.float32)  # poison
        steps.append(TimeStep(obs, reward, np.where(terminated, 0, 1).astype(np.float32), first))
        over = terminated | truncated
    return steps


def model_stack(steps: list[TimeStep], row: int, game: int, stack: int) -> np.ndarray:
    frames = []
    is_before_episode = False
    for back in range(stack):
        frames.append(np.zeros(2, np.uint8) if is_before_episode else steps[row - back].obs[game])
        is_before_episode = is_before_episode or bool(steps[row - back].first[game])
    return np.stack(frames[::-1], axis=-1)


def model_transition(steps, actions, row, game, stack, n_step):
    total, factor, at = 0.0, 1.0, row
    for _ in range(n_step):
        following = steps[at + 1]
        if following.first[game]:
            break
        at += 1
        total += factor * following.reward[game]
        factor *= GAMMA * following.discount[game]
        if factor == 0:
            break
    return (
        model_stack(steps, row, game, stack),
        actions[row][game],
        total,
        factor,
        model_stack(steps, at, game, stack),
    )


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(8, 60),
    capacity_rows=st.sampled_from([12, 23]),
    shape=st.sampled_from([(1, 1, 1), (2, 4, 3), (3, 2, 5)]),
    end=st.sampled_from([0.05, 0.3, 0.8]),
)
def test_stacks_and_n_step_returns_equal_a_plain_model(seed, rows, capacity_rows, shape, end):
    num_envs, stack, n_step = shape
    rng = np.random.default_rng(seed)
    steps = play(rng, rows, num_envs, end)
    actions = rng.integers(0, 3, size=(rows, num_envs))
    ring = rings.init(spec_of(num_envs, stack), capacity_rows * num_envs)
    for step, action in zip(steps, actions, strict=True):
        ring = _add(ring, step, action)
    low, high = (int(x) for x in rings.valid_rows(ring, stack, n_step))
    assert low == (0 if rows <= capacity_rows else rows - capacity_rows + stack - 1)
    starts = [
        (row, game)
        for row in range(low, high)
        for game in range(num_envs)
        if not steps[row + 1].first[game]
    ]
    if not starts:
        return
    row, game = (jnp.array(x) for x in zip(*starts, strict=True))
    batch = _transitions(ring, row, game, stack=stack, n_step=n_step, gamma=GAMMA)
    for i, (r, g) in enumerate(starts):
        s_tm1, a_tm1, r_t, discount_t, s_t = model_transition(steps, actions, r, g, stack, n_step)
        np.testing.assert_array_equal(batch.s_tm1[i], s_tm1)
        assert batch.a_tm1[i] == a_tm1
        np.testing.assert_allclose(batch.r_t[i], r_t, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(batch.discount_t[i], discount_t, rtol=1e-5)
        if discount_t > 0:  # after a termination the value of s_t is multiplied by 0
            np.testing.assert_array_equal(batch.s_t[i], s_t)


def test_no_transition_starts_at_an_episodes_last_frame_and_all_others_are_drawn():
    rng = np.random.default_rng(0)
    steps = play(rng, rows=40, num_envs=2, end=0.5)
    replay = uniform.make(spec_of(2, 2), capacity=60, batch_size=60, n_step=2, gamma=GAMMA)
    state = replay.init()
    for step in steps:
        state = replay.add(state, step, jnp.zeros(2, jnp.int32), ())
    low, high = (int(x) for x in rings.valid_rows(state.ring, 2, 2))
    expected = {
        (row, game)
        for row in range(low, high)
        for game in range(2)
        if not steps[row + 1].first[game]
    }
    sample = jax.jit(replay.sample)
    drawn: dict[tuple[int, int], int] = {}
    num_draws = 0
    for key in jax.random.split(jax.random.PRNGKey(1), 150):
        out = sample(state, key)
        for row, game, weight in zip(*out.indices, out.weights, strict=True):
            if weight:
                drawn[int(row), int(game)] = drawn.get((int(row), int(game)), 0) + 1
                num_draws += 1
    assert set(drawn) == expected
    mean = num_draws / len(expected)
    chi_square = sum((count - mean) ** 2 / mean for count in drawn.values())
    # 99.99 % quantile of chi-square with k degrees of freedom, Wilson-Hilferty.
    k = len(expected) - 1
    assert chi_square < k * (1 - 2 / (9 * k) + 3.72 * np.sqrt(2 / (9 * k))) ** 3


def test_adding_a_row_does_not_copy_the_ring():
    ring = rings.init(spec_of(2, 4), 100_000)
    step = TimeStep(np.ones((2, 2), np.uint8), *(np.ones(2, np.float32),) * 2, np.ones(2, bool))
    before = ring.obs.unsafe_buffer_pointer()
    ring = _add(ring, step, np.zeros(2, np.int32))
    assert ring.obs.unsafe_buffer_pointer() == before


def test_a_million_frames_take_no_more_than_7_3_gb():
    spec = EnvSpec("Pong", 8, 6, ("",) * 6, (84, 84), "uint8", 4, 4, {}, False)
    assert rings.num_bytes(spec, 1_000_000) <= 7.3e9


@pytest.mark.parametrize(
    ("capacity", "batch_size", "says"),
    [(6, 4, "replay capacity 6 is too small"), (40, 41, "batch size 41 is larger")],
)
def test_impossible_sizes_are_refused(capacity, batch_size, says):
    with pytest.raises(UserError, match=says):
        uniform.make(spec_of(2, 2), capacity, batch_size, n_step=2, gamma=GAMMA)
