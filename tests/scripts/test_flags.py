import dataclasses

import pytest

from agents import presets
from agents.settings import Settings
from dqnlab.types import UserError
from scripts import evaluate, flags, inspect_net, report, train_dqn, watch
from scripts import options as training_options


@pytest.mark.parametrize(
    ("args", "value", "rest"),
    [
        ([], None, []),
        (["--a", "1"], None, ["--a", "1"]),
        (["--run", "x", "--a"], "x", ["--a"]),
        (["--a", "--run=x"], "x", ["--a"]),
        (["--run"], "", []),
        (["--runs", "x"], None, ["--runs", "x"]),
    ],
)
def test_a_flag_is_found_in_either_spelling_and_taken_out(args, value, rest):
    assert flags.value(args, "--run") == value
    assert flags.without(args, "--run") == rest


@pytest.mark.parametrize(("args", "agent"), [([], "prioritized"), (["--agent=c51"], "c51")])
def test_an_empty_command_line_is_the_main_job(args, agent):
    options = training_options.parse(args, None)
    assert (options.game, options.agent) == ("Pong", agent)
    assert options.settings == presets.preset(agent, "laptop")


@pytest.mark.parametrize(
    ("text", "number"),
    [("1e6", 1_000_000), ("2.5e5", 250_000), ("1E3", 1000), ("-2e3", -2000), ("1_000", 1000)],
)
def test_integers_may_have_an_exponent(text, number):
    assert flags.integer(text) == number
    assert training_options.parse(["--frames", "1e6", "--replay-capacity=2.5e5"], None) == (
        training_options.parse(["--frames", "1000000", "--replay-capacity", "250000"], None)
    )


@pytest.mark.parametrize("text", ["1.5", "1.0", "1e-1", "1.5e0", "1e400", "nan", "1e", "", "inf"])
def test_what_is_no_integer_is_refused(text):
    with pytest.raises(ValueError, match="is not an integer"):
        flags.integer(text)


def test_the_refusal_names_flag_and_value(capsys):
    with pytest.raises(SystemExit) as ended:
        training_options.parse(["--frames", "1.5"], None)
    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert "--frames: '1.5' is not an integer" in " ".join((shown.out + shown.err).split())


def test_numbers_with_an_exponent_stay_shares_where_shares_are_taken():
    options = training_options.parse(
        ["--learning-rate", "1e-3", "--epsilon-decay-steps", "0.25", "--reward-clip", "None"], None
    )
    assert options.settings.learning_rate == 1e-3
    assert options.settings.epsilon_decay_steps == 0.25


SEEDED = [(evaluate, "x"), (report, "x"), (watch, "x"), (inspect_net, "x"), (train_dqn, "")]


@pytest.mark.parametrize("seed", ["-1", "4294967296", "1e19"])
@pytest.mark.parametrize(("command", "run_dir"), SEEDED)
def test_every_command_refuses_a_seed_out_of_range_before_any_work(command, run_dir, seed):
    with pytest.raises((UserError, SystemExit)) as refused:
        command.main([*filter(None, [run_dir]), "--seed", seed])
    if isinstance(refused.value, SystemExit):  # by the parser: beyond what an integer may be
        assert refused.value.code == 2
    else:
        assert "--seed is " in str(refused.value)


def test_the_last_of_several_seeds_is_in_range_too():
    with pytest.raises(UserError, match="the last of 2 is 4294967296"):
        training_options.parse(["--seed", "4294967295", "--num-seeds", "2"], None)


def test_help_has_every_option_and_setting_in_a_group(capsys):
    with pytest.raises(SystemExit):
        training_options.parse(["--help"], None)
    shown = capsys.readouterr().out
    for group in ("everyday", "exploration", "replay", "network", "optimizer", "r2d2", "pqn"):
        assert f"{group} options" in shown
    assert "other options" not in shown, "give the new option a place in scripts/option_groups.py"
    assert shown.index("--list") < shown.index("exploration options")
    for record in (Settings, training_options.Options):
        for field in dataclasses.fields(record):
            assert field.name == "settings" or f"--{field.name.replace('_', '-')} " in (
                shown.replace(",", " ")
            )
