import dataclasses

import pytest

from dqnlab.types import UserError
from envs import protocols


def test_the_published_settings_are_these():
    machado, nature, small = (
        protocols.find(name) for name in ("machado2018", "nature2015", "atari100k")
    )
    assert (machado.sticky_actions, nature.sticky_actions, small.sticky_actions) == (0.25, 0, 0)
    assert (machado.noop_max, nature.noop_max, small.noop_max) == (0, 30, 30)
    assert [p.life_loss_terminal for p in (machado, nature, small)] == [False, True, True]
    assert {p.max_frames_train for p in (machado, nature, small)} == {108_000}
    assert (machado.max_frames_eval, nature.max_frames_eval) == (108_000, 18_000)


def test_an_unknown_protocol_names_the_nearest():
    with pytest.raises(UserError, match="unknown protocol 'machado': did you mean machado2018"):
        protocols.find("machado")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("sticky_actions", 7.0), ("sticky_actions", -0.1), ("sticky_actions", float("nan"))),
        *(("noop_max", -3), ("noop_max", 31), ("frame_skip", 0)),
        *(("max_frames_train", 0), ("max_frames_train", 101), ("max_frames_eval", 18_001)),
    ],
)
def test_a_setting_that_the_emulator_would_accept_in_silence_is_refused(field, value):
    with pytest.raises(UserError, match=field):
        dataclasses.replace(protocols.PROTOCOLS["machado2018"], **{field: value})
