"""The training command as a user types it: real short runs, and every mistake as one line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHORT = (
    "--game catch --num-envs 4 --frames 1200 --log-every 400 --checkpoint-every 400 "
    "--learning-starts 200 --replay-capacity 1000 --hidden 16 --eval-episodes 4 --device cpu"
).split()


def run(*args: str, script: str = "scripts/train_dqn.py") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, script, *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "short"
    done = run(*SHORT, "--run-dir", str(run_dir))
    assert done.returncode == 0, done.stderr
    assert "0.00 GB" in done.stdout  # the replay's memory is said before it is taken
    return run_dir


def test_a_run_writes_everything_that_its_folder_promises(short_run):
    rows = [json.loads(x) for x in (short_run / "metrics.jsonl").read_text().splitlines()]
    assert [row["frames"] for row in rows] == [400, 800, 1200]
    promised = (
        "agent_steps frames updates seconds frames_per_second episode_return_mean episodes loss "
        "q_mean grad_norm epsilon"
    )
    assert set(promised.split()) <= rows[-1].keys()
    assert rows[-1]["updates"] == (1200 - 200) // 8 + 1  # at steps 200, 208, .. 1200
    assert rows[-1]["loss"] > 0
    config = json.loads((short_run / "config.json").read_text())
    assert config["options"]["game"] == "catch"
    assert config["settings"]["hidden"] == 16
    assert config["versions"]["jax"]
    assert len(list(short_run.glob("checkpoints/0*"))) == 2
    assert (short_run / "weights" / "best.safetensors").exists()
    assert list(short_run.glob("events*"))
    evaluation = json.loads((short_run / "eval.json").read_text())
    assert evaluation["episodes"] == 4
    assert evaluation["human_normalized"] is None


def test_a_run_too_short_to_finish_20_games_has_its_last_weights_as_the_best(tmp_path):
    args = "--frames 160 --checkpoint-every 80 --learning-starts 40 --eval-episodes 0".split()
    run_dir = tmp_path / "run"
    assert run(*SHORT, *args, "--run-dir", str(run_dir)).returncode == 0
    best, last = run_dir / "weights" / "best.safetensors", run_dir / "weights" / "000000000160"
    assert json.loads((run_dir / "checkpoints/000000000160/manifest.json").read_text())
    assert best.read_bytes() == last.with_suffix(".safetensors").read_bytes()


def test_a_finished_run_says_so_and_does_not_play_again(short_run):
    evaluation, metrics = short_run / "eval.json", short_run / "metrics.jsonl"
    before = evaluation.stat().st_mtime_ns, metrics.read_bytes()
    done = run("--resume", str(short_run))
    assert done.returncode == 0, done.stderr
    assert f"{short_run} is finished after 1,200 frames; add --frames" in done.stdout
    assert (evaluation.stat().st_mtime_ns, metrics.read_bytes()) == before


def test_a_longer_frames_goes_on_with_a_finished_run(short_run):
    done = run("--resume", str(short_run), "--frames", "1600", "--eval-episodes", "0", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    rows = (short_run / "metrics.jsonl").read_text().splitlines()
    assert json.loads(rows[-1])["frames"] == 1600


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--game", "Pongg"], "did you mean Pong"),
        (["--agent", "dqnn"], "did you mean dqn"),
        (["--preset", "labtop"], "did you mean laptop"),
        (["--protocol", "machado"], "did you mean machado2018"),
        (["--num-envs", "0"], "num_envs is 0"),
        (["--frames", "-5"], "--frames is -5"),
        (["--batch-size", "2000"], "batch_size is 2000"),
        (["--discount", "1.5"], "discount is 1.5"),
        (["--learning-rate", "nan"], "learning_rate is nan"),
        (["--optimizer", "adamm"], "adam"),
        (["--torso", "nature"], "36x36"),
        (["--device", "gpu"], "--device gpu"),
        (["--resume", "/nowhere/at/all"], "/nowhere/at/all"),
        (["--replay-capacity", "9000000000", "--torso", "mlp"], "--replay-capacity"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(args, says, tmp_path):
    done = run(*SHORT, "--run-dir", str(tmp_path / "run"), *args)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("args", [["--gmae", "Pong"], ["--frames", "many"], ["--device", "tpu"]])
def test_a_wrong_flag_names_the_flag_and_exits_with_2(args):
    done = run(*args)
    assert done.returncode == 2
    assert args[0] in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_an_existing_run_folder_is_not_written_over(short_run):
    before = (short_run / "config.json").read_bytes()
    done = run(*SHORT, "--run-dir", str(short_run))
    assert done.returncode == 2
    assert "--resume" in done.stderr
    assert (short_run / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--game", "Pong"], "game was 'catch'"),
        (["--discount", "0.5"], "discount was 0.99"),
        (["--hidden", "32"], "hidden was 16"),
    ],
)
def test_a_resumed_run_keeps_its_settings(short_run, args, says):
    done = run("--resume", str(short_run), *args)
    assert done.returncode == 2
    assert says in done.stderr


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(tmp_path):
    run_dir = tmp_path / "run"
    args = ["--run-dir", str(run_dir), "--learning-rate", "1e30", "--max-grad-norm", "None"]
    done = run(*SHORT, *args, "--reward-clip", "None", "--huber-delta", "None")
    assert done.returncode == 2
    assert "not finite at update" in done.stderr


def test_the_command_also_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "scripts.train_dqn", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0
    for flag in ("--game", "--replay-capacity", "--n-step", "--resume"):
        assert flag in done.stdout


def test_a_vector_game_of_gymnasium_trains_through_the_same_command(tmp_path):
    run_dir = tmp_path / "run"
    args = "--game CartPole-v1 --num-envs 4 --frames 800 --log-every 400 --learning-starts 100"
    more = "--replay-capacity 1000 --hidden 16 --eval-episodes 2 --device cpu"
    done = run(*args.split(), *more.split(), "--run-dir", str(run_dir))
    assert done.returncode == 0, done.stderr
    assert json.loads((run_dir / "eval.json").read_text())["mean"] > 5
