"""One torso in three nets: what it learns as an autoencoder or a Q-network, used by the others.

python scripts/reuse_torso.py --agent-run runs/pong-s1

An autoencoder of Pong's frames is trained without labels. Its torso, that of a trained agent and a
random one then serve with few labels: fixed, under a linear model that locates ball and paddles and
under a linear classifier; and trained on, in a net that classifies. Last, agents of the same seed
learn from scratch and from the autoencoder's torso.
"""

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import haiku as hk
import jax
import numpy as np
import optax
from sklearn.linear_model import LogisticRegression, RidgeCV

if __package__ in (None, ""):  # run as a file: make `scripts` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dqnlab import batches, fit, objective, run_folder, train, transfer
from dqnlab.nets import NatureTorso
from dqnlab.types import Array, Params, UserError
from scripts import flags, startup, supervised, train_dqn, train_supervised
from scripts.tasks import pong_state

# The recording of the task pong-state; its games to validate and to test on stay unseen.
FRAMES = "--games Pong --stack 4 --episodes 40 --frames 300 --num-test 6 --no-beside-pca".split()


Classifier = tuple[hk.TransformedWithState, objective.Loss]


@dataclasses.dataclass(frozen=True)
class Options:
    """What to compare, and how much of it."""

    agent_run: Path
    """Run folder of an agent trained on Pong with the Nature torso."""
    autoencoder_run: Path | None = None
    """Run folder of a frame autoencoder trained before, of stacks of 4; default: train one."""
    labels: int = 500
    """Labelled frames."""
    epochs: int = 6
    """Of the classifying net, over those; 0 trains none."""
    autoencoder_epochs: int = 2
    """Of the autoencoder, over some 6,800 frames."""
    frames: int = 100_000
    """Emulator frames for each agent; 0 trains none."""
    seeds: int = 3
    """Of random torsos, of the choice of labelled frames, of nets; agents have as many."""
    run_dir: Path | None = None
    """Folder of all runs; default runs/reuse-torso-..."""


def main(args: list[str] | None = None) -> int:
    """Train all nets one after the other, write result.json, print the table."""
    options = flags.cli(Options, args=args, description=__doc__)
    if options.seeds < 1 or options.labels < 10:
        raise UserError(f"--seeds is {options.seeds}, --labels {options.labels}: too few")
    startup.select_device("cpu")
    learnt = {"q-network": transfer.load_torso(options.agent_run)}
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder = run_folder.create("runs", "Pong", "reuse-torso", 0, stamp, options.run_dir)
    encoder = options.autoencoder_run or folder / "autoencoder"
    epochs = ["--epochs", str(options.autoencoder_epochs)]
    command = ["frame-autoencoder", *FRAMES, *epochs, "--quiet", "--run-dir", str(encoder)]
    if options.autoencoder_run is None and train_supervised.main(command):
        return 1
    learnt["autoencoder"] = transfer.load_torso(encoder)
    splits = pong_state.load(pong_state.Config(), seed=0)
    results: dict[str, Any] = {}
    for name in ("random", *learnt):
        rows = [serve(learnt.get(name), splits, options, seed) for seed in range(options.seeds)]
        results[name] = supervised.spread(rows)
        _show(name, results[name])
    if options.frames:
        for name, source in (("agent from scratch", None), ("agent from autoencoder", encoder)):
            results[name] = play(folder / name.replace(" ", "-"), options, source)
            _show(name, results[name])
    run_folder.write_json(folder / "result.json", results)
    print(f"run folder {folder}")
    return 0


