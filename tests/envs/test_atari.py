"""What the vector environment means by termination, truncation, life loss and reset."""

import dataclasses
import gc
import itertools
import threading

import numpy as np
import pytest

import envs
from dqnlab import machine
from dqnlab.types import UserError
from envs import atari, names
from envs.protocols import PROTOCOLS

QUIET = dataclasses.replace(PROTOCOLS["machado2018"], name="quiet", sticky_actions=0.0)
CAP = 40  # frames: 10 agent steps
SHORT = dataclasses.replace(QUIET, name="short", max_frames_train=CAP, max_frames_eval=2 * CAP)


def run(env, seed, actions):
    """All timesteps after the reset, each field stacked over time."""
    state, start = env.reset(seed)
    steps = []
    for row in actions:
        state, timestep = env.step(state, row)
        steps.append(timestep)
    return start, type(start)(*(np.stack(field) for field in zip(*steps, strict=True)))


def random_actions(env, num_steps, seed=0):
    shape = (num_steps, env.spec.num_envs)
    return np.random.default_rng(seed).integers(0, env.spec.num_actions, shape)


def test_a_timestep_has_the_shapes_and_types_of_the_contract():
    env = envs.make("pong", 3)
    start, steps = run(env, 0, random_actions(env, 2))
    assert env.spec.obs_shape == (84, 84)
    assert env.spec.action_meanings == (
        *("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE"),
    )
    assert env.spec.protocol["sticky_actions"] == 0.25
    assert env.spec.protocol["training"] is True
    for timestep in (start, type(start)(*(field[0] for field in steps))):
        assert [field.shape for field in timestep] == [(3, 84, 84), (3,), (3,), (3,)]
        assert [field.dtype for field in timestep] == [np.uint8, np.float32, np.float32, np.bool_]
    assert start.first.all()
    assert start.discount.all()
    assert not steps.first.any()


@pytest.mark.parametrize("game", names.atari_games())
def test_every_registered_game_makes_and_steps(game):
    env = envs.make(game, 1)
    start, steps = run(env, 0, random_actions(env, 3))
    assert env.spec.game == game
    assert start.obs.shape == (1, 84, 84)
    assert np.isfinite(steps.reward).all()
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize("game", names.atari_games())
def test_every_registered_game_plays_200_steps_with_all_its_actions(game):
    protocol = dataclasses.replace(PROTOCOLS["nature2015"], full_action_space=True)
    env = envs.make(game, 2, protocol)
    _, steps = run(env, 0, random_actions(env, 200))
    # The emulator's full set; two games read a joystick without its button.
    assert env.spec.num_actions == (9 if game in ("LostLuggage", "Skiing") else 18)
    assert np.isin(steps.discount, (0, 1)).all()
    env.close()


def test_a_lost_life_ends_the_return_but_not_the_game():
    train = envs.make("Breakout", 2, "nature2015", training=True)
    full = envs.make("Breakout", 2, "nature2015", training=False)
    actions = random_actions(train, 600)
    start, learner = run(train, 3, actions)
    full_start, game = run(full, 3, actions)

    for field in ("obs", "reward", "first"):  # the same games, whatever a learner is told
        np.testing.assert_array_equal(getattr(start, field), getattr(full_start, field))
        np.testing.assert_array_equal(getattr(learner, field), getattr(game, field))
    assert (learner.discount <= game.discount).all()

    num_games = 0
    for i in range(2):
        begins = [0, *np.flatnonzero(game.first[:, i])]
        for begin, end in itertools.pairwise(begins):
            assert (game.discount[begin:end, i] == 0).sum() == 1
            assert (learner.discount[begin:end, i] == 0).sum() == 5  # 5 lives
            assert learner.discount[begin:end, i][-1] == game.discount[begin:end, i][-1] == 0
            num_games += 1
        assert (learner.discount[game.first[:, i], i] == 1).all()
    assert num_games >= 3


def test_an_end_is_followed_by_one_reset_step():
    env = envs.make("Breakout", 2, QUIET)
    _, steps = run(env, 0, random_actions(env, 500))
    ended = steps.discount == 0
    assert ended.any()
    np.testing.assert_array_equal(steps.first[1:], ended[:-1])
    assert not steps.reward[steps.first].any()
    assert steps.discount[steps.first].all()


