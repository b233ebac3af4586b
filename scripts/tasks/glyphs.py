"""Characters in fonts that were not seen: 28 x 28 pictures of 94 characters, split by face."""

import collections
import dataclasses
from pathlib import Path
from typing import Any

import haiku as hk
import jax
import numpy as np

from dqnlab import augment, objective
from dqnlab.nets.lenet import LeNet
from dqnlab.objective import Loss
from dqnlab.types import Array
from envs import names
from scripts.tasks import fonts, pictures, task
from scripts.tasks.task import Splits, Task, Trained


@dataclasses.dataclass(frozen=True)
class Config(task.Config):
    """How LeNet is trained and given distorted images."""

    epochs: int = 60
    batch_size: int = 64
    learning_rate: float = 2e-3
    schedule: str = "warmup_cosine"
    weight_decay: float = 0.02
    batches_per_launch: int = 8
    dropout: float = 0.3
    """Share of units dropped before each dense layer in training."""
    elastic: float = 0.8
    """Standard deviation of the elastic displacement in pixels; 0 also ends the affine ones."""
    unseen_family: str = ""
    """Test on all faces of this family instead of on one face of each."""


def load(config: Config, seed: int) -> Splits:
    """One face of each of the five families, drawn by the seed, is only tested on."""
    faces = fonts.faces()
    families = [f for f in fonts.FAMILIES if config.unseen_family in ("", f)]
    if not families:
        raise names.unknown("family of fonts", config.unseen_family, fonts.FAMILIES)
    rng, unseen = np.random.default_rng(seed), []
    for family in families:
        members = [face for face in faces if fonts.family(face) == family]
        unseen += members if config.unseen_family else [members[rng.integers(len(members))]]
    parts: dict[bool, list[Any]] = {True: [], False: []}
    for face, path in faces.items():
        parts[face in unseen].append(fonts.pictures(path))
    arrays = {
        key: [np.concatenate(a) for a in zip(*part, strict=True)] for key, part in parts.items()
    }
    train, test = (
        {"x": x[..., None].astype(np.float32) / 255, "y": y}
        for x, y in (arrays[False], arrays[True])
    )
    return Splits(train, None, test, {"classes": list(fonts.CHARACTERS), "unseen": unseen})


def make(config: Config, info: dict[str, Any]) -> tuple[hk.TransformedWithState, Loss]:
    """LeNet; images moved, turned, stretched, slanted and bent anew each time."""

    def forward(x: Array, is_training: bool) -> Array:
        net = LeNet(94, (16, 32), 5, ("SAME", "SAME"), (256,), config.dropout)
        return net(x, is_training)

    def distort(key: Array, batch: dict[str, Array]) -> dict[str, Array]:
        if not config.elastic:
            return batch
        affine_key, elastic_key = jax.random.split(key)
        shape = batch["x"].shape
        field = augment.affine(affine_key, shape, shift=1.5, degrees=6, scale=0.15, shear=0.15)
        field = field + augment.elastic(elastic_key, shape, config.elastic, sigma=4.0)
        return {**batch, "x": augment.warp(batch["x"], field)}

    net = hk.transform_with_state(forward)
    return net, objective.supervised(net, objective.classification, distort)


def report(trained: Trained, splits: Splits, folder: Path) -> dict[str, Any]:
    """Accuracy on the unseen faces, with and without telling case; what was taken for what."""
    y, logits = splits.test["y"], trained.predict(splits.test["x"])
    guess, characters = np.argmax(logits, axis=-1), trained.info["classes"]
    wrong = np.flatnonzero(guess != y)
    pairs = [f"{characters[y[i]]} as {characters[guess[i]]}" for i in wrong]
    pictures.grid(folder / "wrong.png", splits.test["x"][wrong, ..., 0], pairs, columns=12)
    lower = [characters[k].lower() for k in range(94)]
    same = [lower[a] == lower[b] for a, b in zip(guess, y, strict=True)]
    return {
        "test_accuracy_percent": 100 * float(np.mean(guess == y)),
        "accuracy_but_for_case_percent": 100 * float(np.mean(same)),
        "confusions": dict(collections.Counter(pairs).most_common(20)),
        "unseen": trained.info["unseen"],
    }


TASK = Task(
    about="94 characters in fonts that were not seen, rendered from matplotlib's 21 text faces",
    goal=">= 90 % right, one unseen face of each family (--seeds 3)",
    minutes=4,
    defaults=Config(),
    load=load,
    make=make,
    report=report,
)
