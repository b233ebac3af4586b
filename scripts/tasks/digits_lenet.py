"""Digits by LeNet, with images that are moved, turned and distorted anew each time."""

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
from scripts.tasks import digits, pictures, task
from scripts.tasks.task import Splits, Task, Trained


@dataclasses.dataclass(frozen=True)
class Config(task.Config):
    """How LeNet is made, trained and given distorted images."""

    epochs: int = 60
    batch_size: int = 64
    learning_rate: float = 2e-3
    schedule: str = "warmup_cosine"
    weight_decay: float = 0.02
    channels: tuple[int, int] = (16, 32)
    """Maps of the two convolutions (5 x 5)."""
    hidden: tuple[int, ...] = (128,)
    """Units of each dense layer."""
    dropout: float = 0.25
    """Share of units dropped before each dense layer in training."""
    shift: float = 0.5
    """Largest shift in pixels of the 8 x 8 image."""
    degrees: float = 10.0
    """Largest rotation."""
    scale: float = 0.1
    """Largest stretch of each axis."""
    elastic: float = 0.25
    """Standard deviation of the elastic displacement in pixels."""


def distort(config: Config, key: Array, images: Array) -> Array:
    """float[B, 8, 8, 1] in 0..1, each in its own way."""
    ranges = {"shift": config.shift, "degrees": config.degrees, "scale": config.scale}
    return augment.distort(key, images, **ranges, alpha=config.elastic)


def make(config: Config, info: dict[str, Any]) -> tuple[hk.TransformedWithState, Loss]:
    """LeNet on images doubled to 16 x 16."""

    def forward(x: Array, is_training: bool) -> Array:
        x = jax.image.resize(x, (x.shape[0], 16, 16, 1), "bilinear")
        paddings, classes = ("SAME", "SAME"), len(info["classes"])
        net = LeNet(classes, config.channels, 5, paddings, config.hidden, config.dropout)
        return net(x, is_training)

    net = hk.transform_with_state(forward)
    return net, objective.supervised(
        net,
        objective.classification,
        lambda key, batch: {**batch, "x": distort(config, key, batch["x"])},
    )


def report(trained: Trained, splits: Splits, folder: Path) -> dict[str, Any]:
    """As of all digits; distorted.png has eight images, each followed by seven distortions."""
    images = np.repeat(splits.train["x"][:8], 8, axis=0)
    distorted = jax.jit(distort, static_argnums=0)
    changed = np.array(distorted(trained.config, jax.random.PRNGKey(0), images))
    changed[::8] = images[::8]
    pictures.grid(folder / "distorted.png", changed[..., 0], columns=8)
    return digits.report(trained, splits, folder)


TASK = Task(
    about="the same digits by a LeNet that sees them shifted, turned and distorted",
    goal="<= 0.9 % error, mean of five stratified 67/33 splits (--seeds 5; RBF-SVM: 1.04)",
    minutes=5,
    defaults=Config(),
    load=lambda config, seed: digits.load(seed, validation=0.0),
    make=make,
    report=report,
)
