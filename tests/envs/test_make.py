import pytest

import envs
from dqnlab.types import UserError


@pytest.mark.parametrize(
    ("name", "game"),
    [
        *(("ms-pacman", "MsPacman"), ("ALE/Pong-v5", "Pong"), ("PongNoFrameskip-v4", "Pong")),
        *(("catch", "catch"), ("CATCH", "catch"), ("cue", "cue"), ("CartPole-v1", "CartPole-v1")),
    ],
)
def test_one_entry_makes_every_kind_of_game(name, game):
    assert envs.make(name, 2).spec.game == game


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        *(("pongg", "Pong"), ("cach", "catch"), ("cartpole-v1", "CartPole-v1")),
        *(("Brekout-v5", "Breakout"), ("zzzzqqqq", "known: catch, cue,")),
    ],
)
def test_an_unknown_game_is_answered_with_the_nearest_of_all_kinds(name, hint):
    with pytest.raises(UserError, match=f"unknown game '{name}': .*{hint}"):
        envs.make(name, 1)


@pytest.mark.parametrize("game", ["pong", "catch", "cue", "CartPole-v1"])
@pytest.mark.parametrize("num_envs", [0, -1])
def test_no_games_at_all_is_a_user_error(game, num_envs):
    with pytest.raises(UserError, match="num_envs"):
        envs.make(game, num_envs)


def test_an_unknown_protocol_is_a_user_error_for_every_game():
    for game in ("pong", "catch"):
        with pytest.raises(UserError, match="unknown protocol"):
            envs.make(game, 1, "nature2014")
