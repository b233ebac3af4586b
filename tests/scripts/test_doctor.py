"""The examination of the machine: of this one, of broken ones, and never a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import doctor_checks

ROOT = Path(__file__).resolve().parents[2]


def examine(*flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    moved = ("ALE_ROMS_DIR", "HOME", "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR")
    env = {k: v for k, v in os.environ.items() if k not in moved}
    done = subprocess.run(
        [sys.executable, *flags, "scripts/doctor.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        env={**env, "JAX_PLATFORMS": "cpu", **environment},
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


def test_on_a_machine_that_can_train_a_real_game_moves_and_the_exit_code_is_0(tmp_path):
    done = examine(HOME=str(tmp_path))
    assert done.returncode == 0, done.stdout
    for words in ("104 ROMs, all checksums right", "Pong plays", "--replay-capacity up to"):
        assert words in done.stdout
    assert "FAIL" not in done.stdout
    assert done.stdout.strip().endswith("--game Pong")
    assert str(tmp_path) in done.stdout  # where compiled programs go


def test_without_any_package_it_names_each_and_the_command_that_brings_it():
    done = examine("-I", "-S")
    assert done.returncode == 1
    for package in ("jax", "dm-haiku", "ale-py", "tyro"):
        assert f"{package} is not installed" in done.stdout
    assert "-> make setup" in done.stdout
    assert "would not work" in done.stdout


@pytest.mark.parametrize("folder", ["/nowhere/at/all", "empty", "altered"])
def test_unusable_roms_are_a_failure_with_its_reason(folder, tmp_path):
    if folder != "/nowhere/at/all":
        (tmp_path / "roms").mkdir()
        if folder == "altered":
            (tmp_path / "roms" / "adventure.bin").write_bytes(b"not the game")
        folder = str(tmp_path / "roms")
    done = examine(ALE_ROMS_DIR=folder)
    assert done.returncode == 1
    assert "ROMs are unusable" in done.stdout
    assert "unset ALE_ROMS_DIR" in done.stdout


def test_without_a_home_it_says_that_each_start_compiles(tmp_path):
    done = examine(HOME="/proc/nowhere")
    assert done.returncode == 0, done.stdout
    assert "each start compiles again" in done.stdout


def test_every_dependency_has_the_version_that_the_tests_passed_with():
    # However the two files spell its name: constraints.txt has Jinja2, pyproject.toml jinja2.
    text = " ".join(finding.text for finding in doctor_checks.check_packages())
    assert "jinja2" in text
    assert "any version" not in text
    assert "None" not in text
