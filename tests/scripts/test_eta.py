"""The time that a run still takes, from invented points."""

import pytest

from scripts.eta import Eta, evaluation


def test_steps_before_learning_and_compilation_do_not_count():
    """The first steps are ten times as fast, then the update compiles for 30 seconds."""
    eta = Eta(total=100_000, steady_from=10_000)
    for second in range(1, 6):
        eta.add(second * 2_000 - 1, second)
    assert eta.left() is None
    assert eta.speed_before() == pytest.approx(2_000)
    for second in range(11):
        eta.add(10_000 + second * 200, 35 + second)
    assert eta.speed() == pytest.approx(200)
    assert eta.left() == pytest.approx((100_000 - 12_000) / 200)


def test_the_speed_is_that_of_the_last_two_minutes():
    eta = Eta(total=100_000, steady_from=0)
    for second in range(1_000):
        eta.add(10 * second, second)
    for second in range(1, 122):
        eta.add(9_990 + 40 * second, 999 + second)
    assert eta.speed() == pytest.approx(40)


def test_points_further_apart_than_the_window_still_give_a_speed():
    eta = Eta(total=4_000, steady_from=0)
    for number in range(4):
        eta.add(1_000 * number, 500.0 * number)
    assert eta.speed() == pytest.approx(2)
    assert eta.left() == pytest.approx(500)


def test_nothing_is_known_from_one_point_or_from_less_than_a_second():
    eta = Eta(total=100, steady_from=0)
    assert eta.left() is None
    eta.add(1, 0.0)
    eta.add(50, 0.5)
    assert eta.left() is None


def test_a_run_that_never_learns_is_measured_whole():
    eta = Eta(total=1_000, steady_from=1_000)
    eta.add(100, 1.0)
    eta.add(200, 2.0)
    assert eta.left() == pytest.approx(8)


@pytest.mark.parametrize(
    ("games", "rounds"),
    [(20, 4), (8, 2), (1, 2), (0, 0)],  # of 8 at once, and the video
)
def test_the_games_at_the_end_take_their_time(games, rounds):
    assert evaluation(games, 8, steps=1_500, steps_per_second=100) == pytest.approx(15 * rounds)
