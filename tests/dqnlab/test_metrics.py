"""Rows that survive kills and resumes, and scores that equal a plain loop's."""

import json
import os
import resource
import struct
import timeit
from pathlib import Path
from typing import Any

import hypothesis
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from tensorboardX.proto import event_pb2

from dqnlab import metrics
from dqnlab.metrics import EpisodeTracker, MetricsWriter
from dqnlab.types import UserError


def write_rows(folder: Path, steps: range, resume_step: int | None = None) -> None:
    with MetricsWriter(folder, resume_step) as writer:
        for step in steps:
            writer.write({"agent_steps": step, "loss": step / 3, "note": "x"})


def events(folder: Path) -> list[Any]:
    found = []
    for path in sorted(folder.glob("events.out.tfevents.*"), key=lambda path: path.suffixes[-1]):
        data = path.read_bytes()
        while data:  # length, its checksum, the event, its checksum
            (length,) = struct.unpack("<Q", data[:8])
            found.append(event_pb2.Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def test_rows_come_back_in_order_with_keys_in_order(tmp_path: Path) -> None:
    row = {
        "agent_steps": np.int64(7),
        "loss": jnp.float32(0.5),
        "nan": float("nan"),
        "inf": np.float32(-np.inf),
        "none": None,
        "flag": np.bool_(True),
        "text": "é\n",
        "list": [1, float("inf"), np.float64(0.1)],
    }
    with MetricsWriter(tmp_path) as writer:
        writer.write(row)
        assert len(metrics.read(tmp_path / "metrics.jsonl")) == 1  # at once, not when closed
        writer.write({"agent_steps": 8})
    first, second = metrics.read(tmp_path / "metrics.jsonl")
    assert list(first) == list(row)
    assert first == {
        "agent_steps": 7,
        "loss": 0.5,
        "nan": None,
        "inf": None,
        "none": None,
        "flag": True,
        "text": "é\n",
        "list": [1, None, 0.1],
    }
    assert second == {"agent_steps": 8}
    strict = {"parse_constant": lambda name: pytest.fail(f"{name} is no JSON")}
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(line, **strict)


def test_a_row_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with MetricsWriter(tmp_path) as writer:
        sizes: list[int] = []
        rows = writer._rows

        class Recorder:
            def write(self, data: bytes) -> int:
                sizes.append(len(data))
                return rows.write(data)

            def __getattr__(self, name: str) -> Any:
                return getattr(rows, name)

        monkeypatch.setattr(writer, "_rows", Recorder())
        writer.write({"agent_steps": 1, "text": "x" * 100_000})
    assert sizes == [(tmp_path / "metrics.jsonl").stat().st_size]


@pytest.mark.parametrize("bad", [{}, {"agent_steps": 1.5}, {"agent_steps": True}])
def test_a_row_without_its_step_is_refused(tmp_path: Path, bad: dict[str, Any]) -> None:
    with MetricsWriter(tmp_path) as writer, pytest.raises(UserError, match="agent_steps"):
        writer.write(bad)
    assert metrics.read(tmp_path / "metrics.jsonl") == []


def test_a_value_that_is_no_scalar_is_named(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path) as writer, pytest.raises(UserError, match="'loss' is a ndarray"):
        writer.write({"agent_steps": 1, "loss": np.zeros(3)})


@pytest.mark.parametrize("killed_at", [0, 1, 4, 9])
@pytest.mark.parametrize("torn", [b"", b'{"agent_steps": 99, "lo', b"\0\0\0", b'{"agent_steps": 9'])
def test_a_resumed_file_equals_the_uninterrupted_one(
    tmp_path: Path, killed_at: int, torn: bytes
) -> None:
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    write_rows(tmp_path / "whole", range(10))
    write_rows(tmp_path / "cut", range(killed_at + 1))
    with open(tmp_path / "cut" / "metrics.jsonl", "ab") as file:
        file.write(torn)  # the process died within a row
    resume_step = killed_at // 2  # the last checkpoint
    write_rows(tmp_path / "cut", range(resume_step + 1, 10), resume_step)
    expected = (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    assert (tmp_path / "cut" / "metrics.jsonl").read_bytes() == expected


def test_a_last_row_that_lacks_only_its_newline_is_kept(tmp_path: Path) -> None:
    write_rows(tmp_path, range(3))
    path = tmp_path / "metrics.jsonl"
    os.truncate(path, path.stat().st_size - 1)
    assert [row["agent_steps"] for row in metrics.read(path)] == [0, 1, 2]
    write_rows(tmp_path, range(3, 5), resume_step=2)
    assert [row["agent_steps"] for row in metrics.read(path)] == [0, 1, 2, 3, 4]


def test_only_the_last_line_may_be_torn(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for bad in (b"{", b"[1]", b"{}", b'{"agent_steps": null}', b"\xff"):
        path.write_bytes(b'{"agent_steps": 1}\n' + bad + b'\n{"agent_steps": 2}\n')
        for use in (metrics.read, lambda path: MetricsWriter(path.parent, 1)):
            with pytest.raises(UserError, match="line 2"):
                use(path)
    with pytest.raises(UserError, match="No such file"):
        metrics.read(tmp_path / "absent")


def test_rows_of_another_run_are_not_appended_to(tmp_path: Path) -> None:
    write_rows(tmp_path, range(2))
    with pytest.raises(UserError, match="resume that run"):
        MetricsWriter(tmp_path)
    with pytest.raises(UserError, match="No such file"):
        MetricsWriter(tmp_path / "absent" / "absent", 3)


def test_scalars_are_mirrored_and_a_resume_hides_what_it_repeats(tmp_path: Path) -> None:
    write_rows(tmp_path, range(3))
    write_rows(tmp_path, range(2, 4), resume_step=1)  # within the same second: another file
    found = events(tmp_path)
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 2
    scalars = [
        (event.step, value.tag, value.simple_value)
        for event in found
        for value in event.summary.value
    ]
    expected = [(step, "loss", np.float32(step / 3)) for step in (0, 1, 2, 2, 3)]
    assert scalars == expected
    starts = [event.step for event in found if event.HasField("session_log")]
    assert starts == [2]  # TensorBoard drops steps from here on


def test_histograms_leave_out_what_is_not_finite(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path) as writer:
        writer.write_histogram("q", jnp.asarray([1.0, 2.0, jnp.nan, jnp.inf]), 5)
        writer.write_histogram("none", [np.nan], 5)
    (event,) = [event for event in events(tmp_path) if event.summary.value]
    assert (event.step, event.summary.value[0].tag) == (5, "q")
    assert event.summary.value[0].histo.num == 2
    assert metrics.read(tmp_path / "metrics.jsonl") == []


def test_a_full_disk_is_an_error_and_leaves_no_half_row(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with MetricsWriter(tmp_path) as writer:
        writer.write({"agent_steps": 1})
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, hard))
        try:
            with pytest.raises(UserError, match="no space left"):
                writer.write({"agent_steps": 2, "text": "x" * 5_000})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        writer.write({"agent_steps": 3})
    steps = [row["agent_steps"] for row in metrics.read(tmp_path / "metrics.jsonl")]
    assert steps == [1, 3]


class LoopTracker:
    """The same as EpisodeTracker, game by game in plain Python."""

    def __init__(self, num_envs: int):
        self.games: list[list[float]] = [[] for _ in range(num_envs)]
        self.scores: list[float] = []

    def add(self, reward: np.ndarray, first: np.ndarray) -> list[tuple[int, float, int]]:
        finished = []
        for game, rewards in enumerate(self.games):
            if first[game]:
                if rewards:
                    finished.append((game, sum(rewards), len(rewards)))
                    self.scores.append(sum(rewards))
                self.games[game] = []
            else:
                rewards.append(float(reward[game]))
        return finished


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    num_envs=st.integers(1, 8), seed=st.integers(0, 2**32 - 1), ends=st.floats(0.0, 0.6)
)
def test_the_tracker_equals_a_plain_loop(num_envs: int, seed: int, ends: float) -> None:
    rng = np.random.default_rng(seed)
    tracker, loop = EpisodeTracker(num_envs), LoopTracker(num_envs)
    first = np.ones(num_envs, bool)
    for _ in range(80):
        reward = (rng.normal(size=num_envs) * 100).astype(np.float32)
        assert tracker.add(reward, first) == loop.add(reward, first)
        first = rng.random(num_envs) < ends
        if rng.random() < 0.02:
            tracker.cut()
            loop.games = [[] for _ in range(num_envs)]
            first = np.ones(num_envs, bool)
        if rng.random() < 0.1:  # killed and resumed
            saved = json.loads(json.dumps(tracker.state()))
            tracker = EpisodeTracker(num_envs)
            tracker.restore(saved)
            assert tracker.state() == saved
    assert tracker.episodes == len(loop.scores)
    for last in (1, 20, 100):
        recent = loop.scores[-last:]
        expected = pytest.approx(sum(recent) / len(recent)) if recent else None
        assert tracker.mean(last) == expected


def test_only_the_last_hundred_scores_count() -> None:
    tracker = EpisodeTracker(1)
    on, off = np.ones(1, bool), np.zeros(1, bool)
    for score in range(150):
        tracker.add(np.zeros(1, np.float32), on)
        tracker.add(np.full(1, score, np.float32), off)
    tracker.add(np.zeros(1, np.float32), on)
    assert tracker.mean() == np.mean(range(50, 150))
    assert (tracker.mean(20), tracker.episodes) == (np.mean(range(130, 150)), 150)


def test_scores_of_another_number_of_games_are_refused() -> None:
    with pytest.raises(UserError, match="scores of 2 games, expected 3"):
        EpisodeTracker(3).restore(EpisodeTracker(2).state())


def test_the_tracker_takes_arrays_of_jax() -> None:
    tracker = EpisodeTracker(2)
    tracker.add(jnp.zeros(2), jnp.ones(2, bool))  # type: ignore[arg-type]
    tracker.add(jnp.asarray([1.5, 2.0]), jnp.zeros(2, bool))  # type: ignore[arg-type]
    assert tracker.state()["sums"] == [1.5, 2.0]


def test_a_step_of_eight_games_takes_microseconds() -> None:
    tracker = EpisodeTracker(8)
    reward, first = np.ones(8, np.float32), np.zeros(8, bool)
    seconds = min(timeit.repeat(lambda: tracker.add(reward, first), number=1000, repeat=9)) / 1000
    assert seconds < 20e-6
