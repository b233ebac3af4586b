"""The body of a request -> an array, or the reason why not."""

import ast
import json
import re

import numpy as np
from starlette.exceptions import HTTPException

from scripts.predictor import Predictor

JSON, NPY = "application/json", "application/x-npy"
_BODY = re.compile(rb'\s*\{\s*"inputs"\s*:([\[\]0-9\s,.eE+-]*)\}\s*')
_NPY_HEADER = 4096  # bytes; numpy itself writes 128
_NPY_VERSIONS = {(1, 0): 2, (2, 0): 4}  # version -> bytes of the header's length


def max_bytes(net: Predictor, max_batch: int) -> int:
    """Of a body: max_batch inputs as JSON with a blank after each comma."""
    digits = 5 if net.dtype == "uint8" else 25
    return 65_536 + max_batch * int(np.prod(net.shape)) * digits


def parse(content_type: str, body: bytes, net: Predictor, max_batch: int) -> np.ndarray:
    """Inputs [B, *shape]; one without the first axis is a batch of 1.

    Raises HTTPException: 415 for other content types, 400 for a body that is none of them, 422 for
    an array of another type, shape or range or of more than `max_batch` inputs.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == NPY:
        x = _from_npy(body, net, max_batch)
    elif kind == JSON:
        x = _from_json(body, net, max_batch)
    else:
        raise HTTPException(415, f"Content-Type must be {JSON} or {NPY}")
    if np.dtype(net.dtype).kind == "f" and not np.isfinite(x).all():
        raise HTTPException(422, "inputs must be finite")
    return x


def _from_npy(body: bytes, net: Predictor, max_batch: int) -> np.ndarray:
    """By hand, and not by numpy.load: nothing is allocated, unpickled or unpacked."""
    length_bytes = _NPY_VERSIONS.get(tuple(body[6:8]))
    if body[:6] != b"\x93NUMPY" or length_bytes is None:
        raise HTTPException(400, "the body is no .npy file of version 1 or 2")
    start = 8 + length_bytes
    length = int.from_bytes(body[8:start], "little")
    if length > _NPY_HEADER or start + length > len(body):
        raise HTTPException(400, "the .npy header is too long or cut off")
    try:
        header = ast.literal_eval(body[start : start + length].decode("latin1").strip())
        dtype, shape = np.dtype(header["descr"]), header["shape"]
        is_fortran = header["fortran_order"]
    except Exception:  # what the two parsers raise for garbage is not documented
        raise HTTPException(400, "the .npy header cannot be read") from None
    if dtype != np.dtype(net.dtype) or is_fortran is not False:
        raise HTTPException(422, f"the array must be {net.dtype}, in C order")
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise HTTPException(400, "the .npy header cannot be read")
    data = memoryview(body)[start + length :]
    shape = _batched(shape, net, max_batch)
    if len(data) != dtype.itemsize * _product(shape):
        raise HTTPException(400, "the .npy file has more or fewer numbers than its shape says")
    return np.frombuffer(data, dtype).reshape(shape)


def _from_json(body: bytes, net: Predictor, max_batch: int) -> np.ndarray:
    # Numbers and brackets alone: numpy would make numbers of true, null and strings too.
    found = _BODY.fullmatch(body)
    if found is None:
        raise HTTPException(422, 'the body must be {"inputs": [...]} with arrays of numbers')
    try:
        values = json.loads(found[1])
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is no valid JSON") from None
    wanted = np.dtype(net.dtype)
    try:
        x = np.asarray(values)
        if x.dtype == object:  # integers beyond 64 bits
            x = np.asarray(values, float)
    except (ValueError, TypeError, OverflowError):
        raise HTTPException(422, f"inputs must be of equal length: {_expected(net)}") from None
    x = x.reshape(_batched(x.shape, net, max_batch))
    if wanted.kind in "iu":
        limits = np.iinfo(wanted)
        if not ((limits.min <= x) & (x <= limits.max) & (x == np.rint(x))).all():
            raise HTTPException(422, f"inputs must be integers of {limits.min} .. {limits.max}")
    with np.errstate(over="ignore"):  # an infinity is refused by the caller
        return x.astype(wanted)


def _batched(shape: tuple[int, ...], net: Predictor, max_batch: int) -> tuple[int, ...]:
    full = shape if len(shape) > len(net.shape) else (1, *shape)
    if full[1:] != net.shape or full[0] < 1:
        raise HTTPException(422, f"inputs have shape {list(shape)[:8]}; expected {_expected(net)}")
    if full[0] > max_batch:
        raise HTTPException(422, f"{full[0]} inputs in one request; at most {max_batch}")
    return full


def _expected(net: Predictor) -> str:
    shape = ", ".join(map(str, net.shape))
    return f"{net.dtype}[{shape}] or {net.dtype}[B, {shape}]"


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for each in shape:
        product *= each
    return product
