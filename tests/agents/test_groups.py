"""A run whose games step in two groups is the run in one."""

import dataclasses

import numpy as np
import pytest

import envs
from agents import driver
from agents.presets import preset
from agents.settings import Settings
from envs import protocols
from tests.agents.running import Run, assert_equal, compilations, start

ROWS = 60
SMALL = {
    "num_envs": 4,
    "batch_size": 8,
    "replay_capacity": 400,
    "learning_starts": 40,
    "epsilon_decay_steps": 100,
    "target_update_period": 16,
    "burn_in": 2,
    "sequence_length": 4,
    "sequence_period": 4,
    "hidden": 16,
    "precision": "float32",
}


def small(name: str) -> Settings:
    return dataclasses.replace(preset(name, "laptop"), **SMALL)


def begin(groups: int, name: str = "prioritized") -> Run:
    # Short games and a short period: fresh seeds while the other group's step is under way.
    short = dataclasses.replace(protocols.find("machado2018"), max_frames_train=80)
    env = envs.make("Pong", 4, short, training=True, groups=groups)
    run = start(name, small(name), env)
    games = driver.HostDriver(run.runner, env, run_seed=0, seed_period=5)
    return run._replace(driver=games)


@pytest.fixture(scope="module")
def side_by_side() -> Run:
    return begin(1).advance(ROWS)


def test_a_run_in_two_groups_is_the_run_in_one(side_by_side):
    with compilations() as compiled:
        in_groups = begin(2).advance(ROWS)
    assert (compiled["choose"], compiled["store"], compiled["learn"]) == (1, 1, 1)
    assert int(in_groups.state.train.step) > 20
    assert_equal(in_groups.state, side_by_side.state)
    ours, theirs = in_groups.driver.snapshot(), side_by_side.driver.snapshot()
    for name in ours["log"]:
        np.testing.assert_array_equal(ours["log"][name], theirs["log"][name])
    assert ours["log"]["number"].tolist() == [2] * 4
    assert in_groups.driver.tracker.state() == side_by_side.driver.tracker.state()


def test_each_group_carries_its_own_part_of_the_recurrent_state():
    one, two = (begin(groups, "r2d2").advance(30) for groups in (1, 2))
    assert int(two.state.train.step) > 0
    for ours, theirs in zip(two.state.core, one.state.core, strict=True):
        assert np.unique(theirs, axis=0).shape[0] > 1  # games differ
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_stopping_receives_what_is_under_way_and_changes_nothing(side_by_side):
    run = begin(2)
    for rows in (1, 23, 2, 34):
        run = run.advance(rows)
    assert_equal(run.state, side_by_side.state)


def test_a_run_may_be_resumed_in_another_number_of_groups(side_by_side):
    run = begin(1).advance(30)
    resumed = begin(2)
    resumed.driver.restore(run.driver.snapshot())
    resumed = resumed._replace(state=run.state).advance(ROWS - 30)
    assert_equal(resumed.state, side_by_side.state)


def test_a_group_is_under_way_whenever_the_other_is_acted_on():
    env = envs.make("Pong", 4, groups=2)
    events = []

    def send(group, actions):
        events.append(("send", group))
        env.send(group, actions)

    def recv(group):
        events.append(("recv", group))
        return env.recv(group)

    start("prioritized", small("prioritized"), env._replace(send=send, recv=recv)).advance(5)
    # Between its recv and its send a group is acted on.
    row = [("recv", 0), ("send", 0), ("recv", 1), ("send", 1)]
    assert events == [("send", 0), ("send", 1), *(4 * row), ("recv", 0), ("recv", 1)]
