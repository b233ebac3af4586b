"""Games in groups that step apart are the games that they are side by side."""

import numpy as np
import pytest

import envs
from dqnlab.types import TimeStep, UserError

ROWS = 120


def play(groups: int) -> list[TimeStep]:
    """What four games of Breakout show for `ROWS` steps, the second group always ahead."""
    env = envs.make("Breakout", 4, "nature2015", groups=groups)
    rng = np.random.default_rng(0)
    actions = rng.integers(0, 4, (ROWS, 4)).astype(np.int32)
    _, shown = env.reset(7)
    timesteps = [shown]
    try:
        for row in actions:
            parts = np.split(row, groups)
            for group in reversed(range(groups)):
                env.send(group, parts[group])
            told = [env.recv(group) for group in range(groups)]
            timesteps.append(TimeStep(*map(np.concatenate, zip(*told, strict=True))))
    finally:
        env.close()
    return timesteps


def test_games_are_the_same_for_any_number_of_groups():
    one, two, four = play(1), play(2), play(4)
    assert any(each.discount.min() == 0.0 for each in one)  # lives were lost
    for other in (two, four):
        for ours, theirs in zip(one, other, strict=True):
            for field, same in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(field, same)


def test_a_group_steps_while_the_other_is_waited_for():
    env = envs.make("Pong", 4, groups=2)
    env.reset(0)
    env.send(0, np.zeros(2, np.int32))  # under way throughout
    for _ in range(3):
        env.send(1, np.zeros(2, np.int32))
        assert env.recv(1).obs.shape == (2, 84, 84)
    assert env.recv(0).obs.shape == (2, 84, 84)
    env.send(0, np.zeros(2, np.int32))
    env.reset(0)  # receives what is under way
    with pytest.raises(ValueError, match="group 0 was sent no actions"):
        env.recv(0)
    env.close()


def test_what_would_hang_is_refused():
    env = envs.make("Pong", 4, groups=2)
    env.reset(0)
    with pytest.raises(ValueError, match="group 1 was sent no actions: its step would never end"):
        env.recv(1)
    env.send(0, [0, 0])
    with pytest.raises(ValueError, match="group 0 has a step under way"):
        env.send(0, [0, 0])
    with pytest.raises(ValueError, match=r"actions have shape \(3,\), must be \(2,\)"):
        env.send(1, [0, 0, 0])
    env.close()


@pytest.mark.parametrize("groups", [0, 3, 1.0])
def test_groups_that_do_not_divide_the_games_are_refused(groups):
    with pytest.raises(
        UserError, match=r"must be an integer (that divides num_envs 4|of at least 1)"
    ):
        envs.make("Pong", 4, groups=groups)
