"""The adding problem (Hochreiter & Schmidhuber 1997): two marked numbers far back, their sum."""

import dataclasses
from pathlib import Path
from typing import Any

import haiku as hk
import jax.numpy as jnp
import numpy as np

from dqnlab import objective
from dqnlab.layers.lstm import chrono
from dqnlab.layers.recurrent import orthogonal
from dqnlab.nets.sequence import Reader
from dqnlab.objective import Loss
from dqnlab.types import Array, UserError
from scripts.tasks import task
from scripts.tasks.task import Splits, Task, Trained

GAUSSIAN = hk.initializers.VarianceScaling(1.0, "fan_in", "truncated_normal")
NETS: dict[str, tuple[str, hk.initializers.Initializer]] = {  # layer, recurrent weights at first
    "lstm": ("lstm", orthogonal),  # and biases for a memory of the sequence's length
    "gru": ("gru", orthogonal),
    "rnn": ("rnn", GAUSSIAN),
    "rnn_orthogonal": ("rnn", orthogonal),
}
SOLVED = 0.01  # mean squared error; always answering 1, the mean, has 1/6


@dataclasses.dataclass(frozen=True)
class Config(task.Config):
    """See task.Config."""

    epochs: int = 4
    batch_size: int = 32
    learning_rate: float = 5e-3
    schedule: str = "cosine"
    length: int = 100
    """Steps of a sequence."""
    hidden: int = 48
    """Units of each of the recurrent layers."""
    sequences: int = 20_000
    """Sequences to learn from; 2,000 others are the test part."""


def load(config: Config, seed: int) -> Splits:
    """x float32[N, T, 2]: numbers in 0..1, and 1 beside one of each half of them; y their sum."""
    if config.length < 2:
        raise UserError(f"--length is {config.length}; at least 2")
    rng, rows = np.random.default_rng(seed), np.arange(config.sequences + 2000)
    half = config.length // 2
    numbers = rng.random((len(rows), config.length), np.float32)
    marks = np.zeros_like(numbers)
    marks[rows, rng.integers(0, half, len(rows))] = 1
    marks[rows, rng.integers(half, config.length, len(rows))] = 1
    x, y = np.stack([numbers, marks], axis=-1), (numbers * marks).sum(axis=1)
    parts = [{"x": x[rows], "y": y[rows]} for rows in np.split(rows, [config.sequences])]
    return Splits(parts[0], None, parts[1], {})


def make(config: Config, info: dict[str, Any]) -> tuple[hk.TransformedWithState, Loss]:
    """Four nets side by side: they share the batches and nothing else."""

    def forward(x: Array, is_training: bool) -> dict[str, Array]:
        outputs = {}
        for name, (layer, init) in NETS.items():
            made = {"b_init": chrono(config.length)} if layer == "lstm" else {}
            net = Reader(1, config.hidden, layer, name, w_hidden_init=init, **made)
            outputs[name] = net(x)[:, 0]
        return outputs

    def criterion(outputs: Any, batch: Any) -> tuple[Array, dict[str, Array]]:
        errors = {name: jnp.mean((each - batch["y"]) ** 2) for name, each in outputs.items()}
        return sum(errors.values()), errors

    net = hk.transform_with_state(forward)
    return net, objective.supervised(net, criterion)


def report(trained: Trained, splits: Splits, folder: Path) -> dict[str, Any]:
    """Mean squared error of each net on sequences that it has not seen."""
    outputs, y = trained.predict(splits.test["x"]), splits.test["y"]
    errors = {name: float(np.mean((outputs[name] - y) ** 2)) for name in NETS}
    figures: dict[str, Any] = {f"{name}_mse": error for name, error in errors.items()}
    return figures | {"solved": [name for name in NETS if errors[name] < SOLVED]}


TASK = Task(
    about="the sum of two marked numbers among 100, by LSTM, GRU and plain RNNs side by side",
    goal=f"LSTM and GRU below {SOLVED} mean squared error, the plain RNN not (always 1: 0.167)",
    minutes=1,
    defaults=Config(),
    load=load,
    make=make,
    report=report,
)
