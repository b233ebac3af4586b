"""Digits by a multi-layer perceptron."""

import dataclasses
from typing import Any

import haiku as hk
import jax

from dqnlab import objective
from dqnlab.objective import Loss
from dqnlab.types import Array
from scripts.tasks import digits, task
from scripts.tasks.task import Splits, Task


@dataclasses.dataclass(frozen=True)
class Config(task.Config):
    """How the MLP is made and trained."""

    epochs: int = 60
    schedule: str = "cosine"
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    hidden: tuple[int, ...] = (128,)
    """Units of each hidden layer."""
    dropout: float = 0.0
    """Share of hidden units dropped in training."""


def load(config: Config, seed: int) -> Splits:
    """A stratified 67/33 split of its own for each seed."""
    return digits.load(seed, validation=0.0)


def make(config: Config, info: dict[str, Any]) -> tuple[hk.TransformedWithState, Loss]:
    """Dense layers with ReLU, then one logit per class."""

    def forward(x: Array, is_training: bool) -> Array:
        x = hk.Flatten()(x)
        for size in config.hidden:
            init = hk.initializers.VarianceScaling(2.0, "fan_in", "truncated_normal")
            x = jax.nn.relu(hk.Linear(size, w_init=init)(x))
            if is_training and config.dropout:
                x = hk.dropout(hk.next_rng_key(), config.dropout, x)
        return hk.Linear(len(info["classes"]))(x)

    net = hk.transform_with_state(forward)
    return net, objective.supervised(net, objective.classification)


TASK = Task(
    about="handwritten digits (1,797 of 8 x 8 pixels) by an MLP",
    goal="<= 2.6 % error, mean of five stratified 67/33 splits (--seeds 5)",
    minutes=0.3,
    defaults=Config(),
    load=load,
    make=make,
    report=digits.report,
)
