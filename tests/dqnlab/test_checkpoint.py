"""What is saved comes back, and what cannot be saved or does not fit is said."""

import collections
import contextlib
import errno
import json
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dqnlab import checkpoint, manifest, row_log
from dqnlab.checkpoint import CheckpointError, Segment

Pair = collections.namedtuple("Pair", ["left", "right"])
DTYPES = ["bool", "uint8", "int32", "int64", "uint32", "float16", "float32", "bfloat16", "int4"]


def state(step: int = 0) -> Any:
    rng = np.random.default_rng(step)
    return {
        "net/~/linear": {"w": rng.normal(size=(50, 30)).astype(np.float32)},
        "step": np.int32(step),
    }


def rows(start: int, stop: int, size: int = 7) -> Segment:
    index = np.arange(start, stop)
    frames = ((index[:, None] * 31 + np.arange(size)) % 251).astype(np.uint8)
    return Segment(start, stop, {"obs": frames, "reward": index.astype(np.float32) / 3})


def spec_of(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def assert_same(left: Any, right: Any) -> None:
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def logged(saved: checkpoint.Checkpoint) -> dict[int, bytes]:
    return {
        segment.start + i: segment.arrays["obs"][i].tobytes()
        + segment.arrays["reward"][i].tobytes()
        for segment in checkpoint.read_log(saved)
        for i in range(segment.stop - segment.start)
    }


def model(start: int, stop: int) -> dict[int, bytes]:
    all_rows = rows(start, stop).arrays
    return {
        start + i: all_rows["obs"][i].tobytes() + all_rows["reward"][i].tobytes()
        for i in range(stop - start)
    }


def leftovers(root: Path) -> list[str]:
    return [name for name in os.listdir(root) if name.startswith(".")]


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))
    dtype = jnp.dtype(draw(st.sampled_from(DTYPES)))
    seed = draw(st.integers(0, 2**32 - 1))
    values = np.random.default_rng(seed).integers(-8, 8, shape).astype(dtype)
    return values.T if draw(st.booleans()) else values  # Fortran order too


TREES = st.recursive(
    arrays(),
    lambda each: st.one_of(
        st.dictionaries(st.text(max_size=8), each, max_size=3),
        st.lists(each, max_size=3),
        st.tuples(each, each).map(lambda both: Pair(*both)),
    ),
    max_leaves=8,
)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(tree=TREES)
def test_any_tree_of_arrays_comes_back_bit_for_bit(
    tree: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("tree")
    saved = checkpoint.save(root, 1, tree, {})
    assert checkpoint.latest(root) == (saved, [])
    assert_same(checkpoint.load_state(saved, spec_of(tree)), tree)


def test_special_values_and_device_arrays_come_back(tmp_path: Path) -> None:
    tree = {
        "f": np.array([np.nan, -0.0, np.inf, 5e-324]),
        "d": jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3),
        "swapped": np.arange(3, dtype=">i4"),
        "none": None,
    }
    saved = checkpoint.save(tmp_path, 0, tree, {})
    loaded = checkpoint.load_state(saved, tree)
    assert loaded["f"].tobytes() == tree["f"].tobytes()
    np.testing.assert_array_equal(loaded["d"], np.asarray(tree["d"]))
    np.testing.assert_array_equal(loaded["swapped"], [0, 1, 2])


def test_numpy_can_open_the_archives(tmp_path: Path) -> None:
    saved = checkpoint.save(tmp_path, 0, state(), {}, rows(0, 9))
    with np.load(saved.path / "state.npz", allow_pickle=False) as opened:
        np.testing.assert_array_equal(opened["['net/~/linear']['w']"], state()["net/~/linear"]["w"])
    with np.load(saved.path / "log-000000000000-000000000009.npz", allow_pickle=False) as opened:
        np.testing.assert_array_equal(opened["obs"], rows(0, 9).arrays["obs"])


def test_equal_states_give_equal_files(tmp_path: Path) -> None:
    first = checkpoint.save(tmp_path / "a", 3, state(), {"x": 1}, rows(0, 9))
    second = checkpoint.save(tmp_path / "b", 3, state(), {"x": 1}, rows(0, 9))
    for name in [*first.files, manifest.NAME]:
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes()


