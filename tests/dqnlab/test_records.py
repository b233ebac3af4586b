"""JSON becomes a dataclass of the right types, or a clear error."""

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

import pytest

from dqnlab import records
from dqnlab.types import EnvSpec, UserError


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    clip: float | None = None


@dataclasses.dataclass(frozen=True)
class Outer:
    name: str = "x"
    count: int = 1
    mode: Literal["a", "b"] = "a"
    shape: tuple[int, ...] = (1, 2)
    pair: tuple[int, str] = (1, "x")
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)
    path: Path | None = None
    inner: Inner = Inner()


def as_json(record: Any) -> Any:
    return json.loads(json.dumps(dataclasses.asdict(record), default=str))


@pytest.mark.parametrize(
    "record",
    [
        Outer(),
        Outer("y", -(2**70), "b", (), (3, "z"), {"k": [1]}, Path("a/b"), Inner(1e-300, 2.0)),
    ],
)
def test_a_record_comes_back(record: Outer) -> None:
    assert records.load(Outer, as_json(record), "config") == record


def test_the_spec_of_games_comes_back() -> None:
    spec = EnvSpec("Pong", 8, 6, ("NOOP", "FIRE"), (84, 84), "uint8", 4, 4, {"sticky": 0.25}, False)
    assert records.load(EnvSpec, as_json(spec), "spec") == spec


def test_whole_numbers_become_floats() -> None:
    rate = records.load(Inner, {"rate": 1, "clip": 2}, "x").rate
    assert (rate, type(rate)) == (1.0, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nmae": "x"}, "config: unknown key 'nmae'; did you mean 'name'?"),
        ({"count": 1.0}, "config: count is 1.0; it must be int"),
        ({"count": True}, "config: count is True; it must be int"),
        ({"name": None}, "config: name is None; it must be str"),
        ({"mode": "c"}, r"config: mode is 'c'; it must be typing.Literal\['a', 'b'\]"),
        ({"shape": 3}, r"config: shape is 3; it must be tuple\[int, ...\]"),
        ({"shape": [1, "2"]}, "config: shape is '2'; it must be int"),
        ({"pair": [1]}, "config: pair is"),
        ({"extra": []}, "config: extra is"),
        ({"path": 3}, "config: path is 3"),
        ({"inner": {"rate": "fast", "clip": None}}, "config: inner: rate is 'fast'"),
        (
            {"inner": {"rate": 0.1, "clop": None}},
            "config: inner: unknown key 'clop'; did you mean 'cl",
        ),
        ({"inner": 3}, "config: inner: 3 is no JSON object"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        records.load(Outer, {**as_json(Outer()), **change}, "config")


def test_what_is_younger_than_the_file_has_its_default_and_is_named(caplog):
    values = as_json(Outer(name="y", inner=Inner(0.5, 2.0)))
    del values["count"], values["extra"], values["inner"]["clip"]
    assert records.load(Outer, values, "config") == Outer(name="y", inner=Inner(0.5))
    inner, outer = (record.getMessage() for record in caplog.records)
    assert inner.endswith("config: inner is older than some settings, which mean there: clip None")
    assert outer.endswith("config is older than some settings, which mean there: count 1, extra {}")
    assert "\n" not in inner + outer


def test_a_complete_file_says_nothing(caplog):
    records.load(Outer, as_json(Outer()), "config")
    assert not caplog.records


def test_what_has_no_default_cannot_be_missing():
    values = as_json(
        EnvSpec("Pong", 8, 6, ("NOOP", "FIRE"), (84, 84), "uint8", 4, 4, {"sticky": 0.25}, False)
    )
    del values["stack"], values["game"]
    with pytest.raises(UserError, match="spec: game, stack missing"):
        records.load(EnvSpec, values, "spec")