def serve(torso: Params | None, splits: Any, options: Options, seed: int) -> dict[str, float]:
    """Figures of one torso (None: a random one) with some labelled frames, on unseen games."""
    centred = torso is not None and transfer.is_centred(torso)
    width = 1.0 if torso is None else transfer.width(torso)
    nets = classifier(centred, width)
    size = batches.num_examples(splits.train)
    chosen = np.random.default_rng(seed).choice(size, options.labels, replace=False)
    few, test = _labelled(batches.take(splits.train, chosen)), _labelled(splits.test)
    params, _ = nets[0].init(jax.random.PRNGKey(seed), few["x"][:2], True)
    if torso is not None:
        params = transfer.with_torso(params, torso, "the run")
    fixed = transfer.torso_of(params)
    seen, unseen = (features(fixed, part["x"], centred, width) for part in (few, test))
    # One scale for all: units that few frames wake up would else count for far too much.
    seen, unseen = (each / seen.std() for each in (seen, unseen))
    linear = LogisticRegression(max_iter=300).fit(seen, few["y"])
    figures = {
        "fixed_error_pixels": _located(seen, few, unseen, test),
        "fixed_accuracy_percent": 100 * float(linear.score(unseen, test["y"])),
    }
    if options.epochs:
        figures["trained_accuracy_percent"] = _trained(nets, params, few, test, options, seed)
    return figures


def _trained(
    nets: Classifier, params: Params, few: Any, test: Any, options: Options, seed: int
) -> float:
    net, loss = nets
    optimizer = optax.adam(5e-4)
    fitted = fit.fit(
        train.init(params, {}, optimizer),
        train.make_update(objective.for_training(loss), optimizer),
        {name: few[name] for name in ("x", "y")},
        epochs=options.epochs,
        batch_size=32,
        seed=seed,
        batches_per_launch=8,
    )
    logits = batches.map_batches(
        jax.jit(lambda x: net.apply(fitted.state.params, {}, None, x, False)[0]), test["x"]
    )
    return 100 * float(np.mean(logits.argmax(axis=1) == test["y"]))


def classifier(centred: bool, width: float) -> Classifier:
    """Is the ball away, in the left half or in the right half? The torso and one dense layer."""

    def forward(x: Array, is_training: bool) -> Array:
        return hk.Linear(3, name="classes")(NatureTorso(centred=centred, width=width)(x))

    net = hk.transform_with_state(forward)
    return net, objective.supervised(net, objective.classification)


def features(torso: Params, frames: np.ndarray, centred: bool, width: float) -> np.ndarray:
    """[N, 3136 * width]: what the torso says of frames."""
    net = hk.without_apply_rng(hk.transform(lambda x: NatureTorso(centred=centred, width=width)(x)))
    return np.asarray(batches.map_batches(jax.jit(lambda x: net.apply(torso, x)), frames))


def play(folder: Path, options: Options, source: Path | None) -> dict[str, Any]:
    """Mean and spread over seeds of the last 20 games' return in training."""
    rows = []
    for seed in range(options.seeds):
        args = ["--game", "Pong", "--seed", str(seed), "--frames", str(options.frames)]
        args += ["--eval-episodes", "0", "--quiet", "--run-dir", str(folder / f"s{seed}")]
        args += ["--no-centre-frames", "--torso-width", "1"]  # as the autoencoder
        train_dqn.main(args + (["--init-torso", str(source)] if source else []))
        last = (folder / f"s{seed}" / "metrics.jsonl").read_text("utf-8").splitlines()[-1]
        rows.append({"return": json.loads(last)["episode_return_last20"]})
    return supervised.spread(rows)


def _labelled(part: dict[str, Any]) -> dict[str, Any]:
    away, left = ~part["mask"][:, 0], part["y"][:, 0] < pong_state.SCREEN[0] / 2
    classes = np.where(away, 0, np.where(left, 1, 2)).astype(np.int32)
    return {"x": part["x"], "y": classes, "positions": part["y"], "mask": part["mask"]}


def _located(seen: Any, few: dict[str, Any], unseen: Any, test: dict[str, Any]) -> float:
    errors = []
    for i in range(4):
        there, tested = few["mask"][:, i], test["mask"][:, i]
        model = RidgeCV(np.logspace(0, 5, 6)).fit(seen[there], few["positions"][there, i])
        errors.append(np.abs(model.predict(unseen[tested]) - test["positions"][tested, i]).mean())
    return float(np.mean(errors))


def _show(name: str, table: dict[str, Any]) -> None:
    for figure, each in table.items():
        deviation = "" if each["std"] is None else f" ± {each['std']:.2f}"
        print(f"{name:24} {figure:26} {each['mean']:7.2f}{deviation}", flush=True)


if __name__ == "__main__":
    with startup.user_errors():
        sys.exit(main())