def test_meta_comes_back(tmp_path: Path) -> None:
    meta = {
        "game": "Ms. Pac-Man é",
        "entropy": 2**127,
        "actions": ["NOOP"],
        "mean": 0.1,
        "nan": None,
    }
    checkpoint.save(tmp_path, 0, state(), meta)
    assert checkpoint.latest(tmp_path)[0].meta == meta
    with pytest.raises(CheckpointError, match="meta is not JSON"):
        checkpoint.save(tmp_path, 1, state(), {"x": np.zeros(3)})
    assert checkpoint.steps(tmp_path) == [0]
    assert leftovers(tmp_path) == []


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(
    moves=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 40)), min_size=1, max_size=8),
    capacity=st.integers(1, 50),
    keep=st.integers(1, 3),
)
def test_a_log_over_many_saves_equals_a_plain_ring(
    moves: list[tuple[int, int]],
    capacity: int,
    keep: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("log")
    stop = oldest = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_log, "SEGMENT_BYTES", 110)  # ten rows
        for step, (count, dropped) in enumerate(moves):
            start, stop = stop, stop + count
            oldest = min(stop, max(oldest, stop - capacity, oldest + dropped - 20))
            checkpoint.save(root, step, state(), {}, rows(start, stop), oldest, keep)
            saved, problems = checkpoint.latest(root)
            assert problems == []
            assert logged(saved) == model(oldest, stop)
            assert checkpoint.steps(root) == list(range(max(0, step + 1 - keep), step + 1))
            assert all(stop - start <= 10 for start, stop in saved.log.segments)
    assert leftovers(root) == []


def test_rows_are_written_once_and_shared(tmp_path: Path) -> None:
    first = checkpoint.save(tmp_path, 1, state(), {}, rows(0, 10))
    second = checkpoint.save(tmp_path, 2, state(), {}, rows(10, 20))
    name = manifest.segment_name(0, 10)
    assert (first.path / name).stat().st_ino == (second.path / name).stat().st_ino
    third = checkpoint.save(tmp_path, 3, state(), {}, rows(20, 30), oldest=10)
    assert third.log.segments == [(10, 20), (20, 30)]  # the file of rows 0 to 10 is forgotten
    assert not (third.path / name).exists()


def test_rows_are_copied_where_links_are_unsupported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    checkpoint.save(tmp_path, 1, state(), {}, rows(0, 10))
    checkpoint.save(tmp_path, 2, state(), {}, rows(10, 20), keep=1)
    assert logged(checkpoint.latest(tmp_path)[0]) == model(0, 20)


def test_missing_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="rows from 0 on are needed"):
        checkpoint.save(tmp_path, 1, state(), {}, rows(5, 10))
    checkpoint.save(tmp_path, 1, state(), {}, rows(0, 10), oldest=4)
    for new, oldest in [(rows(11, 12), 4), (rows(10, 12), 3), (rows(9, 12), 4)]:
        with pytest.raises(CheckpointError, match="give all rows"):
            checkpoint.save(tmp_path, 2, state(), {}, new, oldest)
    with pytest.raises(CheckpointError, match="has a log"):
        checkpoint.save(tmp_path, 2, state(), {})
    with pytest.raises(CheckpointError, match="oldest row 13"):
        checkpoint.save(tmp_path, 2, state(), {}, rows(10, 12), oldest=13)
    with pytest.raises(CheckpointError, match="the new rows have"):
        checkpoint.save(tmp_path, 2, state(), {}, rows(10, 12, size=8), oldest=5)
    with pytest.raises(CheckpointError, match="rows 0 to 3 are given"):
        checkpoint.save(tmp_path, 2, state(), {}, Segment(0, 3, {"x": np.zeros(4)}))
    assert checkpoint.steps(tmp_path) == [1]
    # No row is new: neither a segment nor an error.
    saved = checkpoint.save(tmp_path, 2, state(), {}, Segment(10, 10, {}), oldest=5)
    assert logged(saved) == model(5, 10)


