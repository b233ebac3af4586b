"""Files and folders that a command writes: refused before its work, written whole after it."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from dqnlab import files, run_folder
from dqnlab.types import UserError

_TRIAL = bytes(1 << 16)  # written and taken away again: a full disk takes names, but no bytes


def check(paths: dict[str, Path | None], suffixes: dict[str, Sequence[str]] | None = None) -> None:
    """Make the folders of files, and show that the files can be written there.

    Args:
      paths: flag -> file; None for a file that was not asked for.
      suffixes: flag -> endings that its file may have; a flag that is not named takes any.

    Raises UserError naming the flag, the path and the reason.
    """
    flags: dict[Path, str] = {}
    given = {flag: path for flag, path in paths.items() if path is not None}
    for flag, path in given.items():
        allowed = (suffixes or {}).get(flag, ())
        if allowed and path.suffix.lower() not in allowed:
            raise UserError(f"{flag} is {path}; it must end in {' or '.join(allowed)}")
        other = flags.setdefault(_target(path), flag)
        if other != flag:
            raise UserError(f"{other} and {flag} are both {path}; give each its own file")
    for flag, path in given.items():
        with _refusing(flag, path):
            if path.is_dir():
                raise UserError(f"{flag} is {path}: a folder is there; name a file")
            if path.exists() and not path.is_file():
                raise UserError(f"{flag} is {path}: that is no regular file")
            target = _target(path)
            target.with_name(f".{target.name}.tmp").exists()  # a name too long is an error here
            _try(target.parent)


def check_folder(flag: str, folder: Path) -> None:
    """Make a folder and show that files can be written in it. Raises UserError as `check` does."""
    with _refusing(flag, folder):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{flag} is {folder}: a file is there; name a folder")
        _try(folder)


def check_free(flag: str, folder: Path) -> None:
    """Show that a folder can be made, or is empty and can be written; make nothing that stays.

    Raises UserError as `check` does, also for a folder that holds something.
    """
    with _refusing(flag, folder):
        if folder.is_dir() and set(os.listdir(folder)) - {run_folder.LOCK}:
            raise UserError(f"{flag} is {folder}: not empty; name another folder, or --resume it")
        nearest = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        if not nearest.is_dir():
            raise UserError(f"{flag} is {folder}: {nearest} is a file, no folder")
        _try(nearest)


def write(path: Path, data: bytes) -> None:
    """Replace a file in one step, making its folder. UserError where the disk refuses."""
    target = _target(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(target, data)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error


def _target(path: Path) -> Path:
    return Path(os.path.realpath(path))  # through a link: the file is replaced, not the link


def _try(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".trial-") as file:
        file.write(_TRIAL)
        file.flush()


@contextlib.contextmanager
def _refusing(flag: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename not in (None, str(path)) else ""
        reason = error.strerror or str(error)
        raise UserError(f"{flag} is {path}: it cannot be written: {reason}{where}") from error
