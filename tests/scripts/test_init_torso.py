"""`--init-torso`: a run starts with another one's torso, says so, and resumes exactly."""

import json

import numpy as np
import pytest

from dqnlab import transfer
from dqnlab.types import UserError
from dqnlab.weights import load_weights
from scripts import train_dqn, train_supervised

SMALL = (
    "--game Pong --num-envs 2 --replay-capacity 400 --learning-starts 40 --update-period 20 "
    "--batch-size 4 --hidden 16 --torso-width 1 --eval-episodes 0 --device cpu --quiet "
    "--checkpoint-every 400 --log-every 400 --target-update-period 40"
).split()


def train(run_dir, *args):
    assert train_dqn.main([*SMALL, "--run-dir", str(run_dir), *args]) == 0


def torso_at(run_dir, step):
    tree, _ = load_weights(run_dir / "weights" / f"{step:012d}.safetensors")
    return transfer.torso_of({k.removeprefix("params:"): v for k, v in tree.items()})


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "source"
    train(run_dir, "--frames", "8", "--seed", "1")
    return run_dir


@pytest.mark.slow
def test_a_run_starts_with_the_torso_and_resumes_exactly(source, tmp_path):
    args = ["--init-torso", str(source), "--seed", "2", "--keep", "9"]
    train(tmp_path / "whole", *args, "--frames", "1600")
    expected = transfer.load_torso(source)
    started = torso_at(tmp_path / "whole", 0)
    for module, arrays in expected.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(started[module][name], array)
    config = json.loads((tmp_path / "whole" / "config.json").read_text())
    assert config["options"]["init_torso"] == str(source)

    train(tmp_path / "part", *args, "--frames", "800")
    assert train_dqn.main(["--resume", str(tmp_path / "part"), "--frames", "1600", "--quiet"]) == 0
    whole, part = (torso_at(tmp_path / name, 400) for name in ("whole", "part"))
    first = "centred_nature_torso/conv2_d"
    np.testing.assert_array_equal(whole[first]["w"], part[first]["w"])
    assert not np.array_equal(whole[first]["w"], expected[first]["w"])
    with pytest.raises(UserError, match="init_torso was"):
        train_dqn.main(["--resume", str(tmp_path / "part"), "--init-torso", "elsewhere"])


@pytest.mark.slow
def test_a_torso_that_sees_other_frames_is_a_clear_error(monkeypatch, tmp_path):
    monkeypatch.setenv("DQNLAB_DATA", str(tmp_path / "frames"))
    one_frame = "frame-autoencoder --games Pong --episodes 3 --frames 12 --code 4".split()
    one_frame += [
        "--epochs",
        "1",
        "--batch-size",
        "4",
        "--device",
        "cpu",
        "--run-dir",
        str(tmp_path / "one"),
    ]
    assert train_supervised.main(one_frame) == 0
    with pytest.raises(UserError, match=r"does not fit: .*\[8, 8, 1, 32\], .*\[8, 8, 4, 32\]"):
        train(
            tmp_path / "agent",
            "--frames",
            "8",
            "--init-torso",
            str(tmp_path / "one"),
            "--no-centre-frames",
        )
    with pytest.raises(UserError, match="--centre-frames must be the same"):
        train(tmp_path / "other", "--frames", "8", "--init-torso", str(tmp_path / "one"))


def test_a_folder_without_weights_is_a_clear_error(tmp_path):
    with pytest.raises(UserError, match="has no weights to start from"):
        train(tmp_path / "agent", "--frames", "8", "--init-torso", str(tmp_path))
