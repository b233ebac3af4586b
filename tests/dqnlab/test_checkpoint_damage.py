"""Whatever happens to the files afterwards, by accident or on purpose, it is seen and said."""

import hashlib
import io
import json
import os
import pickle
import random
import shutil
import subprocess
import sys
import textwrap
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dqnlab import checkpoint, manifest
from dqnlab.checkpoint import Checkpoint, CheckpointError, Segment

STATE = {"w": np.arange(600, dtype=np.float32).reshape(20, 30), "n": np.int32(3)}
SEGMENT = manifest.segment_name(8, 16)
FILES = ["state.npz", "manifest.json", SEGMENT]


def rows(start: int, stop: int) -> Segment:
    return Segment(start, stop, {"obs": np.arange(start, stop, dtype=np.int64)[:, None] * [1, 2]})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    checkpoint.save(tmp_path, 1, STATE, {"n": 1}, rows(0, 8))
    checkpoint.save(tmp_path, 2, STATE, {"n": 2}, rows(8, 16))
    return tmp_path


def newest(root: Path) -> Path:
    return root / f"{2:012d}"


def assert_falls_back(root: Path, word: str) -> None:
    saved, problems = checkpoint.latest(root)
    assert saved.step == 1
    assert len(problems) == 1
    assert word in problems[0]


def test_every_flipped_bit_is_found(root: Path) -> None:
    rng = random.Random(0)
    for trial in range(210):
        path = newest(root) / FILES[trial % 3]
        data = path.read_bytes()
        position = rng.randrange(len(data))
        flipped = bytearray(data)
        flipped[position] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        assert_falls_back(root, str(path))
        path.write_bytes(data)
    assert checkpoint.latest(root)[0].step == 2


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0, 0.3, 0.9, 0.999])
def test_every_truncated_file_is_found(root: Path, name: str, share: float) -> None:
    path = newest(root) / name
    os.truncate(path, int(share * path.stat().st_size))
    assert_falls_back(root, name)


@pytest.mark.parametrize("name", FILES)
def test_missing_and_renamed_files_are_found(root: Path, name: str) -> None:
    (newest(root) / name).rename(newest(root) / "other")
    assert_falls_back(root, name)
    (newest(root) / "other").unlink()
    assert_falls_back(root, name)


def test_extra_files_are_found(root: Path) -> None:
    (newest(root) / "extra.npz").write_bytes(b"")
    assert_falls_back(root, "extra.npz does not belong")


def test_files_of_another_step_are_found(root: Path) -> None:
    shutil.copy(root / f"{1:012d}" / "state.npz", newest(root) / "state.npz")
    assert checkpoint.latest(root)[0].step == 2  # equal states: the very same file
    shutil.copy(root / f"{1:012d}" / "manifest.json", newest(root) / "manifest.json")
    assert_falls_back(root, SEGMENT)
    shutil.rmtree(newest(root))
    shutil.copytree(root / f"{1:012d}", newest(root))
    assert_falls_back(root, "step 1 under another's name")


def test_links_and_devices_are_refused(root: Path) -> None:
    for name in FILES:
        path = newest(root) / name
        path.rename(root / "aside")
        path.symlink_to(root / "aside")
        assert_falls_back(root, name)
        path.unlink()
        os.mkfifo(path)  # reading it would hang
        assert_falls_back(root, name)
        path.unlink()
        (root / "aside").rename(path)
    newest(root).rename(root / "aside")
    newest(root).symlink_to(root / "aside")
    assert_falls_back(root, "is not a folder")
    newest(root).unlink()
    newest(root).write_text("")
    assert_falls_back(root, "is not a folder")


def test_damage_to_rows_that_all_share_is_never_a_start_from_scratch(root: Path) -> None:
    path = newest(root) / manifest.segment_name(0, 8)
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"no intact checkpoint\n.*000002.*\n.*000001"):
        checkpoint.latest(root)