def test_a_resumed_run_continues_the_log_of_the_checkpoint_it_came_from(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, state(), {}, rows(0, 10), keep=9)
    checkpoint.save(tmp_path, 2, state(), {}, rows(10, 20), keep=9)
    checkpoint.save(tmp_path, 4, state(), {}, rows(20, 30), keep=9)
    other = rows(10, 25)._replace(arrays={k: v + 1 for k, v in rows(10, 25).arrays.items()})
    saved = checkpoint.save(tmp_path, 3, state(), {}, other, keep=9)  # resumed from step 1
    assert checkpoint.steps(tmp_path) == [1, 2, 3]  # step 4 is of a future that was left
    got = np.concatenate([segment.arrays["obs"] for segment in checkpoint.read_log(saved)])
    np.testing.assert_array_equal(
        got, np.concatenate([rows(0, 10).arrays["obs"], other.arrays["obs"]])
    )


def test_the_same_step_twice_keeps_the_second(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 5, state(1), {"n": 1}, rows(0, 5))
    checkpoint.save(tmp_path, 5, state(2), {"n": 2}, rows(5, 5))
    saved, problems = checkpoint.latest(tmp_path)
    assert (saved.meta, problems, checkpoint.steps(tmp_path)) == ({"n": 2}, [], [5])
    assert_same(checkpoint.load_state(saved, state()), state(2))
    assert logged(saved) == model(0, 5)
    assert leftovers(tmp_path) == []


def test_a_replacement_cut_half_way_leaves_the_old_one(tmp_path: Path) -> None:
    saved = checkpoint.save(tmp_path, 5, state(1), {})
    os.rename(saved.path, tmp_path / f".old-{saved.path.name}")  # as if killed between two renames
    found, _ = checkpoint.latest(tmp_path)
    assert_same(checkpoint.load_state(found, state()), state(1))
    checkpoint.save(tmp_path, 6, state(2), {})
    assert checkpoint.steps(tmp_path) == [5, 6]
    assert leftovers(tmp_path) == []


def test_only_the_last_checkpoints_stay_and_dead_writers_leftovers_go(tmp_path: Path) -> None:
    (tmp_path / ".tmp-1-dead").mkdir()
    (tmp_path / ".tmp-1-dead" / "state.npz").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    for step in range(5):
        checkpoint.save(tmp_path, step, state(step), {}, keep=3)
    assert sorted(os.listdir(tmp_path)) == [f"{step:012d}" for step in (2, 3, 4)] + ["notes.txt"]
    checkpoint.save(tmp_path, 5, state(5), {}, keep=1)
    assert checkpoint.steps(tmp_path) == [5]


def test_every_file_is_on_the_disk_before_its_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, rename = os.fsync, os.rename

    def record_fsync(descriptor: int) -> None:
        events.append("fsync " + Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def record_rename(source: Path, target: Path) -> None:
        events.append(f"rename {Path(target).name}")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "rename", record_rename)
    checkpoint.save(tmp_path, 7, state(), {}, rows(0, 3))
    assert events[:3] == [
        "fsync state.npz",
        "fsync log-000000000000-000000000003.npz",
        "fsync manifest.json",
    ]
    assert events[3].startswith("fsync .tmp-")
    assert events[4:] == ["rename 000000000007", f"fsync {tmp_path.name}"]


def test_a_state_of_another_shape_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    saved = checkpoint.save(tmp_path, 1, state(), {})
    (saved.path / "state.npz").unlink()  # so that reading it would be another error
    like = {
        "net/~/linear": {"w": jax.ShapeDtypeStruct((30, 50), jnp.float32)},
        "step": jax.ShapeDtypeStruct((), jnp.int64 if jax.config.jax_enable_x64 else jnp.uint32),
        "extra": jax.ShapeDtypeStruct((1,), jnp.float32),
    }
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load_state(saved, like)
    text = str(caught.value)
    assert "['net/~/linear']['w']: saved float32[50, 30], expected float32[30, 50]" in text
    assert "['step']: saved int32[], expected uint32[]" in text
    assert "['extra']: expected, but not saved" in text
    with pytest.raises(CheckpointError, match=r"\['step'\]: saved, but not expected"):
        checkpoint.load_state(saved, {"net/~/linear": state()["net/~/linear"]})


