"""Commands on systems that lack what Linux has: taken away here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHORT = (
    "--game catch --agent dqn --num-envs 4 --frames 400 --log-every 200 --learning-starts 200 "
    "--replay-capacity 1000 --hidden 16 --eval-episodes 0 --device cpu"
).split()
_LIKE_MACOS = """
import os, pathlib
del os.sched_getaffinity, os.sched_setaffinity
def read_text(path, *args, read=pathlib.Path.read_text, **named):
    if str(path).startswith(("/proc", "/sys")):
        raise FileNotFoundError(path)
    return read(path, *args, **named)
pathlib.Path.read_text = read_text
"""
_LIKE_WINDOWS = """
import os, sys
sys.modules["fcntl"] = None
del os.sched_getaffinity
"""


def run(start: str, script: str, *args: str) -> subprocess.CompletedProcess[str]:
    program = f"""{start}
import runpy, sys
sys.argv = {[script, *args]!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    command = [sys.executable, "-c", program]
    environment = {**os.environ, "DQNLAB_NATIVE": "0"}
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, env=environment
    )


def test_without_affinity_and_proc_a_run_trains_and_evaluates(tmp_path):
    folder = str(tmp_path / "run")
    done = run(_LIKE_MACOS, "scripts/train_dqn.py", *SHORT, "--run-dir", folder)
    assert done.returncode == 0, done.stderr
    assert f"{os.cpu_count()} core" in done.stdout
    done = run(_LIKE_MACOS, "scripts/evaluate.py", folder, "--episodes", "2", "--device", "cpu")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("script", ["train_dqn.py", "doctor.py"])
def test_without_posix_locks_a_command_names_the_systems_in_one_line(script, tmp_path):
    args = [] if script == "doctor.py" else [*SHORT, "--run-dir", str(tmp_path / "run")]
    done = run(_LIKE_WINDOWS, f"scripts/{script}", *args)
    assert done.returncode == (1 if script == "doctor.py" else 2)
    assert "Traceback" not in done.stdout + done.stderr
    assert "dqnlab runs on Linux and macOS, not on" in done.stdout + done.stderr
    assert "WSL" in done.stdout + done.stderr
