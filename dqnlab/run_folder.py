"""The folder of one run: its name, its lock, and `config.json`."""

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dqnlab import files, machine, records
from dqnlab.types import UserError

CONFIG = "config.json"
LOCK = "run.lock"
FORMAT = 1
_SURROUNDINGS: dict[str, Any] = {"versions": dict, "platform": str, "git_commit": str | None}
_PACKAGES = ("jax", "jaxlib", "dm-haiku", "optax", "ale-py", "gymnasium", "numpy")


def create(
    root: str | Path,
    game: str,
    agent: str,
    seed: int,
    stamp: str,
    run_dir: str | Path | None = None,
) -> Path:
    """Makes `<root>/<game>-<agent>-s<seed>-<stamp>/`, or `run_dir` where one is given.

    Raises:
      UserError: `run_dir` holds something already, or no folder can be made there.
    """
    path = Path(root) / f"{_plain(game)}-{_plain(agent)}-s{seed}-{_plain(stamp)}"
    try:
        if run_dir is None:
            return _make_new(path)
        path = Path(run_dir)
        path.mkdir(parents=True, exist_ok=True)
        if set(os.listdir(path)) - {LOCK}:  # a lock file alone is left of a run that never began
            raise UserError(
                f"{path} is not empty: go on with it by --resume, or name another folder"
            )
    except OSError as error:
        raise UserError(f"run folder {path} cannot be made: {error.strerror}") from error
    return path


@contextlib.contextmanager
def lock(run_dir: str | Path) -> Iterator[None]:
    """Keeps other processes out of a run folder, and shows at the start that it can be written.

    The kernel frees the lock when its process dies, however it dies: no lock is ever stale.

    Raises:
      UserError: another process has it, or the folder cannot be written.
    """
    path = Path(run_dir) / LOCK
    try:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise UserError(f"run folder {run_dir} cannot be written: {error.strerror}") from error
    with file:
        try:
            machine.lock(file)
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
        except BlockingIOError:
            file.seek(0)
            owner = file.read(300) or "another process"
            raise UserError(f"run folder {run_dir} is in use by {owner}") from None
        except OSError as error:
            raise UserError(f"run folder {run_dir} cannot be locked: {error.strerror}") from error
        yield
        # The file stays: deleting it would let two processes lock two files of the same name.


def write_config(run_dir: str | Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Writes a run's resolved settings to `config.json`, with what it depends on beside them.

    Adds `format`, `versions`, `platform` and `git_commit`, and returns all that is written.
    """
    content = {"format": FORMAT, **config, **_surroundings()}
    write_json(Path(run_dir) / CONFIG, content)
    return content


def read_config(run_dir: str | Path, types: Mapping[str, Any]) -> dict[str, Any]:
    """What `write_config` wrote.

    Args:
      run_dir: the run folder.
      types: the keys that the caller gave to `write_config`, and the types of their values.

    Raises:
      UserError: it is absent or no JSON, keys are unknown or missing, values have other types.
    """
    path = Path(run_dir) / CONFIG
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else content
        raise UserError(f"{path} has format {found!r}; this version reads {FORMAT}")
    return records.check(content, {"format": int, **types, **_SURROUNDINGS}, str(path))


def write_json(path: str | Path, content: Any) -> None:
    """Writes a JSON file atomically; UserError where it cannot be."""
    try:
        files.write_atomic(Path(path), json.dumps(content, indent=2).encode() + b"\n")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} cannot be written: {error}") from error


def read_json(path: str | Path) -> Any:
    """Reads a JSON file; UserError where it is absent, is none, or has a key twice."""
    try:
        return json.loads(Path(path).read_bytes().decode("utf-8-sig"), object_pairs_hook=_unique)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no valid JSON: {error}") from error


def git_commit(folder: Path) -> str | None:
    """The commit of the repository whose root is `folder`, if it is one and git is at hand."""
    if not (folder / ".git").exists():
        return None
    command = "git --no-optional-locks describe --always --dirty --abbrev=40 --exclude=*"
    try:
        answer = subprocess.run(
            command.split(), cwd=folder, capture_output=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.decode("utf-8", "replace").strip() or None


def _make_new(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    for count in range(1, 100):  # two runs may start within the same second
        new = path if count == 1 else path.with_name(f"{path.name}-{count}")
        with contextlib.suppress(FileExistsError):
            new.mkdir()
            return new
    raise UserError(f"{path} exists already, 99 times")


def _plain(name: str) -> str:
    # What is left is safe in paths, shells, HTML and CSV.
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("._-")[:64] or "unnamed"


def _surroundings() -> dict[str, Any]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "versions": versions,
        "platform": platform.platform(),
        "git_commit": git_commit(Path(__file__).parents[1]),
    }


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError(
            f"a key is there twice: {sorted(k for k in set(keys) if keys.count(k) > 1)}"
        )
    return dict(pairs)
