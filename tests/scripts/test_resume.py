"""A run that is killed and resumed equals one that was not, bit for bit."""

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import envs
from agents import schedules
from dqnlab.weights import load_weights
from scripts.options import parse
from scripts.training import GAMES_FOR_BEST, Run

ROOT = Path(__file__).resolve().parents[2]
TIMINGS = {"seconds", "frames_per_second"}
# Real Breakout with sticky actions; small batches, seldom, keep it short. Fresh seeds of games,
# checkpoints and log rows fall on different steps, and the replay wraps around.
ARGS = (
    "--game Breakout --frames 12000 --num-envs 4 --seed 3 --log-every 1000 --checkpoint-every 1600 "
    "--reseed-every 900 --replay-capacity 1200 --learning-starts 400 --epsilon-decay-steps 1500 "
    "--target-update-period 400 --update-period 20 --batch-size 8 --hidden 16 --eval-episodes 0 "
    "--device cpu"
).split()


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "scripts.train_dqn", *args]


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*args), cwd=ROOT, capture_output=True, text=True, timeout=300)


def rows(run_dir: Path) -> list[dict[str, object]]:
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(x).items() if k not in TIMINGS} for x in lines]


def assert_same_run(one: Path, other: Path) -> None:
    assert rows(one) == rows(other)
    last = [sorted((path / "weights").glob("0*.safetensors"))[-1] for path in (one, other)]
    assert last[0].name == last[1].name
    (ours, _), (theirs, _) = (load_weights(path) for path in last)
    for module, arrays in ours.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, theirs[module][name])
    states = [max((path / "checkpoints").glob("0*/state.npz")) for path in (one, other)]
    for ours, theirs in (last, states):
        assert ours.read_bytes() == theirs.read_bytes()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    done = run(*ARGS, "--run-dir", str(run_dir))
    assert done.returncode == 0, done.stderr
    assert len(rows(run_dir)) == 13  # of 992 frames each, and the partial one at the end
    return run_dir


def kill_at_random_moments(run_dir: Path, kills: int, rng: random.Random) -> None:
    """Start, kill -9 after a random time with at least one checkpoint, resume, again."""
    args = [*ARGS, "--run-dir", str(run_dir)]
    for _ in range(kills):
        process = subprocess.Popen(
            command(*args), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        while process.poll() is None and not any(run_dir.glob("checkpoints/0*")):
            time.sleep(0.05)
        wait = rng.uniform(0, 4)
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), errors.decode()
        args = ["--resume", str(run_dir)]
    done = run("--resume", str(run_dir))
    assert done.returncode == 0, done.stderr


def test_killed_three_times_and_resumed_equals_uninterrupted(uninterrupted, tmp_path):
    kill_at_random_moments(tmp_path / "killed", 3, random.Random(0))
    assert_same_run(uninterrupted, tmp_path / "killed")


@pytest.mark.slow
def test_killed_twenty_times_and_resumed_equals_uninterrupted(uninterrupted, tmp_path):
    kill_at_random_moments(tmp_path / "killed", 20, random.Random(os.getpid()))
    assert_same_run(uninterrupted, tmp_path / "killed")


def test_ctrl_c_saves_and_the_resumed_run_equals_uninterrupted(uninterrupted, tmp_path):
    run_dir = tmp_path / "interrupted"
    process = subprocess.Popen(
        command(*ARGS, "--run-dir", str(run_dir)), cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    while not (run_dir / "metrics.jsonl").exists() or not rows(run_dir):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"--resume {run_dir}" in out
    assert len(rows(run_dir)) < 13
    assert run("--resume", str(run_dir)).returncode == 0
    assert_same_run(uninterrupted, run_dir)


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(uninterrupted, tmp_path):
    run_dir = tmp_path / "damaged"
    shutil.copytree(uninterrupted, run_dir)
    newest = sorted(run_dir.glob("checkpoints/0*"))[-1] / "state.npz"
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    done = run("--resume", str(run_dir))
    assert done.returncode == 0
    assert str(newest) in done.stderr
    assert_same_run(uninterrupted, run_dir)


def test_an_interrupt_does_not_compete_for_the_best_weights(tmp_path, monkeypatch):
    options = parse(["--game", "catch", "--num-envs", "2", "--hidden", "4"], None)
    settings = schedules.in_steps(options.settings, options.frames)
    options = dataclasses.replace(options, settings=settings)
    run = Run(options, envs.make("catch", 2), tmp_path)
    run.driver.tracker.episodes = GAMES_FOR_BEST
    best = tmp_path / "weights/best.safetensors"
    run.start()
    assert load_weights(best)[1]["agent_steps"] == "0"  # better than none
    # Rows, the training score, whether the checkpoint is due; the rows whose weights are the best.
    for rows, score, is_due, expected in (
        (1, 5.0, False, 1),  # better than none, but the next one replaces it
        (2, 1.0, True, 2),
        (3, 9.0, False, 2),
        (4, 2.0, True, 4),
    ):
        run.rows = rows
        monkeypatch.setattr(run.driver.tracker, "mean", lambda score=score: score)
        run.save(is_due=is_due)
        assert load_weights(best)[1]["agent_steps"] == str(2 * expected)
