import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import envs
from dqnlab.types import UserError
from envs import gym


class Tiny(gymnasium.Env):
    """Two steps; the picture shows the action, and so does the reward."""

    observation_space = spaces.Box(0, 255, (4, 4), np.uint8)
    action_space = spaces.Discrete(2, start=3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return np.full((4, 4), 9, np.uint8), {}

    def step(self, action):
        self.time += 1
        return np.full((4, 4), action, np.uint8), float(action), self.time == 2, False, {}


class Nan(Tiny):
    def step(self, action):
        return *super().step(action)[:1], float("nan"), False, False, {}


class Needy(Tiny):
    def __init__(self):
        raise ImportError("no module named 'rare'")


@pytest.fixture(autouse=True)
def registered():
    for made in (Tiny, Nan, Needy):
        gymnasium.register(f"dqnlab/{made.__name__}-v0", made)
    yield
    for made in (Tiny, Nan, Needy):
        del gymnasium.registry[f"dqnlab/{made.__name__}-v0"]


@pytest.mark.parametrize("name", ["CartPole-v1", "gym:CartPole-v1"])
def test_cart_pole_plays_through_the_one_entry(name):
    env = envs.make(name, 3)
    assert env.spec.game == "CartPole-v1"
    assert (env.spec.obs_shape, env.spec.obs_dtype, env.spec.stack) == ((4,), "float32", 1)
    state, timestep = env.reset(0)
    ended = np.zeros(3, bool)
    num_ends = 0
    for _ in range(60):
        state, timestep = env.step(state, np.ones(3, np.int32))
        assert timestep.obs.dtype == np.float32
        np.testing.assert_array_equal(timestep.first, ended)
        np.testing.assert_array_equal(timestep.reward, np.where(ended, 0, 1))
        ended = timestep.discount == 0
        num_ends += ended.sum()
    assert num_ends > 6


def test_the_same_seed_gives_the_same_games_and_others_differ():
    env = envs.make("CartPole-v1", 2)
    one, again, other = (env.reset(seed)[1].obs for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert len(np.unique([*one, *other], axis=0)) == 4


def test_a_time_limit_is_a_truncation():
    env = envs.make("MountainCar-v0", 1)
    state, _ = env.reset(0)
    first = []
    for _ in range(402):
        state, timestep = env.step(state, [1])
        assert timestep.discount[0] == 1
        first.append(timestep.first[0])
    assert np.flatnonzero(first).tolist() == [200, 401]


def test_images_stay_bytes_and_actions_start_at_zero():
    env = envs.make("dqnlab/Tiny-v0", 2)
    assert (env.spec.obs_shape, env.spec.obs_dtype, env.spec.stack) == ((4, 4), "uint8", 4)
    assert (env.spec.num_actions, env.spec.action_meanings) == (2, ("3", "4"))
    state, _ = env.reset(0)
    _, timestep = env.step(state, [0, 1])
    assert timestep.obs.dtype == np.uint8
    assert timestep.obs[:, 0, 0].tolist() == [3, 4]
    assert timestep.reward.tolist() == [3, 4]
    with pytest.raises(ValueError, match=r"actions\[0\] is 3"):
        env.step(1, [3, 0])
    with pytest.raises(ValueError, match="env_state is 0"):
        env.step(state, [0, 0])


def test_a_reward_that_is_not_a_number_is_refused():
    env = envs.make("dqnlab/Nan-v0", 1)
    state, _ = env.reset(0)
    gymnasiums_warning = pytest.warns(UserWarning, match="NaN")
    with gymnasiums_warning, pytest.raises(ValueError, match="dqnlab/Nan-v0 gave rewards"):
        env.step(state, [0])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Pendulum-v1", "only Discrete actions are supported"),
        ("FrozenLake-v1", "supported are Box of one dimension"),
        ("Blackjack-v1", "supported are Box of one dimension"),  # and not Atari's Blackjack
        ("dqnlab/Needy-v0", "needs a package that is not installed: no module named 'rare'"),
        ("gym:CartPoel-v1", "Gymnasium cannot make CartPoel-v1"),
        ("nowhere:Mine-v0", "there is no module 'nowhere' on Python's path"),
        ("json:Mine-v0", "Gymnasium cannot make json:Mine-v0"),
        ("a:b:Mine-v0", "not of the form MODULE:ID"),
    ],
)
def test_what_is_not_supported_is_a_user_error_that_says_what_is(name, message):
    with pytest.raises(UserError, match=message):
        envs.make(name, 1)


def test_a_float_image_is_not_taken_for_a_picture():
    with pytest.raises(UserError, match="images of float32: images must be uint8"):
        gym._check_observations("x", spaces.Box(0, 1, (4, 4), np.float32))


@pytest.mark.parametrize("name", ["tests.own_games:Walk-v0", "gym:tests.own_games:Walk-v0"])
def test_a_module_of_ones_own_is_imported_and_its_name_is_kept(name):
    env = envs.make(name, 2)
    assert env.spec.game == "tests.own_games:Walk-v0"  # by which a saved run finds it again
    assert env.spec.protocol == {"name": "gymnasium", "id": "Walk-v0", "max_episode_steps": None}
    assert envs.make(env.spec.game, 2).spec == env.spec


def test_a_module_that_lacks_a_package_names_the_package(tmp_path, monkeypatch):
    (tmp_path / "needy_games.py").write_text("import rare_package")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="not installed: No module named 'rare_package'"):
        envs.make("needy_games:Mine-v0", 1)
