"""Evaluation, videos and the three lines of Python, on a run of real Pong."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

import agents
import envs
from dqnlab.types import UserError

ROOT = Path(__file__).resolve().parents[2]


def run(script: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, f"scripts/{script}.py", *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def pong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "pong"
    args = "--game ALE/Pong-v5 --frames 1600 --num-envs 4 --learning-starts 200 --device cpu"
    more = "--replay-capacity 500 --update-period 20 --batch-size 8 --hidden 16 --eval-episodes 0"
    more += " --target-update-period 200"
    done = run("train_dqn", *args.split(), *more.split(), "--run-dir", str(run_dir))
    assert done.returncode == 0, done.stderr
    return run_dir


def test_the_same_seed_gives_the_same_scores_and_every_started_game_counts(pong, tmp_path):
    results = []
    for name in ("one.json", "two.json"):
        path = tmp_path / name
        args = f"--checkpoint last --episodes 3 --num-envs 2 --seed 5 --json {path} --quiet"
        done = run("evaluate", str(pong), *args.split())
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        results.append(json.loads(path.read_text()))
    assert results[0] == results[1]
    result = results[0]
    assert result["episodes"] == len(result["scores"]) == len(result["lengths"]) == 3
    assert all(-21 <= score <= 21 for score in result["scores"])
    assert result["mean"] == pytest.approx(np.mean(result["scores"]))
    assert result["min"] <= result["mean_ci95"][0] <= result["mean_ci95"][1] <= result["max"]
    assert result["human_normalized"] == pytest.approx((result["mean"] + 20.7) / (14.6 + 20.7))
    assert result["protocol"]["sticky_actions"] == 0.25


def test_the_video_shows_the_game_in_colour_and_changes(pong, tmp_path):
    path = tmp_path / "game.mp4"
    done = run("evaluate", str(pong), *f"--checkpoint last --episodes 1 --video {path}".split())
    assert done.returncode == 0, done.stderr
    decode = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path)]
    decode += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(decode, capture_output=True, check=True, timeout=120).stdout
    frames = np.frombuffer(raw, np.uint8).reshape(-1, 420, 320, 3)
    assert len(frames) > 500  # a lost game of Pong takes more than 40 seconds
    assert (frames[100] != frames[400]).any()
    assert (frames[200].max(axis=2) != frames[200].min(axis=2)).any()  # not grey


def test_three_lines_of_python_give_q_values_and_actions(pong):
    policy = agents.load(pong, "last")
    frames = np.random.default_rng(0).integers(0, 256, (3, 84, 84, 4), np.uint8)
    q, actions = policy.q_values(frames), policy.act(frames)
    assert q.shape == (3, 6)
    assert q.dtype == np.float32
    np.testing.assert_array_equal(actions, np.argmax(q, axis=1))
    with pytest.raises(UserError, match=r"uint8\[B, 84, 84, 4\]"):
        policy.q_values(frames[:, :, :, :3])
    with pytest.raises(UserError, match="float32"):
        policy.q_values(frames.astype(np.float32))


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--checkpoint", "123"], "it has:"),
        (["--episodes", "0"], "episodes is 0"),
        (["--epsilon", "2"], "--epsilon is 2.0"),
        (["--protocol", "atari100"], "did you mean atari100k"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(pong, args, says):
    done = run("evaluate", str(pong), "--checkpoint", "last", *args)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert says in done.stderr.splitlines()[-1]


def test_weights_of_a_game_with_as_many_other_actions_are_refused(pong, tmp_path):
    """Pong and Qbert have 6 actions each: by their shapes the weights would fit."""
    qbert = tmp_path / "qbert"
    shutil.copytree(pong, qbert)
    env = envs.make("Qbert", 4)
    config = json.loads((pong / "config.json").read_text())
    config["spec"] |= {"game": "Qbert", "action_meanings": list(env.spec.action_meanings)}
    env.close()
    assert len(config["spec"]["action_meanings"]) == config["spec"]["num_actions"] == 6
    (qbert / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"of the game Pong; .* of Qbert"):
        agents.load(qbert, "last")


def test_a_folder_that_is_no_run_is_named(tmp_path):
    done = run("evaluate", str(tmp_path))
    assert done.returncode == 2
    assert str(tmp_path) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
