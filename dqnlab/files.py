"""Writes that are either complete on the disk or absent from it."""

import contextlib
import os
from pathlib import Path


def fsync_folder(folder: Path) -> None:
    """Make the names in `folder` durable: without it a power cut can undo a rename."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows, which cannot open folders
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durable(path: Path, data: bytes) -> None:
    """Writes a new file and waits until the disk has it."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_atomic(path: Path, data: bytes) -> None:
    """Replaces `path` by `data` in one step: a reader sees the old bytes or the new ones."""
    # One fixed name per target: what a killed writer left is overwritten and never piles up.
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write_durable(temporary, data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    fsync_folder(path.parent)
