"""Files in MNIST's IDX format, plain or gzipped.

Bytes 0 0, a type code, the number of axes, each axis's length as a big-endian int32, the numbers.
"""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from dqnlab.types import UserError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read(path: str | Path) -> np.ndarray:
    """The array in an IDX file, in the machine's byte order.

    Raises UserError where the file is absent, empty, damaged or none.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(f"{path} cannot be read: {reason}") from error
    if not content:
        raise UserError(f"{path} is empty")
    axes = content[3] if len(content) >= 4 else 0
    start = 4 + 4 * axes
    if not axes or content[:2] != b"\0\0" or content[2] not in _TYPES:
        raise UserError(f"{path} is no IDX file: it begins with {content[:4].hex(' ')}")
    if len(content) < start:
        raise UserError(f"{path} is cut off within its header")
    shape = tuple(int(each) for each in np.frombuffer(content[4:start], ">i4"))
    dtype = np.dtype(_TYPES[content[2]])
    expected = start + math.prod(shape) * dtype.itemsize
    if min(shape) < 0 or len(content) != expected:
        raise UserError(
            f"{path} has {len(content)} bytes; {list(shape)} {dtype.name} would be {expected}"
        )
    return np.frombuffer(content[start:], dtype).reshape(shape).astype(dtype.newbyteorder("="))


def write(path: str | Path, array: np.ndarray) -> None:
    """Writes an array; gzipped where the name ends in .gz."""
    dtype = np.dtype(array.dtype.newbyteorder(">"))
    codes = {np.dtype(name): code for code, name in _TYPES.items()}
    if dtype not in codes or not array.ndim:
        raise UserError(f"IDX has no type for {array.dtype}{list(array.shape)}")
    header = bytes([0, 0, codes[dtype], array.ndim])
    header += np.array(array.shape, ">i4").tobytes()
    content = header + array.astype(dtype).tobytes()
    Path(path).write_bytes(gzip.compress(content) if str(path).endswith(".gz") else content)


def read_pair(folder: str | Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8[N, H, W] and labels uint8[N] of `train` or `t10k` in MNIST's file names.

    Raises UserError where a file is absent or the two do not go together.
    """
    folder = Path(folder)
    images, labels = (
        read(_find(folder, f"{part}-{kind}")) for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
    )
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise UserError(
            f"{folder}: {part} has images {list(images.shape)} and labels {list(labels.shape)}; "
            "they must be [N, H, W] and [N]"
        )
    if not len(images):
        raise UserError(f"{folder}: {part} has no examples")
    return images, labels


def _find(folder: Path, name: str) -> Path:
    dotted = name.replace("-idx", ".idx")  # as some archives unpack them
    candidates = [f"{each}{end}" for each in (name, dotted) for end in ("", ".gz")]
    for candidate in candidates:
        if (folder / candidate).is_file():
            return folder / candidate
    if not folder.is_dir():
        raise UserError(f"--data {folder} is no folder; it must hold {name}[.gz] and the others")
    raise UserError(f"{folder} has no {name}, nor {candidates[1]}")
