"""Folders named by step that appear and disappear as a whole."""

import contextlib
import os
import re
import secrets
import shutil
from pathlib import Path

from dqnlab import files

_FOLDER = re.compile(r"(?:\.old-)?([0-9]{12})")


def path(root: Path, step: int) -> Path:
    """Where a step belongs."""
    return root / f"{step:012d}"


def find(root: Path) -> dict[int, Path]:
    """All steps under `root` and where they are."""
    try:
        names = sorted(os.listdir(root))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    # `.old-<step>` was being replaced when its process died. It sorts before the plain name, which
    # overrides it here: so it counts just as long as nothing has replaced it.
    matches = [(_FOLDER.fullmatch(name), root / name) for name in names]
    return {int(match[1]): folder for match, folder in matches if match}


def temporary(root: Path) -> Path:
    """A name for a folder that nobody takes for a step; `sweep` removes what a crash leaves."""
    return root / f".tmp-{os.getpid()}-{secrets.token_hex(4)}"


def commit(draft: Path, root: Path, step: int) -> None:
    """Gives a complete folder its name, durably; a kill meanwhile leaves the old or the new."""
    files.fsync_folder(draft)
    target = path(root, step)
    aside = root / f".old-{target.name}"
    if os.path.lexists(target):
        os.rename(target, aside)
    os.rename(draft, target)
    files.fsync_folder(root)
    if os.path.lexists(aside):
        with contextlib.suppress(OSError):  # `sweep` tries again
            discard(aside)


def sweep(root: Path) -> None:
    """Removes what dead writers left; only the process that saves under `root` may call it."""
    for folder in find(root).values():
        if folder.name.startswith(".old-"):
            os.rename(folder, root / folder.name.removeprefix(".old-"))
    for name in os.listdir(root):
        if name.startswith((".tmp-", ".old-")):
            discard(root / name)


def forget(root: Path, step: int, keep: int) -> None:
    """Deletes the steps later than `step`, and all but the last `keep` of the others."""
    found = find(root)
    kept = sorted(other for other in found if other <= step)[-keep:]
    for other in found.keys() - set(kept):
        # A folder that resists is tried again at the next save: what was just saved is complete.
        with contextlib.suppress(OSError):
            discard(found[other])


def discard(folder: Path) -> None:
    """Deletes a folder; a kill half-way leaves a `.tmp-` folder, never half a step."""
    doomed = temporary(folder.parent)
    os.rename(folder, doomed)
    if doomed.is_dir() and not doomed.is_symlink():
        shutil.rmtree(doomed, ignore_errors=True)
    else:
        doomed.unlink()
