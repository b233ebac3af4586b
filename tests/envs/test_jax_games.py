import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from dqnlab.types import UserError

N = 16


@pytest.fixture(params=["catch", "cue"], scope="module")  # pure, so tests share its compilation
def env(request):
    return envs.make(request.param, N)


def test_the_spec_describes_what_comes_out(env):
    _, timestep = env.reset(0)
    assert timestep.obs.shape == (N, *env.spec.obs_shape)
    assert timestep.obs.dtype == env.spec.obs_dtype
    assert len(env.spec.action_meanings) == env.spec.num_actions
    assert env.spec.traceable
    assert timestep.first.all()


def test_state_and_timestep_keep_their_exact_types_over_a_step(env):
    state, timestep = env.reset(0)
    new_state, new = env.step(state, jnp.zeros(N, jnp.int32))

    def types(tree):
        return [(x.dtype, x.shape, x.weak_type) for x in jax.tree.leaves(tree)]

    assert types(state) == types(new_state)
    assert types(timestep) == types(new)
    assert not any(x.weak_type for x in jax.tree.leaves((state, timestep)))


def test_a_run_of_steps_compiles_once(env):
    traces = []

    @jax.jit
    def step(state, actions):
        traces.append(1)
        return env.step(state, actions)

    state, _ = env.reset(0)
    for _ in range(12):
        state, _ = step(state, jnp.zeros(N, jnp.int32))
    assert len(traces) == 1


def test_the_action_of_a_reset_step_is_ignored(env):
    state, timestep = env.reset(0)
    while not (np.asarray(timestep.discount) == 0).all():
        state, timestep = env.step(state, jnp.zeros(N, jnp.int32))
    one = env.step(state, jnp.zeros(N, jnp.int32))
    other = env.step(state, jnp.ones(N, jnp.int32))
    assert one[1].first.all()
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_other_seeds_and_other_episodes_differ(env):
    one, other = (np.asarray(env.reset(seed)[1].obs) for seed in (0, 1))
    assert (one != other).any()
    state, timestep = env.reset(0)
    starts = [one]
    for _ in range(40):
        state, timestep = env.step(state, jnp.zeros(N, jnp.int32))
        if timestep.first.all():
            starts.append(np.asarray(timestep.obs))
    assert len(starts) > 3
    assert len({s.tobytes() for s in starts}) == len(starts)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_does_not_fit_is_a_user_error(env, seed):
    with pytest.raises(UserError, match="seed"):
        env.reset(seed)


@pytest.mark.parametrize("actions", [np.zeros(N, np.float32), np.zeros(3, np.int32)])
def test_actions_of_another_type_or_shape_are_refused(env, actions):
    state, _ = env.reset(0)
    with pytest.raises(ValueError, match=r"must be integers of shape \(16,\)"):
        env.step(state, actions)
