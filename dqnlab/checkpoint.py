"""Training states saved so that a crash loses nothing and damage is never silent.

`<root>/<step:012d>/` holds `manifest.json` (see `dqnlab.manifest`), `state.npz` with one array per
leaf of a pytree, and the segments of a log of rows (the replay). Rows are written once, compressed,
and shared by hard link with the next checkpoint. A folder appears under its name only when all of
it is on the disk: write into `.tmp-*`, fsync each file, fsync the folder, rename, fsync the root.
"""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import jax
import jax.numpy as jnp
import numpy as np

from dqnlab import files, manifest, npz, row_log, step_folders
from dqnlab.manifest import Checkpoint as Checkpoint  # these are part of this module's interface
from dqnlab.manifest import CheckpointError as CheckpointError
from dqnlab.row_log import Segment as Segment
from dqnlab.types import PyTree
from dqnlab.weights import load_weights as load_weights
from dqnlab.weights import save_weights as save_weights

_LOG_SHRINKS = 8  # for the estimate of disk space only; Atari frames shrink 15 to 69 times


def save(
    root: str | Path,
    step: int,
    state: PyTree,
    meta: Mapping[str, Any],
    new_rows: Segment | None = None,
    oldest: int = 0,
    keep: int = 2,
    kind: str = "training",
) -> Checkpoint:
    """Saves a checkpoint, then deletes all but the last `keep`.

    Checkpoints later than `step` are deleted too: they belong to a future that the run has left by
    resuming from an earlier one, and `latest` would take them for this run's.

    Args:
      root: the folder of all checkpoints of a run; one process at a time saves there.
      step: 0 <= step < 10**12; the same step again replaces the checkpoint.
      state: pytree of arrays (PRNG keys as `jax.random.key_data`).
      meta: JSON; comes back as `Checkpoint.meta`, tuples as lists.
      new_rows: the rows since the checkpoint before; an empty Segment where there are none, None
        where the run keeps no log.
      oldest: the first row that is still needed; earlier ones are forgotten.
      keep: how many checkpoints stay.
      kind: what `load_state` must ask for: a supervised state is not an agent's.

    Raises:
      CheckpointError: bad arguments, or the disk refuses; then all earlier checkpoints are intact.
    """
    root = Path(root)
    if not 0 <= step < 10**12 or keep < 1:
        raise CheckpointError(f"step {step} must be in [0, 10**12) and keep {keep} at least 1")
    leaves = _leaves(state)
    needed = 0
    try:
        root.mkdir(parents=True, exist_ok=True)
        step_folders.sweep(root)
        plan = _plan(root, step, new_rows, oldest)
        needed = _estimate(leaves, plan)
        if (free := shutil.disk_usage(root).free) < needed:
            raise CheckpointError(f"{root}: {needed} bytes are needed, {free} are free")
        specs = {key: npz.spec(leaf) for key, leaf in leaves.items()}
        log = plan.log if plan else None
        draft = Checkpoint(
            step_folders.temporary(root), step, kind, dict(meta), specs, log, files={}
        )
        try:
            saved = _write(draft, leaves, plan)
            step_folders.commit(draft.path, root, step)
        finally:
            shutil.rmtree(draft.path, ignore_errors=True)
    except OSError as error:
        raise CheckpointError(
            f"{error.filename or root}: {error.strerror}; saving step {step} needs about {needed} "
            "bytes. Earlier checkpoints are intact"
        ) from error
    step_folders.forget(root, step, keep)
    return saved._replace(path=step_folders.path(root, step))


def steps(root: str | Path) -> list[int]:
    """The steps saved under `root`, in order; not verified."""
    return sorted(step_folders.find(Path(root)))


def at(root: str | Path, step: int) -> Checkpoint:
    """The verified checkpoint of one step; CheckpointError where it is absent or damaged."""
    folders = step_folders.find(Path(root))
    if step not in folders:
        raise CheckpointError(f"{root} has no step {step}; it has {sorted(folders)}")
    try:
        checkpoint = manifest.verify(folders[step])
    except OSError as error:
        raise CheckpointError(f"{folders[step]}: {error.strerror}") from error
    if checkpoint.step != step:
        raise CheckpointError(f"{folders[step]} is step {checkpoint.step} under another's name")
    return checkpoint


def latest(root: str | Path) -> tuple[Checkpoint, list[str]]:
    """The newest undamaged checkpoint, and what is wrong with each newer one: print that.

    Raises:
      CheckpointError: there is none (never start from scratch instead), or one was written by a
        later version of this program.
    """
    problems: list[str] = []
    for step in reversed(steps(root)):
        try:
            return at(root, step), problems
        except manifest.FutureFormatError:
            raise
        except CheckpointError as error:
            problems.append(str(error))
    raise CheckpointError("\n".join([f"{root} has no intact checkpoint", *problems]))


def holds(checkpoint: Checkpoint, like: PyTree) -> bool:
    """Whether keys, shapes and dtypes of the saved state are those of `like`."""
    expected = {key: npz.spec(leaf) for key, leaf in _leaves(like).items()}
    return not _differences(checkpoint.state, expected)


