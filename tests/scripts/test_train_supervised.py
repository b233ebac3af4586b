"""The supervised command as a user types it: real short runs, and every mistake as one line."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from dqnlab import idx
from dqnlab.weights import load_weights
from scripts import startup, train_supervised
from scripts.tasks import saved, table

ROOT = Path(__file__).resolve().parents[2]
SHORT = "digits-mlp --hidden 8 --epochs 3 --device cpu".split()


@pytest.fixture(autouse=True)
def signals():
    """The command puts its own handlers in place, and a compile cache."""
    before = [(each, signal.getsignal(each)) for each in (signal.SIGINT, signal.SIGTERM)]
    yield
    for number, handler in before:
        signal.signal(number, handler)


def run(*args: str) -> int:
    """In this process, which has JAX loaded already."""
    with startup.user_errors():
        return train_supervised.main(list(args))


def command(*args: str) -> list[str]:
    return [sys.executable, "scripts/train_supervised.py", *args]


def rows(run_dir: Path) -> list[dict[str, float]]:
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(x).items() if k != "seconds"} for x in lines]


def assert_same_run(one: Path, other: Path) -> None:
    assert rows(one) == rows(other)
    for name in ("last", "best"):
        paths = [path / f"weights/{name}.safetensors" for path in (one, other)]
        jax.tree.map(np.testing.assert_array_equal, *(load_weights(path)[0] for path in paths))
        assert paths[0].read_bytes() == paths[1].read_bytes()
    for name in ("info.json", "curves.png"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


@pytest.fixture(scope="module")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "short"
    done = subprocess.run(
        command(*SHORT, "--run-dir", str(run_dir)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "test_error_percent" in done.stdout
    return run_dir


def test_a_run_writes_everything_that_its_folder_promises(short_run):
    config = json.loads((short_run / "config.json").read_text())
    assert (config["kind"], config["task"], config["seed"]) == ("supervised", "digits-mlp", 0)
    assert config["config"]["hidden"] == [8]
    assert config["versions"]["jax"]
    assert [row["epoch"] for row in rows(short_run)] == [1, 2, 3]
    assert {"loss", "error", "grad_norm"} <= rows(short_run)[0].keys()
    result = json.loads((short_run / "result.json").read_text())
    assert result["parameters"] == 64 * 8 + 8 + 8 * 10 + 10
    assert 0 < result["figures"]["test_error_percent"] < 90
    assert (short_run / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert list(short_run.glob("events*"))
    assert list(short_run.glob("checkpoints/0*"))


def test_the_saved_net_gives_the_figure_that_the_run_reported(short_run):
    trained = saved.load(short_run)
    splits = table.find("digits-mlp").load(trained.config, trained.seed)
    figures = table.find("digits-mlp").report(trained, splits, short_run)
    assert figures == json.loads((short_run / "result.json").read_text())["figures"]
    assert trained.x.shape == (8, 8, 1)


@pytest.mark.parametrize(
    ("number", "code", "every"),
    [(signal.SIGINT, 130, "60"), (signal.SIGKILL, -signal.SIGKILL, "0")],
    ids=["ctrl-c", "kill -9"],
)
def test_stopped_or_killed_and_resumed_it_equals_one_that_was_not(number, code, every, tmp_path):
    args = "digits-mlp --hidden 8 --epochs 400 --batches-per-launch 4 --schedule constant"
    args = [*args.split(), "--device", "cpu", "--quiet"]
    process = subprocess.Popen(
        command(*args, "--checkpoint-seconds", every, "--run-dir", str(tmp_path / "part")),
        cwd=ROOT,
        stderr=subprocess.PIPE,
    )
    while not (tmp_path / "part/metrics.jsonl").exists() or len(rows(tmp_path / "part")) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    process.communicate(timeout=120)
    assert process.returncode == code
    stopped_at = len(rows(tmp_path / "part"))
    assert 3 <= stopped_at < 400
    more = str(stopped_at + 4)
    assert run("--resume", str(tmp_path / "part"), "--epochs", more, "--quiet") == 0
    args[args.index("400")] = more
    assert run(*args, "--run-dir", str(tmp_path / "whole")) == 0
    assert_same_run(tmp_path / "part", tmp_path / "whole")


def test_several_seeds_are_several_splits_with_mean_and_spread(tmp_path, capsys):
    run_dir = tmp_path / "seeds"
    assert run(*SHORT, "--epochs", "1", "--seeds", "2", "--run-dir", str(run_dir)) == 0
    figures = json.loads((run_dir / "result.json").read_text())["figures"]["test_error_percent"]
    one, other = figures["values"]
    assert one != other
    assert figures["mean"] == pytest.approx((one + other) / 2)
    assert figures["std"] == pytest.approx(abs(one - other) / 2**0.5)
    assert "over 2 seeds" in capsys.readouterr().out


def test_every_task_is_listed_with_its_figure_and_minutes(capsys):
    assert run("--list") == 0
    printed = capsys.readouterr().out
    for name, task in table.TASKS.items():
        assert name in printed
        assert task.goal in printed
        assert 0 < task.minutes <= 30


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["digits-mpl"], "did you mean digits-mlp"),
        ([], "name a task first: "),
        (["--epochs", "3"], "name a task first"),
        ([*SHORT, "--epochs", "0"], "--epochs is 0; at least 1"),
        ([*SHORT, "--batch-size", "0"], "--batch-size is 0"),
        ([*SHORT, "--learning-rate", "-1"], "learning_rate is -1"),
        ([*SHORT, "--learning-rate", "nan"], "learning_rate is nan"),
        ([*SHORT, "--optimizer", "adamm"], "'adamm' is unknown; did you mean adam"),
        ([*SHORT, "--schedule", "cosin"], "'cosin' is unknown"),
        ([*SHORT, "--seeds", "0"], "--seeds is 0"),
        ([*SHORT, "--patience", "3"], "holds no validation data back"),
        (
            [*SHORT, "--seed", "4294967296"],
            "--seed is 4294967296; seeds are",
        ),
        ([*SHORT, "--hidden", "8", "0"], "--hidden is (8, 0); at least 1 unit"),
        ([*SHORT, "--dropout", "1"], "--dropout is 1.0; a share in 0..1"),
        ([*SHORT, "--l2", "nan"], "--l2 is nan; at least 0"),
        ([*SHORT, "--max-grad-norm", "0"], "--max-grad-norm is 0"),
        (["--resume", "/nowhere/at/all"], "/nowhere/at/all"),
        (["idx-files"], "needs --data FOLDER"),
        (["idx-files", "--data", "/nowhere"], "/nowhere is no folder"),
        ([*SHORT, "--learning-rate", "1e30", "--optimizer", "sgd"], "not finite in epoch"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(args, says, tmp_path, capsys):
    place = ["--run-dir", str(tmp_path / "run")] if args and args[0] in table.TASKS else []
    with pytest.raises(SystemExit) as exit_:
        run(*args, *place)
    assert exit_.value.code == 2
    error = capsys.readouterr().err.strip()
    assert says in error
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--hidden", "9"], "hidden was (8,) and cannot become (9,)"),
        (["--epochs", "9"], "as its schedule depends on it"),
        (["--seed", "1"], "no other --seed"),
    ],
)
def test_a_resumed_run_keeps_its_settings(short_run, args, says, capsys):
    with pytest.raises(SystemExit) as exit_:
        run("--resume", str(short_run), *args)
    assert exit_.value.code == 2
    assert says in capsys.readouterr().err


def test_an_existing_run_folder_is_not_written_over(short_run, capsys):
    before = (short_run / "config.json").read_bytes()
    with pytest.raises(SystemExit):
        run(*SHORT, "--run-dir", str(short_run))
    assert "--resume" in capsys.readouterr().err
    assert (short_run / "config.json").read_bytes() == before


def test_a_run_whose_data_have_changed_is_not_resumed(short_run, capsys):
    path = short_run / "info.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "data": "0" * 32}))
    with pytest.raises(SystemExit):
        run("--resume", str(short_run))
    path.write_text(json.dumps(content))
    assert "began with other data" in capsys.readouterr().err


def test_a_classifier_generates_nothing_and_the_tasks_that_do_are_named(short_run, capsys):
    for args, says in (([str(short_run)], "tasks that do: char-rnn"), ([], "needs the run folder")):
        with pytest.raises(SystemExit):
            run("--sample", *args)
        assert says in capsys.readouterr().err


def write_idx(folder: Path, labels: np.ndarray, images: np.ndarray) -> None:
    for part, chosen in (("train", slice(None, 300)), ("t10k", slice(300, None))):
        idx.write(folder / f"{part}-images-idx3-ubyte.gz", images[chosen])
        idx.write(folder / f"{part}-labels-idx1-ubyte", labels[chosen])


@pytest.mark.parametrize(
    ("shape", "dtype", "args", "says"),
    [
        ((400, 8, 8), "uint8", [], "images are uint8[8, 8]; LeNet takes bytes, 12 x 12 or more"),
        ((400, 12, 12), "float32", [], "images are float32[12, 12]"),
        ((400, 12, 12), "uint8", ["--validation", "nan"], "--validation is nan"),
        ((300, 12, 12), "uint8", [], "t10k has no examples"),
    ],
)
def test_files_that_lenet_cannot_learn_from_are_refused(shape, dtype, args, says, tmp_path, capsys):
    write_idx(tmp_path, np.arange(shape[0], dtype=np.uint8) % 3, np.zeros(shape, dtype))
    with pytest.raises(SystemExit):
        run("idx-files", "--data", str(tmp_path), *args, "--run-dir", str(tmp_path / "run"))
    assert says in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_files_in_mnists_format_train_and_a_class_without_examples_is_named(tmp_path, capsys):
    # Vertical bars at three places: learnt at once.
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 400).astype(np.uint8)
    images = rng.integers(0, 60, (400, 12, 12)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 2 + 3 * label : 4 + 3 * label] = 250
    write_idx(tmp_path, labels, images)
    args = ["idx-files", "--data", str(tmp_path), "--shift", "0.5", "--device", "cpu"]
    run_dir = tmp_path / "run"
    assert run(*args, "--epochs", "6", "--batch-size", "32", "--run-dir", str(run_dir)) == 0
    result = json.loads((run_dir / "result.json").read_text())
    assert result["figures"]["test_error_percent"] <= 5
    assert rows(run_dir)[-1]["valid_loss"] > 0
    write_idx(tmp_path, np.where(labels == 1, 0, labels).astype(np.uint8), images)
    with pytest.raises(SystemExit):
        run(*args, "--run-dir", str(tmp_path / "other"))
    assert "have no example of class 1" in capsys.readouterr().err


def test_a_finished_run_says_so_and_is_not_measured_again(tmp_path, capsys):
    run_dir = tmp_path / "run"
    args = ["digits-mlp", "--epochs", "1", "--hidden", "8", "--run-dir", str(run_dir)]
    assert train_supervised.main(args) == 0
    before = (run_dir / "result.json").stat().st_mtime_ns
    capsys.readouterr()
    assert train_supervised.main(["--resume", str(run_dir)]) == 0
    assert f"{run_dir} is finished: 1 epoch, see result.json" in capsys.readouterr().out
    assert (run_dir / "result.json").stat().st_mtime_ns == before
