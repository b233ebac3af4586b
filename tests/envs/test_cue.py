import numpy as np
import pytest

import envs
from dqnlab.types import UserError


@pytest.mark.parametrize("delay", [1, 4])
def test_remembering_the_cue_wins_and_its_opposite_loses(delay):
    env = envs.make("cue", 32, delay=delay)
    state, timestep = env.reset(0)
    cue = np.asarray(timestep.obs)[:, 0, -1] == 255  # lit at the right end
    assert 0 < cue.sum() < 32
    is_right_answer = np.arange(32) < 16
    for _ in range(delay):
        state, timestep = env.step(state, np.zeros(32, np.int32))
        assert not timestep.reward.any()
        assert timestep.discount.all()
    state, timestep = env.step(state, (cue == is_right_answer).astype(np.int32))
    np.testing.assert_array_equal(timestep.reward, np.where(is_right_answer, 1.0, -1.0))
    assert not timestep.discount.any()


def test_frames_after_the_first_tell_nothing_about_the_cue():
    env = envs.make("cue", 32, delay=3)
    state, _ = env.reset(0)
    for t in range(1, 5):
        state, timestep = env.step(state, np.zeros(32, np.int32))
        obs = np.asarray(timestep.obs)
        assert (obs == obs[:1]).all()
        assert obs.any() == (t == 3)  # the question, and darkness elsewhere


@pytest.mark.parametrize("delay", [0, -1, 1.5])
def test_a_delay_below_1_is_a_user_error(delay):
    with pytest.raises(UserError, match="delay"):
        envs.make("cue", 1, delay=delay)
