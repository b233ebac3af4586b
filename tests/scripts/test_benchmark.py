"""The benchmark measures what it says: real tiny runs, and its arithmetic by hand."""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from agents import registry
from dqnlab.types import UserError
from scripts import (
    benchmark,
    benchmark_flop,
    benchmark_options,
    benchmark_parts,
    benchmark_report,
    benchmark_suites,
    peers,
    startup,
)
from scripts.peers import Contender, Turn

ROOT = Path(__file__).resolve().parents[2]
TINY = ("--device cpu --rounds 2 --seconds 0.02 --num-envs 2").split()
# A comparison's own settings: what is compiled for the one test is there for the other.
NATURE = (*TINY, *("--replay-capacity 50000 --n-step 1 --torso nature --precision float32").split())
MLP = (*TINY, *("--replay-capacity 400 --torso mlp --hidden 16").split())


def run(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/benchmark.py", *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


def assert_positive(row: dict[str, object]) -> None:
    for name in ("median_per_second", "best_per_second", "cpu_seconds_per_unit"):
        assert row[name] > 0, name
    assert row["best_per_second"] >= row["median_per_second"]


def test_a_run_measures_every_part_of_training_on_real_pong(tmp_path):
    done = run(*NATURE, "--json", str(tmp_path / "all.json"))
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "all.json").read_text())
    (point,) = result["points"]
    assert tuple(point["parts"]) == benchmark_parts.PARTS
    for name, row in point["parts"].items():
        assert_positive(row)
        assert len(row["turns"]) == 2
        assert f"\n{name} " in done.stdout
    summary = point["summary"]
    assert summary.pop("device_peak_bytes") is None
    assert min(summary.values()) > 0
    # Nature network, batch 32: 18.69 MFLOP a sample and pass; two passes, and a gradient of two
    # more, less the first layer's gradient of its input (6.55).
    assert summary["gflop_per_update"] == pytest.approx(32 * (4 * 18.69 - 6.55) / 1e3, rel=1e-3)
    assert summary["frames_per_second"] == pytest.approx(4 * summary["loop_steps_per_second"])
    assert summary["host_peak_bytes"] > summary["replay_bytes"] > 50_000 * 84 * 84
    assert point["settings"]["num_envs"] == 2
    machine = result["machine"]
    assert machine["cores"] >= 1
    assert machine["jax"] == jax.__version__
    assert {"cpu", "device", "git_commit"} <= machine.keys()


def test_a_sweep_gives_a_table_and_a_figure(tmp_path):
    files = ["--plot", str(tmp_path / "threads.png"), "--json", str(tmp_path / "threads.json")]
    done = run(*MLP, "--sweep", "threads", "--values", "1", "2", *files)
    assert done.returncode == 0, done.stderr
    points = json.loads((tmp_path / "threads.json").read_text())["points"]
    assert [point["emulator_threads"] for point in points] == [1, 2]
    for point in points:
        for row in point["parts"].values():
            assert_positive(row)
    table = done.stdout.split("\n\n")[-1].splitlines()
    assert [line.split()[:2] for line in table[1:]] == [["threads", "1"], ["threads", "2"]]
    assert (tmp_path / "threads.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("sweep", "field", "values"),
    [
        ("games", "num_envs", [1, 256]),
        ("batch", "batch_size", [32, 1024]),
        ("replay", "replay_capacity", [10_000, 4_000_000]),
        ("precision", "precision", ["float32", "bfloat16"]),
    ],
)
def test_a_sweep_changes_one_setting_from_case_to_case(sweep, field, values):
    cases = benchmark_options.sweep_cases(benchmark_options.parse(["--sweep", sweep]))
    assert [getattr(case.settings, field) for case in (cases[0], cases[-1])] == values
    same = {dataclasses.replace(case.settings, **{field: values[0]}) for case in cases}
    assert len(same) == 1


@pytest.mark.parametrize(("sweep", "field"), [("threads", "num_threads"), ("groups", "groups")])
def test_a_sweep_over_the_emulator_leaves_the_settings_alone(sweep, field):
    options = benchmark_options.parse(["--sweep", sweep, "--values", "1", "2"])
    cases = benchmark_options.sweep_cases(options)
    assert [getattr(case, field) for case in cases] == [1, 2]
    assert cases[0].settings == cases[1].settings


