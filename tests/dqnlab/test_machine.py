"""The machine's properties, on systems that lack what Linux has."""

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dqnlab import machine
from dqnlab.types import UserError

ROOT = Path(__file__).resolve().parents[2]
_ELSEWHERE = {"sched_getaffinity", "fcntl", "resource", "cpu_count", "O_DIRECTORY"}


def test_only_this_module_and_guarded_calls_use_what_one_system_has():
    for folder in ("dqnlab", "agents", "envs", "scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            named = {each.attr for each in ast.walk(tree) if isinstance(each, ast.Attribute)}
            for each in ast.walk(tree):
                if isinstance(each, ast.Import):
                    named |= {alias.name for alias in each.names}
            allowed = {"machine.py": _ELSEWHERE, "files.py": {"O_DIRECTORY"}}.get(path.name, set())
            assert not named & _ELSEWHERE - allowed, path


def test_without_an_affinity_every_core_counts(monkeypatch):
    assert machine.num_cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert machine.num_cores() == os.cpu_count()


def test_without_proc_the_cpu_has_a_name_and_no_features(monkeypatch):
    monkeypatch.setattr(machine, "_cpu_info", list)
    assert machine.cpu_features.__wrapped__() == frozenset()
    assert machine.cpu_name.__wrapped__()


_ARM = """processor : 0
Features : fp asimd bf16
""".splitlines()


def test_features_are_read_on_other_architectures(monkeypatch):
    monkeypatch.setattr(machine, "_cpu_info", lambda: _ARM)
    assert machine.cpu_features.__wrapped__() == {"fp", "asimd", "bf16"}


def test_without_posix_locks_one_line_names_the_systems(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(UserError, match=r"runs on Linux and macOS.* WSL"):
        machine.check_system()
    with (tmp_path / "lock").open("w") as file, pytest.raises(UserError, match="WSL"):
        machine.lock(file)


def test_a_lock_keeps_others_out_until_its_process_ends(tmp_path):
    path = tmp_path / "lock"
    program = f"""
import time
from dqnlab import machine
file = open({str(path)!r}, "w")
machine.lock(file)
print("locked", flush=True)
time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with path.open("w") as file:
            with pytest.raises(BlockingIOError):
                machine.lock(file)
            other.kill()
            machine.lock(file, wait=True)


def test_the_peak_of_memory_is_in_bytes():
    assert 10 * 2**20 < machine.peak_memory() < 2**40


def test_without_a_home_the_cache_is_an_os_error_that_names_the_variable(monkeypatch):
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", home)
    with pytest.raises(OSError, match="XDG_CACHE_HOME"):
        machine.cache_folder()


class _Device(NamedTuple):
    platform: str
    stats: dict[str, int] | None

    def memory_stats(self) -> Any:
        return self.stats


def test_free_memory_of_a_device_is_its_limit_less_what_is_taken():
    assert machine.free_device_memory(_Device("gpu", {"bytes_limit": 9, "bytes_in_use": 4})) == 5
    assert machine.free_device_memory(_Device("gpu", {"bytes_limit": 4, "bytes_in_use": 9})) == 0
    assert machine.free_device_memory(_Device("gpu", {"bytes_in_use": 4})) is None
    assert machine.free_device_memory(_Device("gpu", None)) is None
    host = machine.free_device_memory(_Device("cpu", None))
    assert host is not None
    assert host > 10**8


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({"memory.max": "3000", "memory.current": "1000"}, 2000),
        ({"memory.max": "3000", "memory.current": "4000"}, 0),
        (
            {"memory.max": "3000", "memory.current": "1000", "memory.stat": "inactive_file 500\n"},
            2500,
        ),
        (
            {
                "memory/memory.limit_in_bytes": "3000",
                "memory/memory.usage_in_bytes": "1000",
                "memory/memory.stat": "total_inactive_file 700\n",
            },
            2700,
        ),
    ],
)
def test_a_container_may_take_what_its_limit_leaves(files, free, tmp_path):
    (tmp_path / "memory").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert machine.free_memory(tmp_path, tmp_path / "none") == free


@pytest.mark.parametrize("limited", ["job7/step0", "job7", ""])
def test_a_limit_anywhere_above_the_process_holds(limited, tmp_path):
    own = tmp_path / "own"
    own.write_text("0::/job7/step0\n")
    folder = tmp_path / "job7" / "step0"
    folder.mkdir(parents=True)
    for each in (folder, folder.parent, tmp_path):
        (each / "memory.max").write_text("max")
        (each / "memory.current").write_text("100")
    (tmp_path / limited / "memory.max").write_text("5000")
    assert machine.free_memory(tmp_path, own) == 4900


def test_without_a_limit_the_machine_decides(tmp_path):
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert machine.free_memory(tmp_path, tmp_path / "none") > 10**8
    assert machine.free_memory(tmp_path / "absent") > 10**8
