"""Archives of plain arrays that can neither run code nor grow beyond what the reader expects.

The files are ordinary `.npz`: `numpy.load` opens them. This reader parses no array header: it knows
each array's dtype and shape beforehand and compares the header's bytes with those it would write
itself. So an object array, a pickle, a header that claims 400 GB or a member that inflates to more
than was declared differs from what is expected, and is refused before anything is allocated.
"""

import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes  # noqa: F401  (makes `np.dtype("bfloat16")` known)
import numpy as np

_CHUNK = 1 << 20  # bytes copied at a time: memory beside the arrays themselves stays this small
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What zipfile raises; RuntimeError for members that are encrypted or compressed in another way.
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError)


class Spec(NamedTuple):
    """What an array looks like, in words that JSON keeps."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the array's data."""
        return math.prod(self.shape) * storage_dtype(self.dtype).itemsize


def spec(array: Any) -> Spec:
    """The Spec of a NumPy array, a JAX array or a `jax.ShapeDtypeStruct`."""
    return Spec(np.dtype(array.dtype).name, tuple(int(size) for size in array.shape))


def storage_dtype(name: str) -> np.dtype[Any]:
    """The dtype that an array is stored as; ValueError where `name` is no numeric dtype.

    npy files know no bfloat16, float8 or int4: those are stored as unsigned integers as wide.
    """
    try:
        dtype = np.dtype(name)
    except TypeError:
        raise ValueError(f"dtype {name!r} cannot be stored: numbers and booleans only") from None
    if dtype.name != name or dtype.kind not in "biufcV" or dtype.type is np.void:
        raise ValueError(f"dtype {name!r} cannot be stored: numbers and booleans only")
    return np.dtype(f"u{dtype.itemsize}") if dtype.kind == "V" else dtype


def write(file: Any, arrays: Mapping[str, Any], level: int = 0) -> None:
    """Writes arrays to `file` (anything with `write` and `flush`), deflated where `level` > 0.

    Equal arrays give equal bytes: no time stamps. Arrays on a device are copied one at a time.
    """
    method = zipfile.ZIP_DEFLATED if level else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", method, compresslevel=level or None) as archive:
        for name, value in arrays.items():
            expected = spec(value)
            if zipfile.ZipInfo(name).filename != name:  # zip cuts names at a NUL
                raise ValueError(f"{name!r} cannot be the name of an array")
            array = np.asarray(value, order="C")
            array = array.astype(array.dtype.newbyteorder("="), copy=False)
            flat = array.view(storage_dtype(expected.dtype)).reshape(-1).view(np.uint8)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                member.write(_header(expected))
                for start in range(0, flat.size, _CHUNK):
                    member.write(flat[start : start + _CHUNK].data)


def read(path: Path, specs: Mapping[str, Spec]) -> dict[str, np.ndarray]:
    """Reads exactly the arrays named in `specs`; ValueError where the file holds anything else."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, specs)
            slack = sum(1024 + 4 * len(member.filename) for member in members.values())
            if path.stat().st_size > sum(m.file_size for m in members.values()) + slack + 1024:
                raise ValueError("the file is larger than its arrays")
            return {name: _read(archive, members[name], specs[name]) for name in specs}
    except _UNREADABLE as error:
        raise ValueError(f"not a readable archive: {error}") from error


def _header(expected: Spec) -> bytes:
    # The npy format 1.0, written here and not by NumPy so that its bytes never change.
    descr = storage_dtype(expected.dtype).str
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {expected.shape!r}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("ascii")


def _members(archive: zipfile.ZipFile, specs: Mapping[str, Spec]) -> dict[str, zipfile.ZipInfo]:
    infos = archive.infolist()
    if sorted(info.filename for info in infos) != sorted(f"{name}.npy" for name in specs):
        raise ValueError("its arrays are not those that are listed")
    members = {info.filename.removesuffix(".npy"): info for info in infos}
    for name, expected in specs.items():
        size = len(_header(expected)) + expected.nbytes
        if members[name].file_size != size or members[name].compress_type not in _METHODS:
            raise ValueError(
                f"array {name!r} declares {members[name].file_size} bytes; {expected} has {size}"
            )
    return members


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, expected: Spec) -> np.ndarray:
    header = _header(expected)
    with archive.open(info) as member:
        if member.read(len(header)) != header:
            raise ValueError(f"array {info.filename!r} is not the {expected} that is listed")
        array = np.empty(expected.shape, storage_dtype(expected.dtype))
        flat = array.reshape(-1).view(np.uint8)
        for start in range(0, flat.size, _CHUNK):
            chunk = flat[start : start + _CHUNK]
            data = member.read(chunk.size)
            if len(data) != chunk.size:
                raise ValueError(f"array {info.filename!r} ends early")
            chunk[:] = np.frombuffer(data, np.uint8)
        if member.read(1):  # reading up to the end is what makes zipfile compare the CRC
            raise ValueError(f"array {info.filename!r} is longer than declared")
    return array.view(np.dtype(expected.dtype))
