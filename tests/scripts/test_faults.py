"""What training does when the machine fails it: signals, full or read-only disks, clocks, locks."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dqnlab import machine, run_folder

ROOT = Path(__file__).resolve().parents[2]
CATCH = (
    "--game catch --num-envs 4 --log-every 400 --checkpoint-every 400 --learning-starts 200 "
    "--replay-capacity 1000 --hidden 16 --eval-episodes 0 --device cpu"
).split()
PONG = (
    "--game Pong --num-envs 4 --log-every 800 --checkpoint-every 100000 --learning-starts 400 "
    "--replay-capacity 1200 --update-period 100 --target-update-period 400 --batch-size 8 "
    "--hidden 16 --eval-episodes 0 --device cpu --seed 5"
).split()


def command(*args: str) -> list[str]:
    return [sys.executable, "scripts/train_dqn.py", *args]


def start(*args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*args), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*args), cwd=ROOT, capture_output=True, text=True, timeout=300)


def frames(run_dir: Path) -> list[int]:
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["frames"] for line in lines]


def wait_until(happened, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def patience(seconds: float) -> float:
    """A promise in seconds of a machine that is not overloaded, on this one."""
    return seconds * max(1.0, 2 * os.getloadavg()[0] / machine.num_cores())


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr.splitlines()[-1]


def test_sigterm_saves_within_ten_seconds_and_the_run_goes_on(tmp_path):
    run_dir = tmp_path / "run"
    process = start(*PONG, "--frames", "2000000", "--run-dir", str(run_dir))
    wait_until(lambda: (run_dir / "metrics.jsonl").exists() and frames(run_dir), process)
    asked, limit = time.monotonic(), patience(10)
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=120)
    assert time.monotonic() - asked < limit
    assert process.returncode == 143
    assert f"--resume {run_dir}" in out
    assert "Traceback" not in errors
    steps = sorted(int(path.name) for path in run_dir.glob("checkpoints/0*"))
    assert steps[-1] * 4 >= frames(run_dir)[-1]  # nothing that was shown is lost
    until = (steps[-1] * 4 // 800 + 2) * 800
    done = run("--resume", str(run_dir), "--frames", str(until))
    assert done.returncode == 0, done.stderr
    assert frames(run_dir) == list(range(800, until + 1, 800))


def test_sigterm_while_the_finished_run_is_evaluated_loses_nothing_and_ends_it(tmp_path):
    run_dir = tmp_path / "run"
    args = [*CATCH, "--frames", "800", "--run-dir", str(run_dir), "--eval-episodes", "9000000"]
    process = start(*args)
    assert process.stdout is not None
    assert any("evaluating" in line for line in process.stdout)
    limit, asked = patience(10), time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert time.monotonic() - asked < limit
    assert process.returncode == 143
    assert "training is saved" in errors
    assert frames(run_dir) == [400, 800]


def test_a_run_whose_folder_is_moved_ends_in_one_line_and_goes_on_from_there(tmp_path):
    run_dir, moved = tmp_path / "run", tmp_path / "moved"
    process = start(*CATCH, "--frames", "4000000", "--run-dir", str(run_dir))
    wait_until(lambda: len(list(run_dir.glob("checkpoints/0*[1-9]*"))) >= 1, process)
    run_dir.rename(moved)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 2, errors
    assert "Traceback" not in errors
    assert str(run_dir) in errors.strip().splitlines()[-1]
    saved = max(int(path.name) for path in moved.glob("checkpoints/[0-9]*"))
    until = (saved // 400 + 2) * 400
    done = run("--resume", str(moved), "--frames", str(until))
    assert done.returncode == 0, done.stderr
    assert frames(moved)[-1] == until


@contextlib.contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True
    )
    if done.returncode:
        pytest.skip("only root may mount a small disk; dqnlab's own tests limit file sizes instead")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_stops_the_run_in_one_line_and_with_room_again_it_goes_on(tmp_path):
    with small_disk(tmp_path / "disk", "size=4m") as disk:
        run_dir = disk / "run"
        process = start(*CATCH, "--frames", "4000000", "--run-dir", str(run_dir))
        wait_until(lambda: len(list(run_dir.glob("checkpoints/0*[1-9]*"))) >= 1, process)
        filler = disk / "filler"
        with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 2, errors
        assert "Traceback" not in errors
        last = errors.strip().splitlines()[-1]
        assert str(disk) in last
        assert "needed" in last or "No space" in last or "no space" in last
        filler.unlink()
        saved = max(int(path.name) for path in run_dir.glob("checkpoints/[0-9]*"))
        assert saved > 0
        until = (saved // 400 + 2) * 400
        done = run("--resume", str(run_dir), "--frames", str(until))
        assert done.returncode == 0, done.stderr
        assert frames(run_dir) == list(range(400, until + 1, 400))


def test_a_read_only_disk_is_found_before_training_also_by_root(tmp_path):
    with small_disk(tmp_path / "disk", "size=4m") as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        run_dir = str(disk / "run")
        assert_refused(run(*CATCH, "--frames", "400", "--run-dir", run_dir), run_dir, "Read-only")


def test_a_second_process_on_a_run_folder_is_refused_naming_the_first(tmp_path):
    run_dir = tmp_path / "run"
    assert run(*CATCH, "--frames", "400", "--run-dir", str(run_dir)).returncode == 0
    with run_folder.lock(run_dir):
        done = run("--resume", str(run_dir), "--frames", "800")
        assert_refused(done, str(run_dir), f"in use by process {os.getpid()}")
    assert frames(run_dir) == [400]


def test_without_a_network_and_with_a_clock_that_jumps_back_all_is_as_always(tmp_path):
    run_dir = tmp_path / "run"
    program = f"""
import sys, time

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.bind"):
        raise SystemExit(f"the network was asked: {{event}} {{arguments}}")

sys.addaudithook(refuse)
true, calls = time.time, iter(range(10**9))
time.time = lambda: true() - 3600 * next(calls)  # an hour back at each look
from scripts.train_dqn import main

sys.exit(main({[*CATCH, "--frames", "1200", "--run-dir", str(run_dir), "--eval-episodes", "4"]}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert frames(run_dir) == [400, 800, 1200]
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)
    assert all(row["frames_per_second"] > 0 for row in rows)
    steps = sorted(int(path.name) for path in run_dir.glob("checkpoints/0*"))
    assert steps == [800, 1200]
    assert (run_dir / "eval.json").exists()
