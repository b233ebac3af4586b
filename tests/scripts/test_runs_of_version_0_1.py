"""Runs that version 0.1 wrote are loaded, resumed and evaluated by this one."""

import json
import shutil
from pathlib import Path

import pytest

from agents import policy
from scripts import evaluate, train_dqn

RUNS = Path(__file__).parents[1] / "golden" / "runs-0.1"


@pytest.mark.parametrize(("game", "steps"), [("pong", 600), ("catch", 2400)])
def test_a_run_of_version_0_1_goes_on(game, steps, tmp_path, capsys):
    run_dir = tmp_path / game
    shutil.copytree(RUNS / game, run_dir)
    before = (run_dir / "metrics.jsonl").read_text().splitlines()
    frames = {"pong": "2800", "catch": "2800"}[game]
    args = ["--resume", str(run_dir), "--frames", frames, "--eval-episodes", "0", "--quiet"]
    assert train_dqn.main(args) == 0  # the games arrive where they were, or this is an error
    after = (run_dir / "metrics.jsonl").read_text().splitlines()
    assert after[: len(before)] == before
    assert json.loads(after[-1])["frames"] == int(frames)
    assert policy.load(run_dir, "last").agent_steps > steps


def test_a_run_of_version_0_1_is_evaluated(tmp_path, capsys):
    run_dir = tmp_path / "catch"
    shutil.copytree(RUNS / "catch", run_dir)
    assert evaluate.main([str(run_dir), "--checkpoint", "last", "--episodes", "2"]) == 0
    assert "mean" in capsys.readouterr().out
