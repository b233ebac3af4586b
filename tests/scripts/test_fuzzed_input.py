"""Thousands of command lines, configs and metrics that nobody would write: never a traceback.

Everything that reads is called in this process: an exception that is neither a UserError (one line
and exit code 2) nor argparse's own exit would be a traceback for a user.
"""

import contextlib
import copy
import dataclasses
import io
import json
import math
import os
from pathlib import Path
from typing import Any

import jax
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents import policy, registry
from agents.limits import check as check_settings
from agents.settings import Settings
from dqnlab import metrics
from dqnlab.types import EnvSpec, UserError
from scripts import options, plot_runs, report, report_content, run_queue, run_suite, runs

MANY = int(os.environ.get("DQNLAB_FUZZ", "150"))  # the documented figures are with 5000
RELAXED = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}
FIELDS = [field.name for cls in (options.Options, Settings) for field in dataclasses.fields(cls)]
ODD = ["", "0", "-1", "nan", "inf", "1e400", "99999999999999999999", "None", "True", "\0", "é", "-"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["Pong", "dqn", "laptop", "nature", "mlp", "../..", "<script>"]),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """Known and misspelt flags, with values that fit, that do not, or none."""
    words = []
    for _ in range(draw(st.integers(1, 4))):
        name = draw(st.sampled_from(FIELDS))
        flag = "--" + name.replace("_", "-")
        words.append(draw(st.sampled_from([flag, flag, flag, flag[:-1], flag.upper(), name])))
        value = draw(
            st.one_of(
                st.sampled_from(ODD),
                st.integers(-5, 10**7).map(str),
                st.floats().map(repr),
                st.text(max_size=6),
                st.none(),
            )
        )
        if value is not None:
            words.append(value)
    return words


def is_clean(call: Any, *args: Any) -> bool:
    """Whether the call returned; False where it refused as it should. Anything else is raised."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            call(*args)
            return True
        except UserError as error:
            is_said = bool(str(error).strip())
        except SystemExit as leaving:
            is_said = leaving.code in (0, 2)
    assert is_said
    return False


@settings(max_examples=MANY, **RELAXED)
@given(command_lines())
def test_any_command_line_of_training_is_options_or_a_clean_error(words: list[str]):
    is_clean(options.parse, words, None)


@settings(max_examples=MANY, **RELAXED)
@given(command_lines())
def test_any_command_line_of_the_other_scripts_is_refused_cleanly(words: list[str]):
    for script in (plot_runs, report, run_suite):
        if script is run_suite:  # without a mistake it would train
            words = [*words, "--seeds", "0"]
        is_clean(script.main, [each for each in words if each != "--out"])


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of catch as the real writers write it, with weights."""
    path = tmp_path_factory.mktemp("run")
    spec = EnvSpec("catch", 4, 3, ("a", "b", "c"), (10, 5), "uint8", 1, 1, {"name": "catch"}, True)
    small = Settings(num_envs=4, hidden=16, torso="mlp", precision="float32")
    words = {k: v for k, v in vars(options.Options()).items() if k not in _NOT_SAVED}
    policy.write_config(path, "dqn", small, spec, {**words, "game": "catch"})
    agent = registry.make("dqn", small, spec)
    params, net_state = agent.init(jax.random.PRNGKey(0))
    (path / "weights").mkdir()
    policy.save(path / "weights" / "best.safetensors", params, net_state, 100)
    with metrics.MetricsWriter(path) as writer:
        writer.write({"agent_steps": 4, "frames": 4, "episode_return_mean": 1.0, "updates": 1})
    return path


_NOT_SAVED = {"settings", "run_dir", "resume"}


def read_everything(path: Path) -> None:
    """What any command reads of a run folder before it works."""
    for read in (
        policy.read_config,
        options.read_options,
        policy.load,
        lambda path: runs.load(path, "episode_return_mean"),
        report_content.read_evaluation,
    ):
        is_clean(read, path)


@settings(max_examples=MANY, **RELAXED)
@given(st.data())
def test_any_changed_config_is_read_or_refused(run_dir: Path, data: st.DataObject):
    content = json.loads((run_dir / "config.json").read_bytes())
    original = copy.deepcopy(content)
    for _ in range(data.draw(st.integers(1, 2))):
        place = content
        while True:
            key = data.draw(st.sampled_from(sorted(place)) if place else st.just("new"))
            below = place.get(key)
            if not isinstance(below, dict) or data.draw(st.integers(0, 3)) == 0:
                break
            place = below
        if data.draw(st.booleans()):
            place[key] = data.draw(JSON)
        else:
            place.pop(key, None)
    (run_dir / "config.json").write_text(json.dumps(content))
    try:
        read_everything(run_dir)
    finally:
        (run_dir / "config.json").write_text(json.dumps(original))
    assert is_clean(policy.load, run_dir)


def test_every_single_value_of_a_config_may_be_absurd(run_dir: Path):
    original = json.loads((run_dir / "config.json").read_bytes())
    absurd = {
        int: [-1, 0, 10**12, 2**70],
        float: [-1.0, 0.0, math.nan, 1e308],
        str: ["", "nope"],
        list: [[], [0], [-1], [10**9], [10**6, 10**6]],
    }
    refused = 0
    for part in ("settings", "spec"):
        for name, value in original[part].items():
            for other in absurd.get(type(value), [1, -1, None]):
                changed = copy.deepcopy(original)
                changed[part][name] = other
                (run_dir / "config.json").write_text(json.dumps(changed))
                refused += not is_clean(policy.load, run_dir)
    (run_dir / "config.json").write_text(json.dumps(original))
    assert refused > 100


@settings(max_examples=MANY, **RELAXED)
@given(st.binary(max_size=60), st.integers(0, 3000))
def test_any_bytes_in_place_of_a_json_file_are_refused(run_dir: Path, junk: bytes, at: int):
    for name in ("config.json", "metrics.jsonl", "eval.json", run_queue.STATE):
        path = run_dir / name
        before = path.read_bytes() if path.exists() else None
        path.write_bytes((before or b"{}")[:at] + junk)
        try:
            read_everything(run_dir)
            is_clean(run_queue.open_suite, run_dir, [], 1, 1)
        finally:
            path.unlink() if before is None else path.write_bytes(before)


@settings(max_examples=MANY, **RELAXED)
@given(st.lists(st.dictionaries(st.sampled_from(["agent_steps", "frames", "loss"]), SCALARS)))
def test_any_rows_of_metrics_are_read_or_refused(run_dir: Path, rows: list[dict[str, Any]]):
    path = run_dir / "other.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    is_clean(metrics.read, path)


@settings(max_examples=MANY, **RELAXED)
@given(st.dictionaries(st.sampled_from([f.name for f in dataclasses.fields(Settings)]), SCALARS))
def test_any_settings_are_checked_without_a_traceback(values: dict[str, Any]):
    typed = {
        name: value
        for name, value in values.items()
        if isinstance(value, int | float) and type(value) is type(getattr(Settings(), name))
    }
    is_clean(check_settings, Settings(**typed))


def test_what_a_refusal_is():
    assert is_clean(lambda: None)
    assert not is_clean(options.parse, ["--frames", "0"], None)
    with pytest.raises(ZeroDivisionError):
        is_clean(lambda: 1 / 0)