def test_a_profile_is_a_trace_that_perfetto_can_load(tmp_path):
    done = run(*MLP, "--profile", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("plugins/profile/*/perfetto_trace.json.gz"))) == 1
    assert "https://ui.perfetto.dev" in done.stdout


# Stands for stable-baselines3: the same calls, and a loop that steps without games.
_STABLE_BASELINES = """
import json, sys
class DQN:
    def __init__(self, policy, env, **settings):
        print("prints of a peer are not answers")
        assert env == ("PongNoFrameskip-v4", 6), env
        assert (settings["train_freq"], settings["gradient_steps"]) == (2, 3), settings
        assert settings["batch_size"] == 32
    def learn(self, total_timesteps, callback):
        for _ in range(total_timesteps):
            callback._on_step()
"""


def test_a_peer_takes_turns_with_us(tmp_path, monkeypatch):
    package = tmp_path / "stable_baselines3"
    (package / "common").mkdir(parents=True)
    (package / "__init__.py").write_text(_STABLE_BASELINES)
    (package / "common" / "__init__.py").touch()
    (package / "common" / "callbacks.py").write_text("class BaseCallback: pass")
    (package / "common" / "env_util.py").write_text(
        "make_atari_env = lambda game, n_envs: (game, n_envs)"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    comparison = tmp_path / "peer.json"
    args = ("--against", "sb3", "--peer-envs", "6", "--peer-threads", "1", "--steps", "20")
    done = run(*NATURE, *args, "--json", str(comparison))
    assert done.returncode == 0, done.stderr
    result = json.loads(comparison.read_text())["comparison"]
    assert list(result["contenders"]) == ["dqnlab float32, 2 games", "sb3, 6 games"]
    for row in result["contenders"].values():
        assert_positive(row)
        assert all(turn["units"] >= 20 for turn in row["turns"])
    assert result["peer_omp_num_threads"] == "1"
    assert 0 < result["times_as_fast"]["dqnlab float32, 2 games"]["sb3, 6 games"] < 1


def test_a_peer_that_is_not_installed_is_one_line_with_the_command_that_installs_it():
    done = run(*TINY, "--against", "sb3")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "stable_baselines3" in line
    assert "pip install stable-baselines3" in line


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--rounds", "0"], "--rounds is 0"),
        (["--seconds", "nan"], "--seconds is nan"),
        (["--plot", "a.png"], "--sweep"),
        (["--plot", "a.txt", "--sweep", "games"], ".png or .svg"),
        (["--json", "/dev/null/a.json"], "/dev/null"),
        (["--sweep", "games", "--suite", "cpu"], "choose one"),
        (["--against", "sb4"], "sb3|cleanrl|dopamine|dqn_zoo"),
        (["--against", "sb3", "--game", "catch"], "Atari"),
        (["--against", "sb3", "--peer-envs", "0"], "--peer-envs"),
        (["--agent", "dqnn"], "did you mean dqn"),
        (["--preset", "labtop"], "did you mean laptop"),
        (["--batch-size", "0"], "batch_size is 0"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(args, said, capsys):
    with pytest.raises(SystemExit) as ended, startup.user_errors():
        benchmark.main(args)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--sweep", "batch", "--values", "many"], "--values many"),
        (["--sweep", "games", "--values", "0"], "num_envs is 0"),
        (["--sweep", "threads", "--game", "catch"], "Atari emulator"),
    ],
)
def test_a_sweep_over_impossible_values_is_refused(args, said):
    with pytest.raises(UserError, match=said):
        benchmark_options.sweep_cases(benchmark_options.parse(args))


def test_an_unknown_option_is_exit_code_2(capsys):
    with pytest.raises(SystemExit) as ended:
        benchmark.main(["--gmae", "Pong"])
    assert ended.value.code == 2
    assert "--game" in capsys.readouterr().err


