"""Rosenblatt's perceptron: one threshold unit and the rule of 1957, on zeros against ones."""

import dataclasses
from pathlib import Path
from typing import Any

import haiku as hk
import jax.numpy as jnp
import numpy as np

from dqnlab import objective
from dqnlab.objective import Loss
from dqnlab.types import Array
from scripts.tasks import digits, task
from scripts.tasks.task import Splits, Task, Trained


@dataclasses.dataclass(frozen=True)
class Config(task.Config):
    """How the perceptron is trained: one example after the other."""

    epochs: int = 10
    batch_size: int = 1
    learning_rate: float = 1.0
    optimizer: str = "sgd"
    batches_per_launch: int = 250


def load(config: Config, seed: int) -> Splits:
    """The zeros and ones of a stratified 67/33 split; they can be separated by a plane."""

    def two(part: dict[str, Any]) -> dict[str, Any]:
        chosen = part["y"] < 2
        return {name: values[chosen] for name, values in part.items()}

    splits = digits.load(seed, validation=0.0)
    return splits._replace(train=two(splits.train), test=two(splits.test), info={})


def make(config: Config, info: dict[str, Any]) -> tuple[hk.TransformedWithState, Loss]:
    """w·x + b from zeros, and the loss whose gradient is the perceptron rule."""

    def forward(x: Array, is_training: bool) -> Array:
        return hk.Linear(1, w_init=jnp.zeros)(hk.Flatten()(x))[:, 0]

    def criterion(outputs: Array, batch: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        # d/dw max(0, -t (w·x + b)) is -t x where the class is wrong and 0 where it is right: a
        # step of SGD with rate 1 adds t x to w, as Rosenblatt's rule does.
        signs = 2.0 * batch["y"] - 1.0
        return jnp.maximum(0.0, -signs * outputs).mean(), {"error": (signs * outputs <= 0).mean()}

    net = hk.transform_with_state(forward)
    return net, objective.supervised(net, criterion)


def report(trained: Trained, splits: Splits, folder: Path) -> dict[str, Any]:
    """The share of wrong classes in per cent; the step is the sign of the output."""
    return {
        f"{name}_error_percent": 100 * float(np.mean((trained.predict(part["x"]) > 0) != part["y"]))
        for name, part in (("train", splits.train), ("test", splits.test))
    }


TASK = Task(
    about="zeros against ones by one threshold unit and the perceptron rule",
    goal="0 % error on the training part (it converges, as the two can be separated)",
    minutes=0.2,
    defaults=Config(),
    load=load,
    make=make,
    report=report,
)
