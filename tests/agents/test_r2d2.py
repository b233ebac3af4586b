"""What is R2D2's own; test_agents.py has what all agents share."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from agents import evaluation, registry, runner, schedules, td
from agents.limits import check
from agents.presets import preset
from dqnlab.types import TimeStep, UserError
from tests.agents.running import poisoned, start

TINY = replace(
    preset("r2d2", "laptop"),
    num_envs=2,
    batch_size=6,
    sequence_length=5,
    sequence_period=2,
    burn_in=3,
    n_step=2,
    replay_capacity=2 * 40,
    learning_starts=0,
    update_period=8,
    target_update_period=16,
    hidden=8,
    torso="mlp",
    precision="float32",
)
MEMORY = replace(
    TINY,
    num_envs=16,
    batch_size=16,
    sequence_length=10,
    sequence_period=5,
    burn_in=4,
    n_step=3,
    replay_capacity=20_000,
    learning_starts=1_000,
    update_period=64,
    target_update_period=1_600,
    epsilon_decay_steps=8_000,
    learning_rate=1e-3,
    hidden=64,
)


def played(name, settings, env, rows, seed=0):
    """The mean return of greedy games after training for so many rows."""
    run = start(name, settings, env, seed)
    for _ in range(rows // 256):
        run = run.advance(256)
    agent, train = registry.make(name, settings, env.spec), run.state.train
    games = evaluation.evaluate(
        agent, train.params, train.net_state, env, episodes=320, epsilon=0.0, seed=1
    )
    return np.mean([game.score for game in games])


@pytest.mark.slow
def test_it_remembers_what_no_agent_without_a_memory_can_know():
    assert played("r2d2", MEMORY, envs.make("cue", 16), 1280) >= 0.8
    forgetful = replace(MEMORY, replay="uniform", update_period=16, batch_size=64, dueling=False)
    # Whatever it answers, it is right half of the time: 320 games have a standard error of 0.06.
    assert abs(played("dqn", forgetful, envs.make("cue", 16), 1280)) <= 0.25


@functools.cache
def agent_and_batch(burn_in):
    """An agent, two sets of parameters, and sequences of Catch with poisoned resets."""
    settings = replace(TINY, burn_in=burn_in, replay="sequence")
    settings = schedules.in_steps(settings, 1_500_000)
    env = envs.make("catch", 2)
    agent = registry.make("r2d2", settings, env.spec)
    replay = registry.make_replay(settings, env.spec)
    init, add, step_env = jax.jit(agent.init), jax.jit(replay.add), jax.jit(env.step)
    params, target_params = (init(jax.random.PRNGKey(i))[0] for i in range(2))
    act = jax.jit(acting(agent))
    state, core, rng = replay.init(), agent.core(2), np.random.default_rng(0)
    env_state, step = env.reset(0)
    for _ in range(36):
        reward = jnp.where(step.first, 99.0, step.reward + rng.normal(size=2))
        action = jnp.asarray(rng.integers(0, 3, 2), jnp.int32)
        row = TimeStep(step.obs, reward, step.discount, step.first)
        _, core, next_core = act(params, step.obs[..., None], step.first, core)
        state = add(state, row, action, core)
        core = next_core
        env_state, step = step_env(env_state, action)
    batch = jax.jit(replay.sample)(state, jax.random.PRNGKey(0)).batch
    assert batch.first.any()
    assert not batch.mask.all()
    return agent, params, target_params, batch


def acting(agent):
    """(params, obs[B], first[B], core) -> q[B, A], the state acted upon, the state after it."""

    def act(params, obs, first, core):
        core = jax.tree.map(lambda x: jnp.where(first[:, None], jnp.zeros_like(x), x), core)
        q, next_core = agent.q_values(params, {}, None, obs, core, True)
        return q, core, next_core

    return act


def one_by_one(act, params, batch):
    """Q-values [L, B, A], by acting through the sequences from their stored states."""
    core, q = batch.core, []
    for obs, first in zip(batch.obs, batch.first, strict=True):
        row, _, core = act(params, obs, first, core)
        q.append(np.asarray(row, np.float64))
    return np.stack(q)


@pytest.mark.parametrize("burn_in", [0, 3])
def test_loss_and_priority_equal_those_of_acting_through_the_sequence_step_by_step(burn_in):
    agent, params, target_params, batch = agent_and_batch(burn_in)
    out = jax.jit(agent.loss)(params, target_params, {}, jax.random.PRNGKey(0), batch)

    def h(x):
        return np.sign(x) * (np.sqrt(abs(x) + 1) - 1) + 1e-3 * x

    def inverse_h(x):  # 1805.11593, proposition A.2
        root = np.sqrt(1 + 4 * 1e-3 * (abs(x) + 1 + 1e-3)) - 1
        return np.sign(x) * ((root / (2 * 1e-3)) ** 2 - 1)

    act = jax.jit(acting(agent))
    q_online, q_target = (one_by_one(act, p, batch) for p in (params, target_params))
    for b in range(batch.mask.shape[1]):
        q, errors = q_online[:, b], []
        for t in np.flatnonzero(batch.mask[:, b]):
            after = batch.bootstrap[t, b]
            value = inverse_h(q_target[after, b][q[after].argmax()])
            target = h(batch.r_t[t, b] + batch.discount_t[t, b] * value)
            errors.append(abs(target - q[burn_in + t][batch.action[t, b]]))
        np.testing.assert_allclose(out.loss[b], np.square(errors).sum(), rtol=1e-3)
        priority = 0.9 * max(errors) + 0.1 * np.mean(errors)
        np.testing.assert_allclose(out.priority[b], priority, rtol=1e-3)


@pytest.mark.parametrize("burn_in", [0, 3])
def test_no_gradient_reaches_through_the_burn_in(burn_in):
    agent, params, target_params, batch = agent_and_batch(burn_in)

    def loss(core):
        sequences = batch._replace(core=core)
        return agent.loss(params, target_params, {}, jax.random.PRNGKey(0), sequences).loss.sum()

    gradient = jax.jit(jax.grad(loss))(batch.core)
    assert any(np.any(x) for x in jax.tree.leaves(gradient)) == (burn_in == 0)


def test_the_rescaled_td_error_by_hand():
    # h(3) = 1 + 0.003; h⁻¹ of that is 3. Target h(1.5 + 0.5 * 3) = h(3).
    arguments = (0, 1.5, 0.5, jnp.array([5.0, 1.003]), jnp.array([0.0, 1.0]))
    error = td.rescaled_double_q_learning(jnp.array([0.25, 9.0]), *arguments)
    np.testing.assert_allclose(error, 1.003 - 0.25, rtol=1e-5)


def test_extreme_rewards_leave_every_gradient_finite():
    run = start("r2d2", TINY, poisoned(envs.make("catch", 2), 1e15)).advance(64)
    assert int(run.state.bad_update) == runner.NEVER
    assert int(run.state.train.step) > 8
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(run.state.train.params))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sequence_length": 99}, "sequence_length is 99; it must be at most 35: replay_capacity"),
        ({"sequence_length": 0}, "sequence_length is 0; it must be an integer of at least 1"),
        ({"sequence_period": 0}, "sequence_period is 0; it must be an integer of at least 1"),
        ({"burn_in": -1}, "burn_in is -1; it must be an integer of at least 0"),
        ({"priority_max_share": 1.5}, "priority_max_share is 1.5; it must be between 0 and 1"),
    ],
)
def test_impossible_settings_are_refused(change, says):
    with pytest.raises(UserError, match=says):
        check(replace(TINY, **change))


def test_it_takes_no_replay_of_single_transitions():
    with pytest.raises(UserError, match="replay is 'uniform'; r2d2 learns from: sequence, prior"):
        registry.make("r2d2", replace(TINY, replay="uniform"), envs.make("catch", 2).spec)
