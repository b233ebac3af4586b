"""One torso in three nets: what it learns as an autoencoder or a Q-network, used by the others.

python scripts/reuse_torso.py --agent-run runs/pong-s1 --seeds 3

An autoencoder of Pong's frames is trained without labels. Its torso, that of a trained agent and a
random one are then given to nets that locate ball and paddles: from few labels, with the torso
fixed or trained on. Last, agents of the same seed learn from scratch and from the autoencoder's.
"""

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import tyro

if __package__ in (None, ""):  # run as a file: make `scripts` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dqnlab import run_folder
from dqnlab.types import UserError
from scripts import startup, train_dqn, train_supervised
from scripts.supervised import spread


@dataclasses.dataclass(frozen=True)
class Options:
    """What to compare, and how much of it."""

    agent_run: Path
    """Run folder of an agent trained on Pong with the Nature torso."""
    labels: int = 500
    """Labelled frames for the nets that locate things."""
    epochs: int = 20
    """Of those nets."""
    autoencoder_epochs: int = 3
    """Of the autoencoder."""
    frames: int = 100_000
    """Emulator frames for each agent; 0 trains none."""
    seeds: int = 2
    """Nets of each kind, of seeds 0 .. seeds - 1. All see the same frames of the same games."""
    run_dir: Path | None = None
    """Folder of all runs; default runs/reuse-torso-..."""


def main(args: list[str] | None = None) -> int:
    """Train all nets one after the other, write result.json, print the table."""
    options = tyro.cli(Options, args=args, description=__doc__)
    if options.seeds < 1 or options.frames < 0:
        raise UserError(f"--seeds is {options.seeds}, --frames {options.frames}: too few")
    startup.select_device("cpu")
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder = run_folder.create("runs", "Pong", "reuse-torso", 0, stamp, options.run_dir)
    encoder = folder / "autoencoder"
    _supervised(encoder, "frame-autoencoder", options.autoencoder_epochs, *_FRAMES)
    torsos: dict[str, Path | None] = {
        "random": None,
        "autoencoder": encoder,
        "q-network": options.agent_run,
    }
    results: dict[str, Any] = {}
    for kind, source in torsos.items():
        for frozen in (True, False):
            name = f"{kind}, {'fixed' if frozen else 'trained on'}"
            place = folder / f"{kind}-{'fixed' if frozen else 'trained'}"
            results[name] = locate(place, options, source, frozen)
            print(f"{name:28} {_text(results[name], 'mean_error_pixels')} pixels", flush=True)
    if options.frames:
        for kind, source in (("scratch", None), ("autoencoder", encoder)):
            name = f"agent from {kind}"
            results[name] = play(folder / f"agent-{kind}", options, source)
            print(f"{name:28} {_text(results[name], 'return')} a game", flush=True)
    run_folder.write_json(folder / "result.json", results)
    print(f"run folder {folder}")
    return 0


def locate(folder: Path, options: Options, source: Path | None, frozen: bool) -> dict[str, Any]:
    """Mean and spread over seeds of the task pong-state's figures, from few labels."""
    args = ["--labels", str(options.labels), "--freeze-torso" if frozen else "--no-freeze-torso"]
    args += ["--init-torso", str(source)] if source else []
    figures = []
    for seed in range(options.seeds):
        run_dir = folder / f"s{seed}"
        _supervised(run_dir, "pong-state", options.epochs, *args, "--seed", str(seed))
        figures.append(json.loads((run_dir / "result.json").read_text())["figures"])
    return spread(figures)


def play(folder: Path, options: Options, source: Path | None) -> dict[str, Any]:
    """Mean and spread over seeds of the last 20 games' return in training."""
    figures = []
    for seed in range(options.seeds):
        args = ["--game", "Pong", "--seed", str(seed), "--frames", str(options.frames)]
        args += ["--eval-episodes", "0", "--quiet", "--run-dir", str(folder / f"s{seed}")]
        train_dqn.main(args + (["--init-torso", str(source)] if source else []))
        lines = (folder / f"s{seed}" / "metrics.jsonl").read_text().splitlines()
        returns = [json.loads(line)["episode_return_last20"] for line in lines]
        figures.append({"return": returns[-1]})
    return spread(figures)


# The recording of the task pong-state; its games to validate and to test on stay unseen.
_FRAMES = "--games Pong --stack 4 --episodes 40 --frames 300 --num-test 6".split()


def _supervised(run_dir: Path, task: str, epochs: int, *args: str) -> None:
    common = ["--epochs", str(epochs), "--device", "cpu", "--quiet", "--run-dir", str(run_dir)]
    if train_supervised.main([task, *args, *common]):
        raise KeyboardInterrupt  # it was, and has saved what it had


def _text(table: dict[str, Any], name: str) -> str:
    each = table[name]
    deviation = "" if each["std"] is None else f" ± {each['std']:.2f}"
    return f"{each['mean']:7.2f}{deviation}"


if __name__ == "__main__":
    with startup.user_errors():
        sys.exit(main())
