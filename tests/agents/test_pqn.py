"""What is PQN's own; test_agents.py has what all agents share."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import envs
from agents import registry, runner
from agents.limits import check
from agents.presets import preset
from agents.replay import ring as rings
from dqnlab.types import UserError
from tests.agents.running import compilations, poisoned, start

TINY = replace(
    preset("pqn", "laptop"),
    num_envs=4,
    rollout_steps=8,
    batch_size=16,
    hidden=8,
    torso="mlp",
    precision="float32",
    epsilon_decay_steps=0,
)


def test_a_rollout_is_learnt_from_in_whole_epochs_with_the_returns_of_its_own_network():
    env = envs.make("catch", 4)
    run = start("pqn", TINY, env)
    for _ in range(15):
        run = run.advance(1)
    assert int(run.state.train.step) == 0  # the first rollout lacks the row after its last
    agent = registry.make("pqn", TINY, env.spec)
    before = jax.tree.map(np.array, run.state.train.params)
    run = run.advance(1)
    assert int(run.state.train.step) == 2 * 8 * 4 // 16
    assert run.state.target_params == ()

    ring, rows = run.state.replay.ring, np.arange(8, 16)  # what the rollout's 8 steps led to

    @jax.jit
    def values(params):
        row, game = np.repeat(rows, 4), np.tile(np.arange(4), 8)
        obs = rings.stacks(ring, row, game, env.spec.stack)
        return agent.q_values(params, {}, None, obs, (), False)[0].max(axis=1).reshape(8, 4)

    ours, moved = values(before), values(run.state.train.params)
    bootstrap = run.state.replay.extra.value[rows % len(ring.first)]
    np.testing.assert_allclose(bootstrap, ours, rtol=1e-5, atol=1e-6)
    assert np.abs(moved - ours).max() > 1e-4


def test_extreme_rewards_leave_every_gradient_finite():
    settings = replace(TINY, reward_clip=None)
    run = start("pqn", settings, poisoned(envs.make("catch", 4), 1e12)).advance(32)
    assert int(run.state.bad_update) == runner.NEVER
    assert int(run.state.train.step) == 3 * 4
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(run.state.train.params))


def test_the_emulator_drives_it_too():
    env = envs.make("Pong", 4)
    try:
        with compilations() as compiled:
            run = start("pqn", TINY, env).advance(24)
        assert int(run.state.train.step) == 2 * 4
        assert (compiled["act"], compiled["learn"]) == (1, 1)
    finally:
        env.close()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"batch_size": 30}, r"batch_size is 30; it must be a divisor of .* \(32\)"),
        ({"rollout_steps": 0}, "rollout_steps is 0; it must be an integer of at least 1"),
        ({"epochs": 0}, "epochs is 0; it must be an integer of at least 1"),
        ({"td_lambda": 1.1}, "td_lambda is 1.1; it must be between 0 and 1"),
    ],
)
def test_impossible_settings_are_refused(change, says):
    with pytest.raises(UserError, match=says):
        check(replace(TINY, **change))


def test_it_takes_no_other_replay():
    with pytest.raises(UserError, match="replay is 'uniform'; pqn learns from: rollout"):
        registry.make("pqn", replace(TINY, replay="uniform"), envs.make("catch", 4).spec)
