"""Schedules as shares of a run, and the words about when they end."""

import dataclasses

import pytest

from agents import presets, registry, runner, schedules
from agents.limits import check
from agents.settings import Settings
from dqnlab.types import UserError
from scripts import options, train_dqn

PLAIN = Settings(learning_starts=1_000, epsilon_decay_steps=0.25, learning_rate_final=1e-5)


def test_shares_become_agent_steps_of_the_run():
    short, long = schedules.in_steps(PLAIN, 3_000), schedules.in_steps(PLAIN, 60_000)
    assert (short.epsilon_decay_steps, long.epsilon_decay_steps) == (750, 15_000)
    assert (short.learning_rate_decay_starts, long.learning_rate_decay_starts) == (1_000, 20_000)
    assert schedules.in_steps(short, 60_000) == short  # steps are steps whatever the run


def test_the_default_agent_has_its_measured_schedule_at_its_default_length():
    fixed = schedules.in_steps(presets.preset("prioritized", "laptop"), 1_500_000)
    decay = fixed.learning_rate_decay_starts, fixed.learning_rate_decay_steps
    assert decay == (500_000, 750_000)
    assert fixed.importance_exponent_steps == 500_000
    assert all(isinstance(each, int) for each in decay)


@pytest.mark.parametrize("frames", [500_000, 6_000_000, 200_000_000])
@pytest.mark.parametrize(
    ("agent", "preset"), [("pqn", "paper"), ("btr", "paper"), ("dqn", "laptop")]
)
def test_presets_that_speak_of_the_whole_run_finish_in_any(agent, preset, frames):
    settings = schedules.in_steps(presets.preset(agent, preset), frames // 4)
    by_name = {each.name: each for each in schedules.of(settings)}
    assert by_name["epsilon"].ends <= frames // 4 + settings.learning_starts


def test_each_schedule_is_told_with_its_last_frame():
    settings = schedules.in_steps(
        dataclasses.replace(PLAIN, replay="prioritized", learning_rate_warmup_steps=500), 9_000
    )
    assert schedules.describe(settings, 4) == (
        "epsilon 1 to 0.01 by 13,000; learning rate 0 to 0.00025 by 6,000; "
        "learning rate 0.00025 to 1e-05 by 24,000; importance exponent 0.4 to 1 by 16,000"
    )


def test_a_run_that_ends_before_a_schedule_or_before_learning_is_warned_about():
    settings = schedules.in_steps(PLAIN, 9_000)
    assert schedules.warnings(settings, 9_000, 4) == []
    (line,) = schedules.warnings(dataclasses.replace(settings, epsilon_decay_steps=8_500), 9_000, 4)
    assert line == (
        "the schedule of epsilon (1 to 0.01) ends after 38,000 frames, the run after 36,000"
    )
    lines = schedules.warnings(settings, 500, 4)
    assert "it will learn nothing" in lines[0]


@pytest.mark.parametrize("value", [-1, -0.5, 1.5, float("nan"), float("inf"), None])
def test_a_length_that_is_neither_is_refused(value):
    with pytest.raises(UserError, match="whole number of agent steps or a share of the run"):
        check(dataclasses.replace(PLAIN, learning_rate_decay_steps=value))
    check(dataclasses.replace(PLAIN, epsilon_off_steps=None))


def test_a_share_that_nobody_fixed_reaches_no_schedule():
    with pytest.raises(TypeError):
        registry.make_optimizer(PLAIN)
    with pytest.raises(TypeError):
        runner.epsilon(PLAIN, 0)


def test_a_longer_resumed_run_keeps_the_schedules_that_it_began_with(tmp_path):
    args = (
        "--agent dqn --game catch --num-envs 4 --learning-starts 40 --hidden 4 "
        "--learning-rate-final 1e-5 --epsilon-decay-steps 0.5 --replay-capacity 400 "
        "--eval-episodes 0 --quiet"
    ).split()
    part = tmp_path / "part"
    assert train_dqn.main([*args, "--frames", "160", "--run-dir", str(part)]) == 0
    begun = options.read_options(part).settings
    assert (begun.epsilon_decay_steps, begun.learning_rate_decay_starts) == (80, 53)
    assert train_dqn.main(["--resume", str(part), "--frames", "320", "--quiet"]) == 0
    assert options.read_options(part).settings == begun
