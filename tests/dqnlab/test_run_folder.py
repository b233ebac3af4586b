"""A run folder has one owner, one config, and a name that is safe everywhere."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dqnlab import run_folder
from dqnlab.types import UserError

ROOT = Path(run_folder.__file__).parents[1]
CONFIG = {"game": "Pong", "seed": 3, "settings": {"lr": 1e-4}, "protocol": {"sticky": 0.25}}
TYPES = {"game": str, "seed": int, "settings": dict, "protocol": dict}


@pytest.fixture(autouse=True)
def no_git(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "git" not in request.node.name:
        monkeypatch.setattr(run_folder, "git_commit", lambda _: "abc-dirty")


@contextlib.contextmanager
def without_root() -> Iterator[None]:
    """Permission bits do not bind root, so step down for a moment (where we are root)."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_run_folder_is_named_after_its_run(tmp_path: Path) -> None:
    path = run_folder.create(tmp_path / "runs", "Pong", "dqn", 0, "20261120-2147")
    assert path == tmp_path / "runs" / "Pong-dqn-s0-20261120-2147"
    assert path.is_dir()
    again = run_folder.create(tmp_path / "runs", "Pong", "dqn", 0, "20261120-2147")
    assert again.name == "Pong-dqn-s0-20261120-2147-2"


@pytest.mark.parametrize(
    ("game", "name"),
    [
        ("../../etc", "etc-a-s0-t"),
        ("ALE/Pong-v5", "ALE_Pong-v5-a-s0-t"),
        ("<script>", "script-a-s0-t"),
        ("=cmd()\n\0", "cmd-a-s0-t"),
        ("..", "unnamed-a-s0-t"),
        ("x" * 500, "x" * 64 + "-a-s0-t"),
    ],
)
def test_names_are_safe_in_paths_and_pages(tmp_path: Path, game: str, name: str) -> None:
    assert run_folder.create(tmp_path, game, "a", 0, "t") == tmp_path / name


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    assert run_folder.create("unused", "Pong", "dqn", 0, "t", run_dir=mine) == mine
    with run_folder.lock(mine):
        pass
    run_folder.create("unused", "Pong", "dqn", 0, "t", run_dir=mine)  # only a lock: never began
    (mine / "metrics.jsonl").write_text("")
    with pytest.raises(UserError, match=r"mine is not empty: go on with it by --resume"):
        run_folder.create("unused", "Pong", "dqn", 0, "t", run_dir=mine)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match="cannot be made"):
            run_folder.create(root, "Pong", "dqn", 0, "t")
        with pytest.raises(UserError, match="cannot be made"):
            run_folder.create("unused", "Pong", "dqn", 0, "t", run_dir=root)


def test_a_folder_that_cannot_be_written_is_found_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the folders above are closed to others than root
    tmp_path.chmod(0o755)
    os.mkdir("closed", 0o555)
    with without_root():
        with pytest.raises(UserError, match="closed cannot be written: Permission denied"):
            run_folder.lock("closed").__enter__()
        with pytest.raises(UserError, match="cannot be made: Permission denied"):
            run_folder.create("closed", "Pong", "dqn", 0, "t")
    os.chmod("closed", 0o777)
    with without_root(), run_folder.lock("closed"):
        assert os.listdir("closed") == ["run.lock"]


HOLD = """
import sys, time
from dqnlab import run_folder
with run_folder.lock(sys.argv[1]):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_until_the_first_dies(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "locked\n"
        expected = rf"{tmp_path} is in use by process {first.pid} on {os.uname().nodename}"
        with pytest.raises(UserError, match=expected):
            run_folder.lock(tmp_path).__enter__()
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    me = f"process {os.getpid()} on {os.uname().nodename}"
    with run_folder.lock(tmp_path), pytest.raises(UserError, match=f"is in use by {me}"):
        run_folder.lock(tmp_path).__enter__()  # nothing was stale, and a second time is refused
    with run_folder.lock(tmp_path):
        text = (tmp_path / "run.lock").read_text()
    assert text == me


def test_an_error_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(KeyError), run_folder.lock(tmp_path):
        raise KeyError
    with run_folder.lock(tmp_path):
        pass


def test_a_config_comes_back_with_versions(tmp_path: Path) -> None:
    written = run_folder.write_config(tmp_path, CONFIG)
    config = run_folder.read_config(tmp_path, TYPES)
    assert config == written
    assert {key: config[key] for key in CONFIG} == CONFIG
    assert {"python", "jax", "dm-haiku", "optax", "ale-py", "numpy"} <= config["versions"].keys()
    assert config["platform"]
    assert config["git_commit"] == "abc-dirty"
    assert os.listdir(tmp_path) == ["config.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sed": 3}, "unknown key 'sed'; did you mean 'seed'"),
        ({"zzzzzz": 3}, "unknown key 'zzzzzz'; known are format, game, seed"),
        ({"seed": "3"}, "seed is '3'; it must be int"),
        ({"seed": True}, "seed is True; it must be int"),
        ({"settings": [1]}, r"settings is \[1\]; it must be dict"),
        ({"git_commit": 5}, r"git_commit is 5; it must be str \| None"),
        ({"format": 2}, "has format 2; this version reads 1"),
        ({"format": None}, "has format None"),
    ],
)
def test_a_changed_config_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    content = run_folder.write_config(tmp_path, CONFIG)
    (tmp_path / "config.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(UserError, match=message):
        run_folder.read_config(tmp_path, TYPES)


def test_a_config_that_lacks_something_is_refused(tmp_path: Path) -> None:
    content = run_folder.write_config(tmp_path, CONFIG)
    del content["seed"], content["protocol"]
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="seed, protocol missing"):
        run_folder.read_config(tmp_path, TYPES)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no valid JSON"),
        (b"\xff\xfe", "no valid JSON"),
        (b'{"format": 1, "format": 1}', r"a key is there twice: \['format'\]"),
        (b"[" * 100_000, "no valid JSON"),
        (b"[]", r"has format \[\]"),
    ],
)
def test_a_file_that_is_no_config_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "config.json").write_bytes(data)
    with pytest.raises(UserError, match=message):
        run_folder.read_config(tmp_path, TYPES)


def test_editors_marks_are_no_errors(tmp_path: Path) -> None:
    run_folder.write_config(tmp_path, CONFIG)
    path = tmp_path / "config.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert run_folder.read_config(tmp_path, TYPES)["game"] == "Pong"


def test_no_config_and_no_json_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file"):
        run_folder.read_config(tmp_path, TYPES)
    with pytest.raises(UserError, match="cannot be written: Object of type set"):
        run_folder.write_config(tmp_path, {"x": {1}})
    with pytest.raises(UserError, match="cannot be written: No such file"):
        run_folder.write_config(tmp_path / "absent", CONFIG)
    assert os.listdir(tmp_path) == []


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_folder.git_commit(tmp_path) is None
    (tmp_path / ".git").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run_folder.git_commit(tmp_path) is None


def test_git_is_asked_for_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    fake = tmp_path / "git"
    fake.write_text('#!/bin/sh\n[ "$1" = --no-optional-locks ] && echo 0123abc-dirty\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert run_folder.git_commit(tmp_path) == "0123abc-dirty"
    fake.write_text("#!/bin/sh\nexit 128\n")
    assert run_folder.git_commit(tmp_path) is None
