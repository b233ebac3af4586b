import pytest

from scripts import flags


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