def test_a_lost_shared_file_stops_the_next_save_until_all_rows_are_given(root: Path) -> None:
    (newest(root) / SEGMENT).unlink()
    with pytest.raises(CheckpointError, match=SEGMENT):
        checkpoint.save(root, 3, STATE, {}, rows(16, 20), oldest=4)
    assert checkpoint.steps(root) == [1, 2]
    saved = checkpoint.save(root, 3, STATE, {}, rows(4, 20), oldest=4)
    assert [segment.start for segment in checkpoint.read_log(saved)] == [4]


def test_a_damaged_step_is_replaced_by_the_resumed_run(root: Path) -> None:
    os.truncate(newest(root) / "state.npz", 10)
    saved, _ = checkpoint.latest(root)
    assert saved.meta == {"n": 1}
    again = checkpoint.save(root, 2, STATE, {"n": 2}, rows(8, 16))
    assert checkpoint.latest(root) == (again, [])


# A hash protects against rot, not against an author: from here on all hashes are right.


def forge(folder: Path, edit: Callable[[dict[str, Any]], None] = lambda content: None) -> None:
    """Writes the manifest anew, with the sizes and hashes of the files as they are."""
    content = json.loads((folder / "manifest.json").read_text())
    del content["sha256"]
    for name in content["files"]:
        data = (folder / name).read_bytes()
        content["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    edit(content)
    body = json.dumps(content, indent=1).removesuffix("\n}")
    digest = hashlib.sha256(body.encode()).hexdigest()
    (folder / "manifest.json").write_text(f'{body},\n "sha256": "{digest}"\n}}\n')


def test_forging_without_a_change_passes(root: Path) -> None:
    forge(newest(root))
    assert checkpoint.latest(root)[0].step == 2


@pytest.mark.parametrize("version", [0, 2, 999, "1", None])
def test_a_checkpoint_of_another_format_is_refused_not_skipped(root: Path, version: Any) -> None:
    forge(newest(root), lambda content: content.update(format=version))
    with pytest.raises(CheckpointError, match="this version reads 1"):
        checkpoint.latest(root)


def set_in(*keys: Any) -> Callable[[dict[str, Any]], None]:
    *path, last, value = keys

    def edit(content: Any) -> None:
        for key in path:
            content = content[key]
        content[last] = value

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        set_in("files", "../../outside.npz", {"bytes": 0, "sha256": ""}),
        set_in("files", "/etc/passwd", {"bytes": 0, "sha256": ""}),
        set_in("files", "state.npz", {"bytes": 1}),
        set_in("files", {}),
        set_in("step", "2"),
        set_in("step", True),
        set_in("meta", []),
        set_in("state", "['w']", {"dtype": "object", "shape": [1]}),
        set_in("state", "['w']", {"dtype": "U1000000", "shape": [1]}),
        set_in("state", "['w']", {"dtype": "void64", "shape": [1]}),
        set_in("state", "['w']", {"dtype": "float32", "shape": [-1]}),
        set_in("state", "['w']", {"dtype": "float32", "shape": [1.0]}),
        set_in("state", "['w']", {"dtype": ["a"], "shape": []}),
        set_in("state", None),
        set_in("log", {}),
        set_in("log", "segments", [[0, 8], [9, 16]]),
        set_in("log", "segments", [[0, 8]]),
        set_in("log", "segments", [[0, 8], [8, 8], [8, 16]]),
        set_in("log", "segments", [["../x", 8], [8, 16]]),
        set_in("log", "oldest", 9),
        set_in("log", "stop", 17),
        set_in("log", "arrays", "obs", "shape", [10**12]),
        set_in("log", "arrays", "obs", "shape", [10**30, 10**30]),
    ],
)
def test_forged_manifests_are_refused(root: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    before = set(os.listdir(root.parent))
    forge(newest(root), edit)
    assert checkpoint.latest(root)[0].step == 1
    assert set(os.listdir(root.parent)) == before


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{}", "null", "\ud800".encode("utf-8", "surrogatepass")]
)
def test_manifests_that_are_no_manifests_are_refused(root: Path, text: str | bytes) -> None:
    body = text.encode() if isinstance(text, str) else text
    digest = hashlib.sha256(body).hexdigest()
    data = body + f',\n "sha256": "{digest}"\n}}\n'.encode()
    (newest(root) / "manifest.json").write_bytes(data)
    assert_falls_back(root, "manifest.json")


