"""Weights & Biases, offline: the same rows, in one run however often it is resumed."""

import importlib.util
import json
from pathlib import Path

import pytest

from dqnlab.types import UserError
from scripts import train_dqn

CATCH = (
    "--game catch --num-envs 4 --log-every 400 --checkpoint-every 400 --learning-starts 200 "
    "--replay-capacity 1000 --hidden 16 --eval-episodes 0 --device cpu --quiet --frames 800"
).split()
IS_INSTALLED = importlib.util.find_spec("wandb") is not None


@pytest.mark.skipif(IS_INSTALLED, reason="wandb is installed")
def test_without_the_package_the_command_that_brings_it_is_named(tmp_path):
    with pytest.raises(UserError, match=r"wandb, not installed: .* -m pip install -e .*\[wandb\]'"):
        train_dqn.main([*CATCH, "--run-dir", str(tmp_path / "run"), "--wandb", "project"])
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not IS_INSTALLED, reason="wandb is not installed")
def test_rows_go_there_and_a_resumed_run_stays_one_run(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = tmp_path / "run"
    assert train_dqn.main([*CATCH, "--run-dir", str(run), "--wandb", "project"]) == 0
    assert train_dqn.main(["--resume", str(run), "--frames", "1200"]) == 0
    names = {path.name.split("-")[-1] for path in run.glob("wandb/offline-run-*")}
    assert names == {(run / "wandb-id").read_text()}
    sent = b"".join(path.read_bytes() for path in sorted(run.glob("wandb/offline-run-*/*.wandb")))
    rows = [json.loads(line) for line in Path(run / "metrics.jsonl").read_text().splitlines()]
    assert [row["frames"] for row in rows] == [400, 800, 1200]
    for row in rows:
        assert str(row["grad_norm"]).encode() in sent
