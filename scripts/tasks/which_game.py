"""Which of the 104 Atari games a single frame is from."""

import collections
import dataclasses
from pathlib import Path
from typing import Any

import haiku as hk
import jax
import numpy as np

from dqnlab import objective
from dqnlab.nets.torso import NatureTorso
from dqnlab.objective import Loss
from dqnlab.types import Array
from envs import datasets, names
from scripts.tasks import pictures, task
from scripts.tasks.task import Splits, Task, Trained


@dataclasses.dataclass(frozen=True)
class Config(task.Config):
    """How the net is trained, and on how many frames."""

    epochs: int = 8
    batch_size: int = 64
    schedule: str = "warmup_cosine"
    batches_per_launch: int = 8
    games: tuple[str, ...] = ()
    """Names of games; none for all 104."""
    episodes: int = 6
    """Recorded of each game, once; the last two are tested on."""
    frames: int = 30
    """Kept of an episode, one in six agent steps."""


def load(config: Config, seed: int) -> Splits:
    """One grey 84 x 84 frame each; every seed sees the same ones."""
    games = config.games or tuple(names.atari_games())
    sizes = {"episodes": config.episodes, "frames": config.frames, "every": 6}
    recorded = datasets.record(games, **sizes, on_game=lambda game: print(f"recording {game}"))
    train, _, test = datasets.split(recorded, num_test=2, need_all_games=False)
    splits = ({"x": part.obs, "y": part.game} for part in (train, test))
    return Splits(next(splits), None, next(splits), {"classes": list(games)})


def make(config: Config, info: dict[str, Any]) -> tuple[hk.TransformedWithState, Loss]:
    """The DQN's torso and one dense layer: no pooling, places matter."""

    def forward(x: Array, is_training: bool) -> Array:
        features = NatureTorso()(x)
        x = jax.nn.relu(hk.Linear(128, name="hidden")(features))
        return hk.Linear(len(info["classes"]), name="classes")(x)

    net = hk.transform_with_state(forward)
    return net, objective.supervised(net, objective.classification)


def report(trained: Trained, splits: Splits, folder: Path) -> dict[str, Any]:
    """Accuracy on frames of unseen episodes that no episode of the training part shows."""
    y, logits = splits.test["y"], trained.predict(splits.test["x"])
    order, classes = np.argsort(-logits, axis=-1), trained.info["classes"]
    wrong = np.flatnonzero(order[:, 0] != y)
    pairs = [f"{classes[y[i]]} as {classes[order[i, 0]]}" for i in wrong]
    if len(wrong):
        pictures.grid(folder / "wrong.png", splits.test["x"][wrong[:36], ..., 0], columns=12)
    return {
        "test_accuracy_percent": 100 * float(np.mean(order[:, 0] == y)),
        "top5_accuracy_percent": 100 * float(np.mean((order[:, :5] == y[:, None]).any(axis=1))),
        "confusions": dict(collections.Counter(pairs).most_common(20)),
        "test_frames": len(y),
        "test_games": len(np.unique(y)),  # the others show nothing that training has not seen
    }


TASK = Task(
    about="which of 104 Atari games a frame is from",
    goal=">= 99.5 % right on frames of unseen episodes",
    minutes=10,
    defaults=Config(),
    load=load,
    make=make,
    report=report,
)
