"""Integers and seeds: NumPy's are taken, all else is refused in one line."""

import numpy as np
import pytest

import envs
from agents import limits
from agents.settings import Settings
from dqnlab import validation
from dqnlab.types import UserError
from envs.cue import make_cue


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.array(3)])
def test_integers_of_any_kind_are_taken_as_ints(value):
    taken = validation.integer("n", value, 1, 4)
    assert (type(taken), taken) == (int, 3)
    assert type(validation.seed(value)) is int


@pytest.mark.parametrize("value", [0, 5, -1, 2.0, np.float32(2), "2", None, True, np.True_])
def test_others_are_refused_with_what_is_allowed(value):
    with pytest.raises(UserError, match=r"^n is .*; it must be an integer within 1 \.\. 4$"):
        validation.integer("n", value, 1, 4)


def test_seeds_end_where_jax_would_cut_them():
    assert validation.seed(2**32 - 1) == 2**32 - 1
    for value, count in ((2**32, 1), (2**32 - 1, 2), (1_764_538_000_000, 1)):
        with pytest.raises(UserError, match=r"seeds are integers within 0 \.\. 4294967295"):
            validation.seed(value, count=count)
    with pytest.raises(UserError, match="seed is -1; it must be an integer of at least 0"):
        validation.seed(-1)


def test_games_take_numpy_integers():
    for name in ("Pong", "catch", "CartPole-v1"):
        env = envs.make(name, np.int64(2))
        env.reset(np.uint32(7))
        env.close()
        assert type(env.spec.num_envs) is int
    make_cue(2, delay=np.int64(3))


def test_settings_keep_python_numbers():
    settings = Settings(num_envs=np.int64(4), learning_rate=np.float32(0.5))  # type: ignore[arg-type]
    assert settings == Settings(num_envs=4, learning_rate=0.5)
    assert (type(settings.num_envs), type(settings.learning_rate)) == (int, float)
    limits.check(settings)
