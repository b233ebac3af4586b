import gymnasium
import pytest

import envs
from dqnlab.types import UserError
from envs import names, scores


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


@pytest.mark.parametrize(
    ("name", "kind", "means"),
    [
        ("Blackjack", "atari", "Blackjack"),
        ("black-jack", "atari", "Blackjack"),
        ("ALE/Blackjack-v5", "atari", "Blackjack"),
        ("BlackjackNoFrameskip-v4", "atari", "Blackjack"),
        ("Pong-v4", "atari", "Pong"),
        ("Blackjack-v1", "gymnasium", "Blackjack-v1"),
        ("gym:Blackjack-v1", "gymnasium", "Blackjack-v1"),
        ("gym:ALE/Pong-v5", "gymnasium", "gym:ALE/Pong-v5"),  # alone it means the Atari game
        ("gym:catch", "gymnasium", "gym:catch"),
        ("gym:CartPole-v1", "gymnasium", "CartPole-v1"),
        ("module:Pong-v1", "gymnasium", "module:Pong-v1"),
    ],
)
def test_a_gymnasium_id_with_its_version_means_that_environment(name, kind, means):
    assert envs.find(name) == (kind, means)
    assert envs.find(means) == (kind, means)  # a run's config.json finds its game again


def test_no_id_of_another_environment_becomes_an_atari_game():
    for env_id in names.gymnasium_ids():
        assert envs.find(env_id) == ("gymnasium", env_id)


@pytest.mark.parametrize("name", ["Blackjack-v0", "blackjack-v1", "Black-Jack-v7"])
def test_another_version_or_spelling_of_such_an_id_is_refused(name):
    with pytest.raises(UserError, match=r"did you mean Blackjack-v1 or Blackjack \(Atari\)"):
        envs.find(name)


def test_an_environment_named_as_an_atari_game_has_none_of_its_scores(monkeypatch):
    registry = {**gymnasium.registry, "Pong-v1": gymnasium.registry["CartPole-v1"]}
    monkeypatch.setattr(gymnasium, "registry", registry)
    assert envs.find("Pong-v1") == ("gymnasium", "Pong-v1")
    assert scores.reference("Pong-v1") == {}
    assert scores.dopamine_curve("Pong-v1") == {}
    assert scores.human_normalized("Pong-v1", 1.0) is None
    assert scores.reference("PongNoFrameskip-v4") == scores.reference("Pong") != {}


def test_a_protocol_is_of_atari_games_and_refused_for_others():
    assert envs.find_protocol("pong").name == "machado2018"
    assert envs.find_protocol("pong", "nature2015").name == "nature2015"
    for game in ("catch", "cue", "CartPole-v1"):
        assert envs.find_protocol(game) is None
        with pytest.raises(UserError, match=f"'nature2015'; {game} has rules of its own"):
            envs.make(game, 1, "nature2015")


def test_an_unknown_protocol_is_a_user_error_for_every_game():
    for game in ("pong", "catch"):
        with pytest.raises(UserError, match="unknown protocol"):
            envs.make(game, 1, "nature2014")
