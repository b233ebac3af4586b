import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dqnlab.types import UserError
from envs import host


def test_runs_with_neighbouring_seeds_share_no_game():
    seeds = np.concatenate([host.game_seeds(run, 64) for run in range(8)])
    assert len(np.unique(seeds)) == len(seeds)


def test_the_seed_of_a_game_does_not_depend_on_the_number_of_games():
    np.testing.assert_array_equal(host.game_seeds(5, 2), host.game_seeds(5, 8)[:2])


@pytest.mark.parametrize("seed", [3, np.int64(3), np.uint32(3), jnp.int32(3)])
def test_any_integer_type_is_a_seed(seed):
    np.testing.assert_array_equal(host.game_seeds(seed, 2), host.game_seeds(3, 2))


@given(st.integers(0, 2**200), st.integers(1, 4))
def test_seeds_fit_into_the_31_bits_that_the_emulator_takes(seed, num_envs):
    seeds = host.game_seeds(seed, num_envs)
    assert seeds.dtype == np.int64
    assert ((seeds >= 0) & (seeds < 2**31)).all()


@pytest.mark.parametrize("seed", [-1, 1.5, None, "7"])
def test_other_seeds_are_user_errors(seed):
    with pytest.raises(UserError, match="seed is"):
        host.game_seeds(seed, 2)


@pytest.mark.parametrize("num_envs", [0, -1, 2.0, None, host.MAX_ENVS + 1])
def test_a_number_of_games_that_would_crash_is_a_user_error(num_envs):
    with pytest.raises(UserError, match="num_envs"):
        host.check_num_envs(num_envs)


@given(st.lists(st.integers(-3, 9), min_size=3, max_size=3))
def test_actions_pass_exactly_if_all_are_in_range(actions):
    if all(0 <= a < 6 for a in actions):
        checked = host.check_actions(actions, 3, 6)
        assert checked.dtype == np.int32
        assert checked.tolist() == actions
    else:
        index = next(i for i, a in enumerate(actions) if not 0 <= a < 6)
        with pytest.raises(ValueError, match=rf"actions\[{index}\] is {actions[index]},"):
            host.check_actions(actions, 3, 6)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([0.0, 1.0], "dtype float64"),
        ([True, False], "dtype bool"),
        ([0, 1, 2], r"shape \(3,\)"),
        ([[0, 1]], r"shape \(1, 2\)"),
        (0, r"shape \(\)"),
    ],
)
def test_actions_of_another_type_or_shape_are_refused(actions, message):
    with pytest.raises(ValueError, match=message):
        host.check_actions(actions, 2, 6)
