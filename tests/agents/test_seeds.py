"""Runs that are advanced in one program are the runs that each would have been alone."""

import jax
import numpy as np
import pytest

import envs
from agents import runner
from agents.seeds import advance_together
from agents.settings import Settings
from tests.agents.running import Run, start

SEEDS, ROWS = (3, 11), 60
SHARED = {"hidden": 16, "torso": "mlp", "precision": "float32", "replay_capacity": 400}
KINDS = {
    "dqn": Settings(
        num_envs=4,
        learning_starts=80,
        update_period=2,
        target_update_period=8,
        epsilon_decay_steps=100,
        learning_rate=1e-3,
        **SHARED,
    ),
    "prioritized": Settings(
        num_envs=4, learning_starts=80, replay="prioritized", noisy_sigma=0.5, **SHARED
    ),
    "pqn": Settings(
        num_envs=4,
        learning_starts=0,
        replay="rollout",
        rollout_steps=16,
        layer_norm=True,
        **SHARED,
    ),
    "r2d2": Settings(
        num_envs=4,
        learning_starts=80,
        replay="prioritized_sequence",
        sequence_length=6,
        burn_in=2,
        sequence_period=4,
        **SHARED,
    ),
}


def begin(name: str) -> list[Run]:
    env = envs.make("catch", KINDS[name].num_envs)
    runs = [start(name, KINDS[name], env, seed) for seed in SEEDS]
    for run in runs:  # one compilation serves all seeds
        run.driver._many_rows = runs[0].driver._many_rows
    return runs


@pytest.mark.parametrize(
    "name", ["dqn", *(pytest.param(k, marks=pytest.mark.slow) for k in KINDS if k != "dqn")]
)
def test_each_seed_equals_a_run_of_its_own(name):
    alone = [run.advance(ROWS // 2).advance(ROWS // 2) for run in begin(name)]
    runs = begin(name)
    env = envs.make("catch", KINDS[name].num_envs)
    advance = advance_together(runs[0].runner, env, [run.driver for run in runs])
    states, rows = [run.state for run in runs], 0
    while rows < ROWS:  # in two launches: what is taken apart goes on as it was
        states, done = advance(states, ROWS // 2, lambda: False)
        rows += done
    for one, state, run in zip(alone, states, runs, strict=True):
        assert int(state.train.step) == int(one.state.train.step) > 2
        assert int(state.bad_update) == runner.NEVER
        # The games are the same move by move. Sums over batches of another shape round otherwise.
        for field in ("action", "reward", "discount", "first", "obs"):
            np.testing.assert_array_equal(
                getattr(state.replay.ring, field), getattr(one.state.replay.ring, field), field
            )
        assert run.driver.tracker.state() == one.driver.tracker.state()
        for ours, theirs in zip(
            jax.tree.leaves(state.train.params),
            jax.tree.leaves(one.state.train.params),
            strict=True,
        ):
            np.testing.assert_allclose(ours, theirs, atol=2e-5)
    ends = [jax.tree.leaves(state.train.params)[-1] for state in states]
    assert not np.allclose(ends[0], ends[1], atol=1e-3)


def test_before_learning_starts_no_seed_learns():
    runs = begin("dqn")
    env = envs.make("catch", KINDS["dqn"].num_envs)
    advance = advance_together(runs[0].runner, env, [run.driver for run in runs])
    before = [jax.tree.map(np.array, run.state.train) for run in runs]
    states, done = advance([run.state for run in runs], 10, lambda: False)
    assert done == 10
    for was, state in zip(before, states, strict=True):
        jax.tree.map(np.testing.assert_array_equal, was, state.train)


def test_a_signal_stops_all_before_the_next_launch():
    runs = begin("dqn")
    env = envs.make("catch", KINDS["dqn"].num_envs)
    advance = advance_together(runs[0].runner, env, [run.driver for run in runs])
    states, done = advance([run.state for run in runs], 10, lambda: True)
    assert (done, [int(state.rows) for state in states]) == (0, [0, 0])
