"""Network weights for exchange: one `.safetensors` file, which cannot execute code."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from dqnlab import files, npz
from dqnlab.manifest import CheckpointError
from dqnlab.types import Params, PyTree

_CHECKSUM = "sha256"


def save_weights(path: str | Path, params: Params, meta: Mapping[str, str]) -> None:
    """Write a Haiku parameter tree {module: {name: array}} and `meta`, atomically.

    Equal arguments give equal bytes.

    Raises:
      CheckpointError: `params` is no such tree, or `path` cannot be written.
    """
    path = Path(path)
    flat = {}
    for module, arrays in params.items():
        if not isinstance(arrays, Mapping):
            raise CheckpointError(f"params[{module!r}] is no dict of arrays")
        for name, array in arrays.items():
            # Haiku's module names contain "/" and "~", but never "|".
            if "|" in module or "|" in name:
                raise CheckpointError(f"{module!r}, {name!r}: '|' separates module and name")
            flat[f"{module}|{name}"] = np.asarray(array, order="C")
    if _CHECKSUM in meta or not all(isinstance(each, str) for each in [*meta, *meta.values()]):
        raise CheckpointError(f"meta must map str to str, without the key {_CHECKSUM!r}")
    try:
        sealed = {**meta, _CHECKSUM: _checksum(flat, meta)}
        files.write_atomic(path, _with_sorted_meta(safetensors.numpy.save(flat, sealed)))
    except (OSError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be written: {error}") from error


def load_weights(path: str | Path) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, str]]:
    """The params and meta of `save_weights`.

    Raises:
      CheckpointError: the file is absent, damaged, or not from `save_weights`.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            meta = dict(file.metadata() or {})
            flat = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if meta.pop(_CHECKSUM, None) != _checksum(flat, meta):
        raise CheckpointError(f"{path} is damaged, or not from save_weights: its SHA-256 differs")
    params: dict[str, dict[str, np.ndarray]] = {}
    for key, array in flat.items():
        module, _, name = key.partition("|")
        params.setdefault(module, {})[name] = array
    return params, meta


def save_net(path: str | Path, params: Params, net_state: PyTree, meta: Mapping[str, str]) -> None:
    """Write a net's parameters and its own state (batch norm) into one file; as `save_weights`."""
    tree = {f"params:{module}": arrays for module, arrays in params.items()}
    tree |= {f"state:{module}": arrays for module, arrays in net_state.items()}
    save_weights(path, tree, meta)


def load_net(
    path: str | Path, like: tuple[Params, PyTree]
) -> tuple[Params, PyTree, dict[str, str]]:
    """The params, net state and meta of `save_net`.

    Args:
      path: the file.
      like: the expected (params, net_state), e.g. from `jax.eval_shape(net.init, ...)`.

    Raises:
      CheckpointError: as `load_weights`, and where names, shapes or types are not as expected.
    """
    tree, meta = load_weights(path)
    parts = []
    for part, expected in zip(("params:", "state:"), like, strict=True):
        found = {k.removeprefix(part): v for k, v in tree.items() if k.startswith(part)}
        ours, theirs = _specs(expected), _specs(found)
        if different := sorted(k for k in ours | theirs if ours.get(k) != theirs.get(k)):
            key = different[0]
            raise CheckpointError(
                f"{path} is of another net: {part}{key} is {theirs.get(key, 'missing')}, expected "
                f"{ours.get(key, 'nothing')} ({len(different)} differences)"
            )
        parts.append(found)
    return parts[0], parts[1], meta


def _specs(tree: Params) -> dict[str, str]:
    return {
        f"{module}|{name}": f"{array.dtype}{list(array.shape)}"
        for module, arrays in tree.items()
        for name, array in arrays.items()
    }


def _with_sorted_meta(data: bytes) -> bytes:
    # The format is the header's size (8 bytes), the header (JSON, padded to whole words) and the
    # arrays. safetensors writes the metadata in an order that differs from call to call.
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header = {"__metadata__": dict(sorted(header.pop("__metadata__").items())), **header}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


def _checksum(flat: Mapping[str, np.ndarray], meta: Mapping[str, str]) -> str:
    # safetensors has none: a flipped bit in the numbers would pass unseen.
    specs = {key: npz.spec(array) for key, array in flat.items()}
    digest = hashlib.sha256(json.dumps([specs, dict(meta)], sort_keys=True).encode())
    for key in sorted(flat):
        digest.update(np.ascontiguousarray(flat[key]).tobytes())
    return digest.hexdigest()