def load_state(
    checkpoint: Checkpoint, like: PyTree, kind: str = "training", is_part: bool = False
) -> PyTree:
    """Return the saved state with the structure of `like`, as NumPy arrays.

    Args:
      checkpoint: from `latest`, `at` or `save`.
      like: the expected pytree of `jax.ShapeDtypeStruct` (or arrays), e.g. from `jax.eval_shape`.
      kind: what the checkpoint was saved as.
      is_part: `like` is a part of what was saved.

    Raises:
      CheckpointError: kind, keys, shapes or dtypes differ; found before anything is allocated.
    """
    if checkpoint.kind != kind:
        raise CheckpointError(
            f"{checkpoint.path} is a checkpoint of kind {checkpoint.kind!r}, not {kind!r}"
        )
    expected = {key: npz.spec(leaf) for key, leaf in _leaves(like).items()}
    saved = checkpoint.state
    if is_part:
        saved = {key: spec for key, spec in saved.items() if key in expected}
    if differences := _differences(saved, expected):
        raise CheckpointError(
            "\n  ".join([f"{checkpoint.path} holds another state:", *differences])
        )
    arrays = _read(checkpoint, manifest.STATE, checkpoint.state)
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[key] for key in expected])


def read_log(checkpoint: Checkpoint) -> Iterator[Segment]:
    """Rows [oldest, stop) of the log in order, a segment at a time."""
    log = checkpoint.log
    if log is None:
        return
    for start, stop in log.segments:
        specs = manifest.segment_specs(log, start, stop)
        arrays = _read(checkpoint, manifest.segment_name(start, stop), specs)
        skip = max(log.oldest - start, 0)
        yield Segment(start + skip, stop, {name: rows[skip:] for name, rows in arrays.items()})


def _leaves(tree: PyTree) -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        key = jax.tree_util.keystr(path)
        if key in leaves:
            raise CheckpointError(f"two leaves of the state are called {key}")
        if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
            raise CheckpointError(f"state{key} is a {type(leaf).__name__}, not an array")
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            raise CheckpointError(f"state{key} is a PRNG key: pass jax.random.key_data of it")
        try:
            npz.storage_dtype(np.dtype(leaf.dtype).name)
        except ValueError as error:
            raise CheckpointError(f"state{key}: {error}") from None
        leaves[key] = leaf
    return leaves


def _differences(saved: Mapping[str, npz.Spec], expected: Mapping[str, npz.Spec]) -> list[str]:
    lines = [
        f"{key}: saved {saved[key].dtype}{list(saved[key].shape)}, "
        f"expected {expected[key].dtype}{list(expected[key].shape)}"
        for key in saved
        if key in expected and saved[key] != expected[key]
    ]
    lines += [f"{key}: saved, but not expected" for key in saved if key not in expected]
    lines += [f"{key}: expected, but not saved" for key in expected if key not in saved]
    return [*lines[:20], f"... and {len(lines) - 20} more"] if len(lines) > 20 else lines


def _read(checkpoint: Checkpoint, name: str, specs: Mapping[str, npz.Spec]) -> dict[str, Any]:
    try:
        return npz.read(checkpoint.path / name, specs)
    except ValueError as error:
        raise CheckpointError(f"{checkpoint.path / name}: {error}") from error


def _plan(root: Path, step: int, new_rows: Segment | None, oldest: int) -> row_log.Plan | None:
    saved = list(_readable(root, step))
    if new_rows is not None:
        return row_log.plan(saved, new_rows, oldest)
    if saved and saved[0].log is not None:
        raise CheckpointError(
            f"{saved[0].path} has a log: where no rows are new, give an empty one"
        )
    return None


def _readable(root: Path, last: int) -> Iterator[Checkpoint]:
    for step, folder in sorted(step_folders.find(root).items(), reverse=True):
        if step <= last:
            with contextlib.suppress(CheckpointError):
                yield manifest.read(folder)


def _estimate(leaves: Mapping[str, Any], plan: row_log.Plan | None) -> int:
    size = sum(npz.spec(leaf).nbytes for leaf in leaves.values())
    rows = sum(row_log.nbytes(plan.log, *each) for each in plan.written) if plan else 0
    return size + rows // _LOG_SHRINKS + (1 << 20)


def _write(draft: Checkpoint, leaves: Mapping[str, Any], plan: row_log.Plan | None) -> Checkpoint:
    draft.path.mkdir()
    written = {manifest.STATE: _write_arrays(draft.path / manifest.STATE, leaves, level=0)}
    shared = {}
    if plan is not None:
        for source, file in plan.shared.items():
            shared[source.name] = file
            _share(source, draft.path / source.name)
        for rows in plan.written:
            name = manifest.segment_name(*rows)
            written[name] = _write_arrays(draft.path / name, row_log.rows(plan.new, *rows), level=1)
    manifest.write(draft._replace(files={**shared, **written}))
    # Reads back what was written. Shared rows were read back when new; now their size is compared.
    return manifest.verify(draft.path, trusted=shared)


def _write_arrays(path: Path, arrays: Mapping[str, Any], level: int) -> manifest.File:
    try:
        with open(path, "wb") as file:
            hashing = _HashingFile(file)
            npz.write(hashing, arrays, level)
            file.flush()
            os.fsync(file.fileno())
        return manifest.File(hashing.size, hashing.digest.hexdigest())
    except OSError as error:
        error.filename = str(path)  # errors of write(2) do not say where
        raise


class _HashingFile:
    """Hashes what passes; without `seek`, so that nothing written is changed afterwards."""

    def __init__(self, file: IO[bytes]):
        self.file, self.size, self.digest = file, 0, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def _share(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        files.write_durable(target, source.read_bytes())
