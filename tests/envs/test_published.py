import pytest

from dqnlab.types import UserError
from envs import names, published, scores


def test_every_published_column_and_curve_is_known():
    columns = set().union(*(scores.reference(game) for game in names.atari_games()))
    unlisted = {"random", "human"} | {name for name in columns if name.startswith("in_")}
    assert set(published.COLUMNS) == columns - unlisted
    assert all(published.published(name, "Pong") for name in published.CURVES)
    listed = {(run_set, agent) for _, agent, run_set in scores._curve_rows()}
    assert set(published.CURVES.values()) == listed


def test_a_column_is_one_point_and_a_curve_is_many():
    assert published.published("dopamine_dqn", "Pong") == {
        200_000_000: scores.reference("Pong")["dopamine_dqn"]
    }
    assert published.published("dopamine:DQN", "Pong") == scores.dopamine_curve("Pong")
    assert list(published.published("bbf_rr8_100k", "Alien")) == [400_000]
    assert published.published("bbf_rr8_100k", "Pooyan") == {}
    assert published.published("dopamine:DQN", "catch") == {}


def test_a_baseline_is_found_in_any_case_and_says_how_it_was_measured():
    assert published.find_baseline("dopamine:rainbow") == "dopamine:Rainbow"
    assert published.find_baseline("MRQ_10m") == "mrq_10M"
    assert published.how_measured("dopamine:Rainbow") == "sticky actions 0.25, training average"
    assert "no sticky actions" in published.how_measured("rainbow_noop")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("dopamine:rainbw", "did you mean dopamine:Rainbow"), ("zzz", "known: agent57")],
)
def test_an_unknown_baseline_is_named_with_the_nearest(name: str, hint: str):
    with pytest.raises(UserError, match=f"baseline '{name}' is unknown; {hint}"):
        published.find_baseline(name)


def test_only_a_whole_subset_has_its_name():
    atari5 = [g for g in names.atari_games() if scores.reference(g).get("in_atari5")]
    assert published.subsets(atari5) == {"atari5": atari5}
    assert published.subsets([*atari5, "Pong"]) == {
        "atari5": atari5,
        "these 6": [*atari5, "Pong"],
    }
    assert published.subsets(atari5[:4]) == {"these 4": atari5[:4]}


def test_all_57_games_are_every_subset_and_no_other():
    games = [g for g in names.atari_games() if scores.reference(g).get("in_atari57")]
    found = published.subsets(games)
    assert {name: len(members) for name, members in found.items()} == {
        "atari5": 5,
        "atari26": 26,
        "atari57": 57,
    }


def test_scores_are_normalized_and_games_without_a_human_score_left_out():
    values = {"Pong": [-20.7, 14.6], "Pooyan": [1000.0], "catch": [1.0]}
    assert published.normalized(values) == {"Pong": [0, 1]}
