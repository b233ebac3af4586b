import pytest

from dqnlab.types import UserError
from envs import names, scores


def test_random_play_is_0_and_the_human_is_1():
    games = [g for g in names.atari_games() if "human" in scores.reference(g)]
    assert len(games) == 57
    for game in games:
        row = scores.reference(game)
        assert scores.human_normalized(game, row["random"]) == 0
        assert scores.human_normalized(game, row["human"]) == 1


def test_pong_is_as_published_in_any_spelling():
    assert scores.reference("ALE/Pong-v5")["random"] == -20.7
    assert scores.reference("pong")["human"] == 14.6
    assert scores.human_normalized("Pong", 14.6 + 35.3) == pytest.approx(2)


def test_a_game_without_a_human_score_is_not_normalized():
    assert "dopamine_dqn" in scores.reference("Pooyan")
    assert scores.human_normalized("Pooyan", 1000) is None
    assert scores.human_normalized("catch", 1) is None
    assert scores.reference("catch") == {}


def test_every_row_belongs_to_a_game_that_can_be_played():
    assert len(scores._score_rows()) == 62
    assert all(
        names.find_atari(row["game"]) == row["game"] for row in scores._score_rows().values()
    )
    assert {game for game, _, _ in scores._curve_rows()} <= set(scores._score_rows())


def test_the_subsets_have_their_published_sizes():
    rows = scores._score_rows().values()
    for subset, size in (("in_atari57", 57), ("in_atari100k", 26), ("in_atari5", 5)):
        assert sum(row[subset] == "1" for row in rows) == size


def test_a_dopamine_curve_goes_from_1_to_200_million_frames():
    curve = scores.dopamine_curve("pong")
    assert list(curve) == [m * 1_000_000 for m in (1, 5, 10, 20, 40, 50, 100, 150, 200)]
    assert curve[1_000_000] == -20.349
    assert curve[200_000_000] == 16.61
    assert scores.dopamine_curve("catch") == {}


def test_an_unknown_dopamine_run_lists_those_that_exist():
    with pytest.raises(UserError, match="jax_CNN/Rainbow"):
        scores.dopamine_curve("pong", "Rainbow", "jax")
