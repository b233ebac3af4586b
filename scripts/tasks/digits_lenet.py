"""Digits by LeNet, with images that are moved, turned and distorted anew each time."""

import dataclasses
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from dqnlab import augment, objective
from dqnlab.nets.lenet import LeNet
from dqnlab.objective import Loss
from dqnlab.types import Array
from scripts.tasks import digits, task
from scripts.tasks.task import Splits, Task


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


def load(config: Config, seed: int) -> Splits:
    """A stratified 67/33 split of its own for each seed."""
    return digits.load(seed, validation=0.0)


def make(config: Config, info: dict[str, Any]) -> tuple[hk.TransformedWithState, Loss]:
    """LeNet on images doubled to 16 x 16."""

    def forward(x: Array, is_training: bool) -> Array:
        x = jax.image.resize(x, (x.shape[0], 16, 16, 1), "bilinear")
        paddings, classes = ("SAME", "SAME"), len(info["classes"])
        net = LeNet(classes, config.channels, 5, paddings, config.hidden, config.dropout)
        return net(x, is_training)

    def distort(key: Array, batch: dict[str, Array]) -> dict[str, Array]:
        affine_key, elastic_key = jax.random.split(key)
        shape = batch["x"].shape
        field = augment.affine(affine_key, shape, config.shift, config.degrees, config.scale)
        field = field + augment.elastic(elastic_key, shape, config.elastic, sigma=2.0)
        return {**batch, "x": jnp.clip(augment.warp(batch["x"], field), 0, 1)}

    net = hk.transform_with_state(forward)
    return net, objective.supervised(net, objective.classification, distort)


TASK = Task(
    about="the same digits by a LeNet that sees them shifted, turned and distorted",
    goal="<= 0.9 % error, mean of five stratified 67/33 splits (--seeds 5; RBF-SVM: 1.04)",
    minutes=8,
    defaults=Config(),
    load=load,
    make=make,
    report=digits.report,
)