def test_another_kind_is_refused(tmp_path: Path) -> None:
    saved = checkpoint.save(tmp_path, 1, state(), {}, kind="supervised")
    with pytest.raises(CheckpointError, match="kind 'supervised', not 'agent'"):
        checkpoint.load_state(saved, state(), kind="agent")
    assert_same(checkpoint.load_state(saved, state(), kind="supervised"), state())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"x": jax.random.key(0)}, r"\['x'\] is a PRNG key: pass jax.random.key_data"),
        ({"x": 3}, r"\['x'\] is a int, not an array"),
        ({"x": np.array(["a"])}, r"\['x'\]: dtype 'str32' cannot be stored"),
        ({"x": np.array([{}])}, r"\['x'\]: dtype 'object' cannot be stored"),
        ({"x": np.zeros(2, "datetime64[s]")}, "cannot be stored"),
    ],
)
def test_what_cannot_be_saved_is_named(tmp_path: Path, bad: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        checkpoint.save(tmp_path, 1, bad, {})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("step", "keep"), [(-1, 2), (10**12, 2), (1, 0)])
def test_steps_and_keep_out_of_range_are_refused(tmp_path: Path, step: int, keep: int) -> None:
    with pytest.raises(CheckpointError, match="must be in"):
        checkpoint.save(tmp_path, step, state(), {}, keep=keep)


def test_names_that_a_zip_would_cut_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be the name"):
        checkpoint.save(tmp_path, 1, state(), {}, Segment(0, 1, {"a\0b": np.zeros(1)}))
    assert os.listdir(tmp_path) == []


def test_no_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no intact checkpoint"):
        checkpoint.latest(tmp_path / "absent")
    checkpoint.save(tmp_path, 1, state(), {})
    with pytest.raises(CheckpointError, match=r"has no step 2; it has \[1\]"):
        checkpoint.at(tmp_path, 2)


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 100, 2_000, 6_000, 8_000])
def test_a_full_disk_is_an_error_and_the_checkpoint_before_is_intact(
    tmp_path: Path, size: int
) -> None:
    before = checkpoint.save(tmp_path, 1, state(1), {}, rows(0, 10))
    noise = np.random.default_rng(0).integers(0, 256, (1000, 7), np.uint8)
    new = Segment(10, 1010, {"obs": noise, "reward": np.zeros(1000, np.float32)})
    with file_size_limit(size), pytest.raises(CheckpointError) as caught:
        checkpoint.save(tmp_path, 2, state(2), {"long": "x" * 10_000}, new)
    assert str(tmp_path) in str(caught.value)
    assert "needs about" in str(caught.value)
    assert checkpoint.latest(tmp_path) == (before, [])
    assert leftovers(tmp_path) == []
    checkpoint.save(tmp_path, 2, state(2), {}, new)  # space was made: it goes on
    assert checkpoint.steps(tmp_path) == [1, 2]


def test_an_error_at_any_fsync_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = checkpoint.save(tmp_path, 1, state(1), {}, rows(0, 10))
    fsync, calls = os.fsync, [0]

    def failing(descriptor: int, at: int) -> None:
        calls[0] += 1
        if calls[0] == at:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    for at in range(1, 5):  # state, log, manifest, the folder itself
        calls[0] = 0
        monkeypatch.setattr(os, "fsync", lambda descriptor, at=at: failing(descriptor, at))
        with pytest.raises(CheckpointError, match="No space left on device; saving step 2 needs"):
            checkpoint.save(tmp_path, 2, state(2), {}, rows(10, 20))
        assert checkpoint.latest(tmp_path) == (before, [])
        assert leftovers(tmp_path) == []


def test_too_little_space_is_found_before_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(CheckpointError, match=r"\d+ bytes are needed, 1000000 are free"):
        checkpoint.save(tmp_path, 1, state(), {})
    assert os.listdir(tmp_path) == []


def test_a_root_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for root in [tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300), "/proc/x"]:
        with pytest.raises(CheckpointError, match="saving step 1 needs about"):
            checkpoint.save(root, 1, state(), {})


def test_an_interrupt_while_saving_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(manifest, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, 1, state(), {})
    assert os.listdir(tmp_path) == []


def test_the_manifest_is_plain_json(tmp_path: Path) -> None:
    saved = checkpoint.save(tmp_path, 1, state(), {"a": 1}, rows(0, 3))
    content = json.loads((saved.path / "manifest.json").read_text())
    assert (content["format"], content["kind"], content["step"]) == (1, "training", 1)
    assert content["state"]["['step']"] == {"dtype": "int32", "shape": []}
