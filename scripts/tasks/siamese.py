"""Digits of a class near to each other: an embedding learnt from triplets, used to retrieve."""

import dataclasses
from pathlib import Path
from typing import Any

import haiku as hk
import numpy as np

from dqnlab import objective
from dqnlab.layers.dense import Dense
from dqnlab.nets import siamese
from dqnlab.nets.torso import MLP
from dqnlab.objective import Loss
from dqnlab.types import Array
from scripts.tasks import digits, pictures, task
from scripts.tasks.task import Splits, Task, Trained


@dataclasses.dataclass(frozen=True)
class Config(task.Config):
    """How the net is trained, and how large its embedding is."""

    epochs: int = 30
    schedule: str = "cosine"
    batch_size: int = 64
    margin: float = 0.5
    """Squared distance by which another class must be farther away; embeddings have length 1."""
    embedding: int = 8
    """Numbers in the embedding."""
    classes: int = 10
    """Digits 0 .. classes - 1 are learnt from; any others are only retrieved."""


def load(config: Config, seed: int) -> Splits:
    """A stratified 67/33 split, without the unseen classes in its training part."""
    splits = digits.load(seed, validation=0.0)
    seen = splits.train["y"] < config.classes
    train = {name: array[seen] for name, array in splits.train.items()}
    return splits._replace(train=train, info={})


def make(config: Config, info: dict[str, Any]) -> tuple[hk.TransformedWithState, Loss]:
    """One net for all of a triplet: that is what makes it siamese."""

    def forward(x: Array, is_training: bool) -> Array:
        return siamese.normalised(Dense(config.embedding)(MLP((256,))(x)))

    net = hk.transform_with_state(forward)
    criterion = lambda outputs, batch: siamese.triplet(outputs, batch["y"], config.margin)  # noqa: E731
    return net, objective.supervised(net, criterion)


def report(trained: Trained, splits: Splits, folder: Path) -> dict[str, Any]:
    """What is near to a test digit among the OTHER test digits; pixels' own distances beside.

    Recall: whether one of its class is among the k nearest. Precision: how many of the k are.
    `spread` is 0 where all embeddings have clumped together, 1 where they are all around.
    """
    x, y = splits.test["x"], splits.test["y"]
    embedded, pixels = trained.predict(x), x.reshape(len(x), -1)
    figures: dict[str, Any] = {}
    unseen = y >= trained.config.classes
    for name, each in (("", y >= 0), ("unseen_", unseen)):
        for kind, values in (("", embedded[each]), ("pixels_", pixels[each])):
            if each.any():
                figures[f"{name}{kind}precision_at_40"] = siamese.precision_at(values, y[each], 40)
                figures[f"{name}{kind}recall_at_1"] = siamese.recall_at(values, y[each], 1)
                figures[f"{name}{kind}recall_at_5"] = siamese.recall_at(values, y[each], 5)
    distances = siamese.squared_distances(embedded[:10], embedded)
    nearest = np.argsort(np.asarray(distances), axis=1)[:, :10]
    pictures.grid(folder / "nearest.png", x[nearest.ravel(), ..., 0], columns=10)
    return {**figures, "spread": siamese.spread(embedded)}


TASK = Task(
    about="an embedding of digits in which a class is near to itself, from triplets",
    goal="of the 40 nearest more are of the class than by pixels' distance (--seeds 3)",
    minutes=0.5,
    defaults=Config(),
    load=load,
    make=make,
    report=report,
)
