"""Several seeds by one command: folders like those of as many commands."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from agents import policy
from dqnlab.types import UserError
from scripts import options as training_options
from scripts import startup, train_dqn

SHORT = (
    "--game catch --num-envs 4 --frames 800 --log-every 400 --checkpoint-every 400 "
    "--learning-starts 200 --replay-capacity 1000 --hidden 16 --eval-episodes 2 --device cpu "
    "--precision float32 --optimizer adam --quiet"  # ASGO makes differences of rounding larger
).split()


def rows(run_dir: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def test_each_seed_gets_the_folder_of_a_run_of_its_own_and_can_be_resumed_alone(tmp_path):
    together, alone = tmp_path / "together", tmp_path / "alone"
    args = [*SHORT, "--seed", "5", "--num-seeds", "2", "--run-dir", str(together)]
    assert train_dqn.main(args) == 0
    assert train_dqn.main([*SHORT, "--seed", "6", "--run-dir", str(alone)]) == 0
    ours, theirs = rows(together / "seed6"), rows(alone)
    assert len(ours) == len(theirs) == 2
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.keys() == other.keys()
        for name in mine.keys() - {"seconds", "frames_per_second"}:
            assert mine[name] == pytest.approx(other[name], rel=1e-3), name
    assert rows(together / "seed5")[-1]["loss"] != ours[-1]["loss"]
    one, other = policy.load(together / "seed6", "last"), policy.load(alone, "last")
    np.testing.assert_allclose(
        one.params["q_head/~_dense/q"]["w"], other.params["q_head/~_dense/q"]["w"], atol=1e-4
    )
    assert (together / "seed5" / "eval.json").exists()
    configs = [policy.read_config(path)["options"] for path in (together / "seed6", alone)]
    assert configs[0] == configs[1]
    resume = ["--resume", str(together / "seed6"), "--frames", "1200"]
    assert train_dqn.main([*resume, "--eval-episodes", "0", "--quiet"]) == 0
    assert rows(together / "seed6")[-1]["frames"] == 1200


def test_without_a_folder_each_seed_is_named_by_the_usual_pattern():
    options = dataclasses.replace(training_options.Options(), seed=3, num_seeds=2)
    of_each = training_options.of_each_seed(options)
    assert [(each.seed, each.num_seeds, each.run_dir) for each in of_each] == [
        (3, 1, None),
        (4, 1, None),
    ]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--game", "Pong"], "Pong is not written in JAX"),
        (["--num-seeds", "0"], "--num-seeds is 0"),
        (["--replay-capacity", "9000000000"], "--replay-capacity"),
    ],
)
def test_seeds_that_cannot_share_a_program_are_one_line(args, says, tmp_path, capsys):
    command = [*SHORT, "--num-seeds", "2", "--run-dir", str(tmp_path / "runs"), *args]
    with pytest.raises(SystemExit) as ended, startup.user_errors():
        train_dqn.main(command)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_several_seeds_are_resumed_one_by_one(tmp_path):
    run_dir = tmp_path / "run"
    assert train_dqn.main([*SHORT, "--eval-episodes", "0", "--run-dir", str(run_dir)]) == 0
    with pytest.raises(UserError, match="num_seeds was 1 and cannot become 2"):
        training_options.parse(["--resume", str(run_dir), "--num-seeds", "2"], None)
