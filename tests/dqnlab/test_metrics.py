"""Rows that survive kills and resumes."""

import json
import os
import resource
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from dqnlab import metrics
from dqnlab.metrics import MetricsWriter
from dqnlab.types import UserError
from tests.dqnlab.tensorboard import events


def write_rows(folder: Path, steps: range, resume_step: int | None = None) -> None:
    with MetricsWriter(folder, resume_step) as writer:
        for step in steps:
            writer.write({"agent_steps": step, "loss": step / 3, "note": "x"})


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


def test_scalars_are_tagged_with_their_group(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path, tag=lambda name: f"learning/{name}") as writer:
        writer.write({"agent_steps": 1, "loss": 0.5})
    tags = [value.tag for event in events(tmp_path) for value in event.summary.value]
    assert tags == ["learning/loss"]
    assert metrics.read(tmp_path / "metrics.jsonl")[0]["loss"] == 0.5


def test_histograms_leave_out_what_is_not_finite(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path) as writer:
        writer.write_histogram("q", jnp.asarray([1.0, 2.0, jnp.nan, jnp.inf]), 5)
        writer.write_histogram("none", [np.nan], 5)
    (event,) = [event for event in events(tmp_path) if event.summary.value]
    assert (event.step, event.summary.value[0].tag) == (5, "q")
    assert event.summary.value[0].histo.num == 2
    assert metrics.read(tmp_path / "metrics.jsonl") == []


def test_a_partial_row_is_replaced_when_the_run_goes_on(tmp_path: Path) -> None:
    """Also the one at the step of the checkpoint, which the row that was due later contains."""
    with MetricsWriter(tmp_path) as writer:
        writer.write({"agent_steps": 10, "loss": 1.0})
        writer.write({"agent_steps": 15, "loss": 2.0, metrics.PARTIAL: True})
    assert [row["agent_steps"] for row in metrics.read(tmp_path / "metrics.jsonl")] == [10, 15]
    with MetricsWriter(tmp_path, resume_step=15) as writer:
        writer.write({"agent_steps": 20, "loss": 3.0})
    assert [row["agent_steps"] for row in metrics.read(tmp_path / "metrics.jsonl")] == [10, 20]
    starts = [event.step for event in events(tmp_path) if event.HasField("session_log")]
    assert starts == [15]  # TensorBoard hides what was written from there on


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


def test_a_disk_that_is_full_for_events_is_an_error_also_when_they_are_closed(
    tmp_path: Path,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = MetricsWriter(tmp_path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(UserError, match="events"):
            writer.write_histogram("q", np.arange(50), 1)
        with pytest.raises(UserError, match="events"):  # what was refused is tried once more
            writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.close()  # there is room again
