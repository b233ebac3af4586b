"""Aggregates against hand-computed values, scipy, and published figures."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from dqnlab import statistics
from dqnlab.statistics import Estimate
from dqnlab.types import UserError
from envs import names, scores

AGGREGATES = [
    statistics.iqm,
    statistics.median,
    statistics.mean,
    statistics.optimality_gap,
]
UNEQUAL = {"a": [0.0, 1.0], "b": [2.0], "c": [4.0, 5.0, 9.0]}


def test_hand_computed_aggregates_of_unequal_numbers_of_runs():
    # Game means: 0.5, 2, 6. Each game weighs 1/3.
    assert statistics.mean(UNEQUAL).value == pytest.approx(8.5 / 3)
    assert statistics.median(UNEQUAL).value == 2
    assert statistics.optimality_gap(UNEQUAL).value == pytest.approx((0.5 + 0 + 0) / 3)
    assert statistics.optimality_gap(UNEQUAL, gamma=4).value == pytest.approx((3.5 + 2 + 0) / 3)


def test_a_hand_computed_iqm_of_unequal_numbers_of_runs():
    # Weights 1/6 1/6 1/3 1/9 1/9 1/9, one of 6 scores cut at either end: 1/6 of the weight.
    # Gone are 0 below, and 9 and half of 5 above: 1/6, 1/3, 1/9, 1/18 of 1, 2, 4, 5 are left.
    expected = (1 / 6 + 2 / 3 + 4 / 9 + 5 / 18) / (2 / 3)
    assert statistics.iqm(UNEQUAL).value == pytest.approx(expected)


def test_hand_computed_aggregates_of_an_array():
    array = np.array([[0.0, 0.2, 3.0], [0.4, 0.6, 9.0]])  # [runs, games]
    assert statistics.iqm(array).value == pytest.approx((0.2 + 0.4 + 0.6 + 3) / 4)
    assert statistics.median(array).value == pytest.approx(0.4)
    assert statistics.mean(array).value == pytest.approx(6.6 / 3)
    assert statistics.optimality_gap(array).value == pytest.approx((0.8 + 0.6) / 3)


@pytest.mark.parametrize(("runs", "games"), [(1, 1), (3, 1), (5, 26), (4, 7), (1, 55)])
def test_the_iqm_is_scipys_trimmed_mean_for_equal_numbers_of_runs(runs: int, games: int):
    array = np.random.default_rng(0).lognormal(size=(runs, games))
    expected = stats.trim_mean(array, 0.25, axis=None)
    assert statistics.iqm(array).value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (statistics.iqm, lambda x, axis: stats.trim_mean(x, 0.25, axis=axis)),
        (statistics.mean, np.mean),
        (statistics.optimality_gap, lambda x, axis: 1 - np.minimum(x, 1).mean(axis)),
    ],
)
def test_intervals_of_one_game_are_scipys(
    ours: Callable[..., Estimate], theirs: Callable[..., Any]
):
    runs = np.random.default_rng(1).normal(1, 0.5, size=12)
    found = ours({"Pong": runs}, resamples=20_000)
    expected = stats.bootstrap(
        (runs,), theirs, n_resamples=20_000, method="percentile", rng=2
    ).confidence_interval
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.03 * width)
    assert found.high == pytest.approx(expected.high, abs=0.03 * width)
    assert found.low < found.value < found.high


def test_the_bootstrap_draws_runs_within_their_game():
    # Equal runs in every game: no draw can differ, though games differ widely.
    same = {"a": [1.0, 1.0], "b": [50.0, 50.0, 50.0]}
    for aggregate in AGGREGATES:
        value, low, high = aggregate(same)
        assert low == pytest.approx(value)
        assert high == pytest.approx(value)


def test_two_runs_give_the_interval_that_can_be_computed_by_hand():
    # Means 0, 1/2, 1 have the chances 1/4, 1/2, 1/4: both ends lie within the outer quarters.
    assert statistics.mean({"a": [0.0, 1.0]}) == Estimate(0.5, 0.0, 1.0)


def test_a_seed_gives_the_same_interval_and_another_one_another():
    runs = np.random.default_rng(3).normal(size=(5, 4))
    assert statistics.iqm(runs) == statistics.iqm(runs, seed=0)
    assert statistics.iqm(runs) != statistics.iqm(runs, seed=1)


def test_a_game_with_a_single_run_leaves_no_interval():
    for aggregate in AGGREGATES:
        assert np.isnan(aggregate(UNEQUAL)[1:]).all()
    profile = statistics.performance_profile(UNEQUAL, [1.0])
    assert np.isnan(profile.low).all()
    assert np.isfinite(profile.value).all()


def test_a_hand_computed_performance_profile():
    profile = statistics.performance_profile(UNEQUAL, [-1, 0, 2, 4, 9])
    expected = [1, 2.5 / 3, 1 / 3, 2 / 9, 0]  # strictly above
    np.testing.assert_allclose(profile.value, expected)
    even = statistics.performance_profile(np.arange(20.0).reshape(5, 4), np.arange(20))
    assert (even.low <= even.value).all()
    assert (even.value <= even.high).all()
    assert (np.diff(even.value) <= 0).all()


def test_a_hand_computed_probability_of_improvement():
    x = {"a": [1.0, 3.0], "b": [5.0, 5.0]}
    y = {"b": [5.0, 6.0], "a": [2.0, 0.0, 1.0]}  # in another order
    # a: 1 beats 0 and draws with 1; 3 beats all: 4.5 of 6. b: two draws of 4.
    assert statistics.probability_of_improvement(x, y).value == pytest.approx((0.75 + 0.25) / 2)
    assert statistics.probability_of_improvement(y, x).value == pytest.approx(0.5)
    assert statistics.probability_of_improvement(x, x).value == 0.5


def test_the_probability_of_improvement_is_scipys_mann_whitney_statistic():
    rng = np.random.default_rng(4)
    x, y = rng.normal(0.3, size=(7, 3)), rng.normal(size=(5, 3))
    pairs = zip(x.T, y.T, strict=True)
    expected = np.mean([stats.mannwhitneyu(*pair).statistic / 35 for pair in pairs])
    found = statistics.probability_of_improvement(x, y)
    assert found.value == pytest.approx(expected)
    assert found.low < found.value < found.high


@pytest.mark.parametrize(
    "bad",
    [{}, {"a": []}, {"a": [1.0, float("nan")]}, {"a": [[1.0]]}, np.zeros(3), np.zeros((2, 0))],
)
def test_scores_that_cannot_be_aggregated_are_refused(bad: Any):
    with pytest.raises(UserError, match="scores"):
        statistics.iqm(bad)


def test_an_improvement_on_other_games_is_refused():
    with pytest.raises(UserError, match="same games"):
        statistics.probability_of_improvement({"a": [1.0]}, {"b": [1.0]})


@pytest.mark.parametrize(
    ("column", "iqm"),
    [("dopamine_dqn", 0.776), ("dopamine_rainbow", 1.739), ("dopamine_iqn", 1.804)],
)
def test_dopamines_final_scores_give_the_published_iqm(column: str, iqm: float):
    # The 60 games of Dopamine but the five without a human score. The column is the mean of the
    # last 5M of 200M frames, over 5 seeds: one score per game.
    normalized: dict[str, list[float]] = {}
    for game in names.atari_games():
        score = scores.reference(game).get(column)
        hns = None if score is None else scores.human_normalized(game, score)
        if hns is not None:
            normalized[game] = [hns]
    assert len(normalized) == 55
    assert statistics.iqm(normalized).value == pytest.approx(iqm, abs=0.005)