def test_peers_alternate_and_the_ratio_is_the_median_over_the_rounds():
    order = []

    def contender(name: str, seconds: list[float]) -> Contender:
        left = iter(seconds)

        def turn(steps: int) -> Turn:
            order.append(name)
            return Turn(steps, next(left), 0.0)

        return Contender(name, turn, lambda: None)

    ours, theirs = contender("ours", [1.0, 2.0, 4.0]), contender("theirs", [3.0, 2.0, 20.0])
    turns = peers.take_turns([ours, theirs], steps=10, rounds=3)
    assert order == ["ours", "theirs"] * 3
    assert peers.ratio(turns["ours"], turns["theirs"]) == 3.0  # of 3, 1 and 5


def flop(function, *args) -> float:
    return benchmark_flop.count_flop(jax.make_jaxpr(function)(*args).jaxpr)


def test_flop_of_products_in_a_loop():
    matrix = jnp.ones((3, 3))
    assert flop(lambda a: lax.scan(lambda x, _: (x @ a, None), a, None, length=5)[0], matrix) == (
        5 * 2 * 3**3
    )


@pytest.mark.parametrize(("stride", "outputs"), [(1, 16), (2, 4)])
def test_flop_of_a_convolution_and_its_gradients_leave_out_the_zeros_between(stride, outputs):
    image, kernel = jnp.ones((1, 5, 5, 1)), jnp.ones((2, 2, 1, 1))

    def convolve(image, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        strides = (stride, stride)
        y = lax.conv_general_dilated(image, kernel, strides, "VALID", dimension_numbers=numbers)
        return y.sum()

    assert flop(convolve, image, kernel) == 2 * 4 * outputs
    both = jax.grad(convolve, argnums=(0, 1))
    assert flop(both, image, kernel) >= 2 * 2 * 4 * outputs
    assert math.isclose(flop(both, image, kernel), 3 * 2 * 4 * outputs)


def test_flop_of_a_choice_between_platforms_is_that_of_the_cheapest():
    def choose(a):
        return lax.platform_dependent(a, cpu=lambda x: x @ x @ x, default=lambda x: x @ x)

    assert flop(choose, jnp.ones((3, 3))) == 2 * 3**3


def test_agents_are_put_beside_the_first_by_arithmetic_and_time():
    def point(label, gflop, cpu_seconds):
        learn = {"median_per_second": 40.0, "cpu_seconds_per_unit": cpu_seconds}
        summary = {"gflop_per_update": gflop, "loop_steps_per_second": 1_234.0}
        return {"label": label, "parts": {"learn": learn}, "summary": summary}

    said = benchmark_report.table_of_updates([point("dqn", 2.0, 0.02), point("iqn", 5.0, 0.06)])
    rows = [line.split() for line in said.splitlines()[1:]]
    assert rows[0] == ["dqn", "40.0", "1,234", "2.00", "20.0", "1.00", "1.00", "1.00"]
    assert rows[1] == ["iqn", "40.0", "1,234", "5.00", "60.0", "2.50", "3.00", "1.20"]


def test_the_suite_of_agents_has_a_case_for_each_with_its_own_settings():
    options = benchmark_options.parse(["--suite", "agents", "--small"])
    cases = benchmark_suites.suite_cases(options)
    assert [case.label for case in cases] == list(registry.AGENTS)
    by_name = {case.label: case.settings for case in cases}
    assert by_name["btr"].torso == "auto_impala"
    assert by_name["pqn"].replay == "rollout"
    assert {s.replay_capacity for s in by_name.values()} == {4_000}


@pytest.mark.slow
def test_the_gpu_suite_can_be_tried_at_small_size(tmp_path):
    done = run(*TINY, "--suite", "gpu", "--small", "--json", str(tmp_path / "suite.json"))
    assert done.returncode == 0, done.stderr
    points = json.loads((tmp_path / "suite.json").read_text())["points"]
    assert [point["groups"] for point in points[:2]] == [2, 1]
    with_goals = [point for point in points if point["goals"]]
    assert len(with_goals) == len(points) - 1 == 4
    assert all(point["goals"]["frames_per_second"] > 0 for point in with_goals)
    assert done.stdout.count("goal: frames_per_second") == 4
