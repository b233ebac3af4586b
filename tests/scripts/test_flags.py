import pytest

from agents import presets
from scripts import flags
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
