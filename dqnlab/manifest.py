"""What makes a folder a checkpoint: a manifest that lists and hashes everything in it.

    {"format": 1, "kind": "training", "step": 50000, "meta": {...},
     "state": {".params['linear']['w']": {"dtype": "float32", "shape": [3, 4]}, ...},
     "log": {"oldest": 0, "stop": 9000, "arrays": {...}, "segments": [[0, 5000], [5000, 9000]]},
     "files": {"state.npz": {"bytes": 1234, "sha256": "..."}, ...},
     "sha256": "of all bytes before this line"}

The hashes prove that the files are those that were written, not who wrote them.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from dqnlab import files, npz
from dqnlab.types import UserError

FORMAT = 1
NAME = "manifest.json"
STATE = "state.npz"
SEGMENT_LIMIT = 1 << 30  # a reader allocates no more than this for one segment of the log
_MANIFEST_LIMIT = 64 << 20
_FILE = re.compile(r"state\.npz|log-[0-9]{12}-[0-9]{12}\.npz")


class CheckpointError(UserError):
    """A checkpoint that cannot be written, or is not what it should be."""


class FutureFormatError(CheckpointError):
    """A checkpoint of a later version: whole, but not for this program to judge or to skip."""


class File(NamedTuple):
    """Size and content of one file."""

    bytes: int
    sha256: str


class Log(NamedTuple):
    """Rows [oldest, stop) of an append-only log, kept in files of consecutive rows."""

    oldest: int
    stop: int
    arrays: dict[str, npz.Spec]  # of ONE row
    segments: list[tuple[int, int]]


class Checkpoint(NamedTuple):
    """A complete, verified checkpoint on the disk."""

    path: Path
    step: int
    kind: str
    meta: dict[str, Any]
    state: dict[str, npz.Spec]
    log: Log | None
    files: dict[str, File]


def segment_name(start: int, stop: int) -> str:
    """The file that holds rows [start, stop) of the log."""
    return f"log-{start:012d}-{stop:012d}.npz"


def segment_specs(log: Log, start: int, stop: int) -> dict[str, npz.Spec]:
    """What the arrays of rows [start, stop) look like."""
    return {
        name: npz.Spec(row.dtype, (stop - start, *row.shape)) for name, row in log.arrays.items()
    }


def write(checkpoint: Checkpoint) -> None:
    """Writes the manifest into `checkpoint.path`."""
    content = checkpoint._asdict()
    del content["path"]
    content["state"] = {key: each._asdict() for key, each in checkpoint.state.items()}
    content["files"] = {name: each._asdict() for name, each in checkpoint.files.items()}
    if checkpoint.log is not None:
        arrays = {name: each._asdict() for name, each in checkpoint.log.arrays.items()}
        content["log"] = checkpoint.log._replace(arrays=arrays)._asdict()  # type: ignore[arg-type]
    try:
        text = json.dumps({"format": FORMAT, **content}, indent=1)
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"meta is not JSON: {error}") from error
    body = text.removesuffix("\n}").encode()
    files.write_durable(checkpoint.path / NAME, body + _seal(body))


def read(folder: Path) -> Checkpoint:
    """The checkpoint that `folder` says it is; `verify` also looks at its files."""
    path = folder / NAME
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode) or path.stat().st_size > _MANIFEST_LIMIT:
            raise CheckpointError(f"{path} is not a manifest")
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    body = data[: -len(_seal(b""))]
    if data != body + _seal(body):
        raise CheckpointError(f"{path} is damaged: its own SHA-256 differs")
    try:
        return _parse(folder, json.loads(data))
    except CheckpointError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is malformed: {error!r}") from error


def verify(folder: Path, trusted: Collection[str] = ()) -> Checkpoint:
    """Reads a checkpoint and checks every byte of its files; CheckpointError names the bad one.

    The content of `trusted` files is taken for granted.
    """
    if not stat.S_ISDIR(os.lstat(folder).st_mode):
        raise CheckpointError(f"{folder} is not a folder")
    checkpoint = read(folder)
    present = set(os.listdir(folder)) - {NAME}
    if missing := sorted(checkpoint.files.keys() - present):
        raise CheckpointError(f"{folder / missing[0]} is missing")
    if extra := sorted(present - checkpoint.files.keys()):
        raise CheckpointError(f"{folder / extra[0]} does not belong to the checkpoint")
    for name, file in checkpoint.files.items():  # all sizes first: they cost nothing
        status = os.lstat(folder / name)
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError(f"{folder / name} is a link or a device, not a file")
        if status.st_size != file.bytes:
            raise CheckpointError(f"{folder / name} has {status.st_size} bytes, not {file.bytes}")
    for name in sorted(checkpoint.files.keys() - set(trusted)):
        with open(folder / name, "rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != checkpoint.files[name].sha256:
                raise CheckpointError(f"{folder / name} is damaged: its SHA-256 differs")
    return checkpoint


def _seal(body: bytes) -> bytes:
    # Of constant length, and the file must equal body + seal byte for byte: a hash over parsed JSON
    # would miss flipped bits that parse to the same value ("\u00e9" and "\u00E9").
    return b',\n "sha256": "' + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


def _parse(folder: Path, content: dict[str, Any]) -> Checkpoint:
    if content["format"] != FORMAT:
        raise FutureFormatError(
            f"{folder} has checkpoint format {content['format']!r}; this version reads {FORMAT}"
        )
    listed = {name: File(**file) for name, file in content["files"].items()}
    log = None if content["log"] is None else _parse_log(content["log"])
    expected = {STATE} | {segment_name(*each) for each in (log.segments if log else [])}
    if listed.keys() != expected or not all(_FILE.fullmatch(name) for name in listed):
        raise ValueError(f"its files are {sorted(listed)}, not {sorted(expected)}")
    if type(content["step"]) is not int or not isinstance(content["meta"], dict):
        raise ValueError("step is no number, or meta no object")
    state = {key: _parse_spec(each) for key, each in content["state"].items()}
    return Checkpoint(
        folder, content["step"], str(content["kind"]), content["meta"], state, log, listed
    )


def _parse_log(content: dict[str, Any]) -> Log:
    log = Log(
        content["oldest"],
        content["stop"],
        {name: _parse_spec(each) for name, each in content["arrays"].items()},
        [(start, stop) for start, stop in content["segments"]],
    )
    row = log.oldest
    for index, (start, stop) in enumerate(log.segments):
        if not (start <= row if index == 0 else start == row) or not row < stop:
            raise ValueError(f"rows {row} to {start} of the log are missing")
        if sum(each.nbytes for each in segment_specs(log, start, stop).values()) > SEGMENT_LIMIT:
            raise ValueError(f"rows {start} to {stop} of the log take more than {SEGMENT_LIMIT} B")
        row = stop
    if row != log.stop:
        raise ValueError(f"rows {row} to {log.stop} of the log are missing")
    return log


def _parse_spec(content: dict[str, Any]) -> npz.Spec:
    dtype, shape = content["dtype"], tuple(content["shape"])
    npz.storage_dtype(dtype)
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"{shape} is no shape")
    return npz.Spec(dtype, shape)
