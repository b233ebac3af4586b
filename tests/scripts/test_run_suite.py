"""A queue of real runs of catch: killed, interrupted, started again, failing."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dqnlab.types import UserError
from scripts import run_queue, run_suite
from scripts.run_queue import Job, State

ROOT = Path(__file__).resolve().parents[2]
CATCH = (
    "--num-envs 4 --log-every 800 --checkpoint-every 800 --learning-starts 200 --device cpu "
    "--replay-capacity 1000 --hidden 16 --eval-episodes 4"
).split()


def start(out: Path, *args: str, frames: int = 16_000) -> subprocess.Popen[str]:
    words = ["--games", "catch", "--agents", "dqn", "--frames", str(frames)]
    words += ["--out", str(out), *args, "--", *CATCH]
    return subprocess.Popen(
        [sys.executable, "scripts/run_suite.py", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(run_dir: Path) -> None:
    deadline = time.monotonic() + 400
    while not list(run_dir.glob("checkpoints/0*[1-9]*")):
        assert time.monotonic() < deadline, f"{run_dir} never got a checkpoint"
        time.sleep(0.1)


def test_killed_and_interrupted_it_goes_on_and_loses_nothing(tmp_path):
    out = tmp_path / "suite"
    first, second = out / "catch-dqn-s0", out / "catch-dqn-s1"
    suite = start(out, "--seeds", "2")
    wait_for(first)
    suite.send_signal(signal.SIGKILL)  # its child goes on by itself
    suite.communicate()

    suite = start(out, "--seeds", "2")
    wait_for(second)
    suite.send_signal(signal.SIGINT)
    said, _ = suite.communicate(timeout=120)
    assert suite.returncode == 130, said
    assert "catch-dqn-s1 started" in said
    saved = json.loads((second / "metrics.jsonl").read_text().splitlines()[-1])

    suite = start(out, "--seeds", "2")
    said, _ = suite.communicate(timeout=200)
    assert suite.returncode == 0, said
    assert "2 runs, 1 to do" in said
    if saved["frames"] < 16_000:
        assert "catch-dqn-s1 resumed" in said
    for run_dir in (first, second):
        lines = (run_dir / "metrics.jsonl").read_text().splitlines()
        frames = [json.loads(x)["frames"] for x in lines]
        assert frames == list(range(800, 16_001, 800))  # no row is lost, none is there twice
        assert (run_dir / "eval.json").exists()
    table = (out / "summary.md").read_text()
    assert f"| {first} | done |" in table
    assert "| catch | dqn | catch | 2 | 16,000 |" in table

    suite = start(out, "--seeds", "2")
    assert "2 runs, 0 to do" in suite.communicate(timeout=60)[0]
    assert suite.returncode == 0


def test_a_run_that_fails_is_reported_and_not_tried_for_ever(tmp_path):
    out = tmp_path / "suite"
    bad = "--learning-rate 1e30 --max-grad-norm None --reward-clip None --huber-delta None".split()
    words = ["--games", "catch", "--agents", "dqn", "--frames", "1600", "--out", str(out)]
    words += ["--", *CATCH, *bad]
    for to_do in (1, 0):
        done = subprocess.run(
            [sys.executable, "scripts/run_suite.py", *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 1, done.stdout
        assert f"1 run, {to_do} to do" in done.stdout
        assert done.stdout.count("failed with exit code 2") == 2 * to_do
        assert "not finite at update" in done.stdout
    log = (out / "catch-dqn-s0.log").read_text()
    assert log.count("error:") == 2


def test_sets_of_games_are_whole_and_seeds_come_last():
    jobs = run_suite.check(
        run_suite.Options(games=("atari5", "Pong"), agents=("dqn", "iqn"), seeds=2)
    )
    assert len(jobs) == 6 * 2 * 2
    assert [job.seed for job in jobs] == [0] * 12 + [1] * 12
    five = {"BattleZone", "DoubleDunk", "NameThisGame", "Phoenix", "Qbert"}
    assert {job.game for job in jobs} == five | {"Pong"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"games": ("atari6",)}, "atari6"),
        ({"games": ("Pongg",)}, "did you mean Pong"),
        ({"agents": ("rainbw",)}, "did you mean rainbow"),
        ({"jobs": 0}, "--jobs is 0"),
        ({"preset": "labtop"}, "did you mean laptop"),
        ({"protocol": "nature"}, "nature2015"),
        ({"games": ("catch",), "protocol": "nature2015"}, "catch has rules of its own"),
    ],
)
def test_mistakes_are_found_before_anything_runs(change, says):
    with pytest.raises(UserError, match=says):
        run_suite.check(run_suite.Options(**{"games": ("Pong",), **change}))


def test_other_flags_need_another_folder(tmp_path):
    suite = run_queue.open_suite(tmp_path, ["--preset", "laptop"], 100, 2)
    job = Job("catch", "dqn", 0, tmp_path / "catch-dqn-s0")
    assert run_queue._record(suite, job, 3)
    again = run_queue.open_suite(tmp_path, ["--preset", "laptop"], 100, 2)
    assert again.states == {"catch-dqn-s0": State(0, 1, "it said nothing")}
    with pytest.raises(UserError, match="name another --out"):
        run_queue.open_suite(tmp_path, ["--preset", "nature"], 100, 2)