def test_a_game_cut_at_the_frame_cap_keeps_discount_1_and_starts_again():
    for training, num_steps in ((True, 10), (False, 20)):
        env = envs.make("Pong", 2, SHORT, training=training)
        start, steps = run(env, 0, random_actions(env, 65))
        assert steps.discount.all()
        first = np.zeros((65, 2), bool)
        first[num_steps :: num_steps + 1] = True
        np.testing.assert_array_equal(steps.first, first)
        for t in np.flatnonzero(first[:, 0]):
            np.testing.assert_array_equal(steps.obs[t], start.obs)


def test_the_frame_cap_is_counted_after_the_no_ops():
    noops = dataclasses.replace(SHORT, noop_max=30)
    env = envs.make("Pong", 3, noops)
    _, steps = run(env, 0, random_actions(env, 11))
    np.testing.assert_array_equal(steps.first[:, 0], np.arange(11) == 10)
    assert (steps.first == steps.first[:, :1]).all()


def test_the_action_of_a_reset_step_is_ignored():
    env = envs.make("Pong", 2, dataclasses.replace(SHORT, sticky_actions=0.25))
    actions = random_actions(env, 33)
    poisoned = actions.copy()
    poisoned[10::11] = (actions[10::11] + 3) % 6
    one, other = run(env, 0, actions), run(env, 0, poisoned)
    assert one[1].first[10].all()
    for a, b in zip(one[1], other[1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_nobody_presses_fire_at_a_reset():
    env = envs.make("Breakout", 1, QUIET)
    _, steps = run(env, 0, np.zeros((40, 1), np.int32))
    assert (steps.obs[5:] == steps.obs[5]).all()  # no ball is in play


def test_only_protocols_with_no_ops_vary_the_start():
    nature, machado = (envs.make("Freeway", 4, p) for p in ("nature2015", "machado2018"))
    assert len({obs.tobytes() for obs in nature.reset(0)[1].obs}) > 1
    assert len({obs.tobytes() for obs in machado.reset(0)[1].obs}) == 1


def test_the_emulator_uses_the_cores_that_the_process_may_use(monkeypatch):
    given = []

    class Recorder(atari.AtariVectorEnv):
        def __init__(self, *args, **settings):
            given.append(settings["num_threads"])
            super().__init__(*args, **settings)

    monkeypatch.setattr(atari, "AtariVectorEnv", Recorder)
    monkeypatch.setattr(machine, "num_cores", lambda: 3)
    for num_envs in (1, 2, 4):
        envs.make("pong", num_envs)
    envs.make("pong", 4, num_threads=2)
    assert given == [1, 2, 3, 2]


@pytest.mark.parametrize(
    "setting",
    [
        *({"height": 0}, {"width": -1}, {"width": 84.0}, {"num_threads": 0}, {"timeout_s": 0}),
        {"timeout_s": float("nan")},
    ],
)
def test_a_setting_that_would_hang_or_crash_is_a_user_error(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        envs.make("pong", 1, **setting)


def test_a_step_from_an_old_state_is_refused():
    env = envs.make("pong", 1)
    old, _ = env.reset(0)
    new, _ = env.step(old, [0])
    with pytest.raises(ValueError, match="env_state is 0, but these games are at 1"):
        env.step(old, [0])
    env.step(new, [0])


def test_closed_games_say_so():
    env = envs.make("pong", 1)
    state, _ = env.reset(0)
    env.close()
    env.close()
    with pytest.raises(RuntimeError, match="closed"):
        env.step(state, [0])


def test_games_leave_no_thread_behind():
    gc.collect()
    before = {t for t in threading.enumerate() if t.name == "env-watchdog"}
    closed, dropped = envs.make("pong", 1), envs.make("pong", 1)
    mine = [t for t in threading.enumerate() if t.name == "env-watchdog" and t not in before]
    assert len(mine) == 2
    closed.close()
    del dropped
    gc.collect()
    for thread in mine:
        thread.join(timeout=10)
        assert not thread.is_alive()