class Canary:
    """Unpickling this creates a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def npy(header: bytes, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def crafted(root: Path, members: dict[str, bytes], deflate: bool = False) -> Checkpoint:
    path = newest(root) / "state.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if deflate else 0) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    forge(newest(root))
    return checkpoint.at(root, 2)


def good_members() -> dict[str, bytes]:
    members = {}
    for key, array in STATE.items():
        buffer = io.BytesIO()
        np.save(buffer, array)
        members[f"['{key}'].npy"] = buffer.getvalue()
    return members


def test_an_archive_by_numpy_itself_is_read(root: Path) -> None:
    saved = crafted(root, good_members())
    np.testing.assert_array_equal(checkpoint.load_state(saved, STATE)["w"], STATE["w"])


def test_pickles_are_never_opened(root: Path) -> None:
    canary = root / "canary"
    buffer = io.BytesIO()
    np.save(buffer, np.array([Canary(canary)], object), allow_pickle=True)
    bombs = [buffer.getvalue(), pickle.dumps(Canary(canary))]
    size = len(good_members()["['w'].npy"])
    for bomb in [*bombs, *(each.ljust(size, b"\0") for each in bombs)]:
        saved = crafted(root, good_members() | {"['w'].npy": bomb})
        with pytest.raises(CheckpointError, match=r"state\.npz: array"):
            checkpoint.load_state(saved, STATE)
        assert not canary.exists()
    pickle.loads(bombs[1])
    assert canary.exists()  # the bomb was live


@pytest.mark.parametrize(
    "member",
    [
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (100000000000,), }\n"),
        npy(b"{'descr': '<f4', 'fortran_order': True, 'shape': (20, 30), }\n", b"\0" * 2400),
        npy(b"(" * 60_000, b"\0" * 2400),
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b" " * 5000,
        b"",
    ],
)
def test_headers_that_claim_something_else_are_refused(root: Path, member: bytes) -> None:
    size = len(good_members()["['w'].npy"])
    for data in [member, member.ljust(size, b"\0")[:size]]:
        saved = crafted(root, good_members() | {"['w'].npy": data})
        with pytest.raises(CheckpointError, match=r"array '?\['w'\]|array \"\['w'\]"):
            checkpoint.load_state(saved, STATE)


def test_an_archive_that_inflates_is_refused_in_little_memory(root: Path) -> None:
    path = newest(root) / "state.npz"
    zeros = bytes(1 << 20)  # 1 GB of them deflate to a few MB
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in good_members().items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(data)
                for _ in range(1024 if name == "['w'].npy" else 0):
                    member.write(zeros)
    assert path.stat().st_size < 8_000_000
    forge(newest(root))
    saved = checkpoint.at(root, 2)
    # The same again with a directory that claims the right size for it.
    data = bytearray(path.read_bytes())
    size = len(good_members()["['w'].npy"])
    true = (size + (1 << 30)).to_bytes(4, "little")
    assert data.count(true) >= 1
    lying = data.replace(true, size.to_bytes(4, "little"))
    for content in (bytes(data), bytes(lying)):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"state\.npz"):
            checkpoint.load_state(saved, STATE)
    tracemalloc.start()
    with pytest.raises(CheckpointError):
        checkpoint.load_state(saved, STATE)
    assert tracemalloc.get_traced_memory()[1] < 8_000_000
    tracemalloc.stop()


def test_members_that_are_not_expected_are_refused(root: Path) -> None:
    for extra in ["../outside.npy", "/tmp/outside.npy", "['w']", "x.npy"]:
        saved = crafted(root, good_members() | {extra: b"x"})
        with pytest.raises(CheckpointError, match="not those that are listed"):
            checkpoint.load_state(saved, STATE)
    warning = pytest.warns(UserWarning, match="Duplicate name")
    with warning, zipfile.ZipFile(newest(root) / "state.npz", "a") as archive:
        archive.writestr("x.npy", b"x")
    forge(newest(root))
    with pytest.raises(CheckpointError, match="not those that are listed"):
        checkpoint.load_state(checkpoint.at(root, 2), STATE)
    saved = crafted(root, good_members())
    with zipfile.ZipFile(newest(root) / "state.npz", "a") as archive:
        archive.comment = b"x" * 60_000  # bytes that belong to no array
    with pytest.raises(CheckpointError, match="larger than its arrays"):
        checkpoint.load_state(saved, STATE)


def test_loading_takes_little_more_memory_than_the_state(tmp_path: Path) -> None:
    state = {"w": np.ones((4000, 1000), np.float32), "v": np.ones((1000, 1000), np.float32)}
    saved = checkpoint.save(tmp_path, 1, state, {})
    del state["w"]
    like = {"w": np.broadcast_to(np.float32(0), (4000, 1000)), "v": state["v"]}
    tracemalloc.start()
    checkpoint.load_state(saved, like)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * 20_000_000


KILLED = """
    import os, random, signal, sys, time
    import numpy as np
    from dqnlab import checkpoint
    from dqnlab.checkpoint import Segment

    root, seed, kills = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

    def state(step):
        return {"w": np.random.default_rng(step).normal(size=(200, 100))}

    def rows(start, stop):
        return Segment(start, stop, {"obs": np.arange(start, stop)[:, None] * np.arange(1, 90)})

    def check(acknowledged):
        saved, problems = checkpoint.latest(root)
        assert problems == [], problems
        assert saved.step >= acknowledged, (saved.step, acknowledged)
        loaded = checkpoint.load_state(saved, state(0))
        assert np.array_equal(loaded["w"], state(saved.step)["w"])
        at = max(0, 100 * (saved.step - 5))
        for segment in checkpoint.read_log(saved):
            assert segment.start == at
            assert np.array_equal(segment.arrays["obs"], rows(at, segment.stop).arrays["obs"])
            at = segment.stop
        assert at == 100 * saved.step
        return saved

    def run(step, pipe):
        while True:
            step += 1
            new = rows(100 * (step - 1), 100 * step)
            oldest = max(0, 100 * (step - 5))
            checkpoint.save(root, step, state(step), {}, new, oldest)
            os.write(pipe, b"%d\\n" % step)
            if step % 3 == 0:  # the same step again
                checkpoint.save(root, step, state(step), {}, rows(100 * step, 100 * step), oldest)

    rng = random.Random(seed)
    began = time.monotonic()
    checkpoint.save(root, 0, state(0), {}, rows(0, 0))
    span = 4 * (time.monotonic() - began)  # a few saves on this disk
    acknowledged = 0
    for _ in range(kills):
        saved = check(acknowledged)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            run(saved.step, writer)
        os.close(writer)
        with os.fdopen(reader) as lines:
            for _ in range(rng.randrange(3)):  # however busy the disk is, some saves are done
                acknowledged = int(lines.readline())
            time.sleep(rng.uniform(0, span))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            acknowledged = max([acknowledged, *map(int, lines)])
        leftovers = [name for name in os.listdir(root) if name.startswith(".")]
        assert len(leftovers) <= 2, leftovers  # the draft, and the step that it was to replace
    saved = check(acknowledged)
    start = 100 * saved.step
    checkpoint.save(root, saved.step + 1, state(1), {}, rows(start, start + 1), start)
    assert len(os.listdir(root)) == 2, os.listdir(root)
    print("steps", saved.step)
"""


def kill_while_saving(root: Path, kills: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(root), "0", str(kills)],
        capture_output=True,
        text=True,
        timeout=30 * kills,
        cwd=Path(checkpoint.__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[1]) > 10  # saves did succeed between the kills


def test_a_kill_at_any_instant_leaves_a_whole_checkpoint_and_no_orphans(tmp_path: Path) -> None:
    kill_while_saving(tmp_path / "checkpoints", 30)


@pytest.mark.slow
def test_two_hundred_kills_leave_a_whole_checkpoint_and_no_orphans(tmp_path: Path) -> None:
    kill_while_saving(tmp_path / "checkpoints", 200)
