"""A run's last row where it ends between two of them, and that resuming stays exact."""

import itertools
import json
from pathlib import Path

import pytest

from dqnlab import weights
from scripts import train_dqn
from scripts.interrupts import Interrupts

# Rows at 300, 600, 900; checkpoints at 400, 800; the end at 1,000.
ARGS = (
    "--game catch --agent dqn --num-envs 4 --frames 1000 --log-every 300 --checkpoint-every 400 "
    "--learning-starts 100 --replay-capacity 1000 --hidden 8 --eval-episodes 0 --device cpu"
).split()


class StopAt(Interrupts):
    """A signal that comes while the launch of that number runs."""

    def __init__(self, launch: int):
        super().__init__()
        self._asked, self._launch = itertools.count(), launch

    def is_set(self) -> bool:
        # Asked before each launch by the loop and by the driver.
        if next(self._asked) // 2 >= self._launch:
            self.signal = 2
        return super().is_set()


def rows(run_dir: Path) -> list[dict[str, object]]:
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    timings = {"seconds", "frames_per_second"}
    return [{k: v for k, v in json.loads(x).items() if k not in timings} for x in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    assert train_dqn.main([*ARGS, "--run-dir", str(run_dir)]) == 0
    return run_dir


def test_the_end_of_a_run_leaves_its_partial_row(whole):
    assert [(row["frames"], row.get("partial")) for row in rows(whole)] == [
        (300, None),
        (600, None),
        (900, None),
        (1000, True),
    ]


def test_a_run_shorter_than_a_row_leaves_one(tmp_path, capsys):
    run_dir = tmp_path / "run"
    short = [*ARGS, "--frames", "200", "--log-every", "9000"]
    assert train_dqn.main([*short, "--run-dir", str(run_dir)]) == 0
    (row,) = rows(run_dir)
    assert (row["frames"], row["partial"]) == (200, True)
    assert row["loss"] is not None
    assert "200 frames 100%" in capsys.readouterr().out


# Launches end at 300, 400, 600, 800, 900: a stop after two of them falls between rows, one after
# the first or third between checkpoints.
@pytest.mark.parametrize("launch", [1, 2])
def test_a_stopped_run_leaves_its_row_and_resumed_equals_the_whole(
    whole, launch, tmp_path, monkeypatch
):
    run_dir = tmp_path / "stopped"
    with monkeypatch.context() as patched:
        patched.setattr(train_dqn, "Interrupts", lambda: StopAt(launch))
        assert train_dqn.main([*ARGS, "--run-dir", str(run_dir)]) == 130
    assert [row["frames"] for row in rows(run_dir)] == [300, 400][:launch]
    assert (run_dir / "weights" / "best.safetensors").exists()
    assert train_dqn.main(["--resume", str(run_dir), "--quiet"]) == 0
    assert rows(run_dir) == rows(whole)
    ours, theirs = (
        weights.load_weights(path / "weights" / "best.safetensors")[1] for path in (run_dir, whole)
    )
    assert ours["agent_steps"] == theirs["agent_steps"]


def test_a_finished_run_that_goes_on_has_the_rows_of_a_longer_one(whole, tmp_path):
    """The values differ, where the learning rate falls over a share of the run."""
    run_dir = tmp_path / "run"
    assert train_dqn.main([*ARGS, "--frames", "500", "--run-dir", str(run_dir)]) == 0
    assert rows(run_dir)[-1]["partial"] is True
    assert train_dqn.main(["--resume", str(run_dir), "--frames", "1000", "--quiet"]) == 0
    assert [row["frames"] for row in rows(run_dir)] == [row["frames"] for row in rows(whole)]
