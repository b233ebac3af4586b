"""The inverse of a curve that folds over: one x has several y (Bishop 1994)."""

import dataclasses
from pathlib import Path
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from dqnlab import distributions, objective
from dqnlab.distributions import GaussianMixture
from dqnlab.objective import Loss
from dqnlab.types import Array, UserError
from scripts.tasks import pictures, task
from scripts.tasks.task import Splits, Task, Trained


@dataclasses.dataclass(frozen=True)
class Config(task.Config):
    """How the net is trained, and of how many Gaussians its output is."""

    epochs: int = 250
    batch_size: int = 100
    learning_rate: float = 3e-3
    schedule: str = "cosine"
    max_grad_norm: float | None = 10.0
    components: int = 5
    """Gaussians in the mixture; 1 is ordinary regression with a variance."""


def load(config: Config, seed: int) -> Splits:
    """x = y + 0.3 sin(2 pi y) + U(-0.1, 0.1) with y in 0..1: 1,000 pairs, and 1,000 to test on."""
    if config.components < 1:
        raise UserError(f"--components is {config.components}; it must be at least 1")

    def draw(rng: np.random.Generator) -> dict[str, np.ndarray]:
        y = rng.uniform(size=1000)
        x = y + 0.3 * np.sin(2 * np.pi * y) + rng.uniform(-0.1, 0.1, 1000)
        return {"x": x[:, None].astype(np.float32), "y": y.astype(np.float32)}

    train, test = map(draw, np.random.default_rng(seed).spawn(2))
    return Splits(train, None, test, {})


def make(config: Config, info: dict[str, Any]) -> tuple[hk.TransformedWithState, Loss]:
    """One hidden layer; the mixture's logits, means and log-variances side by side."""

    def forward(x: Array, is_training: bool) -> GaussianMixture:
        h = jnp.tanh(hk.Linear(32, w_init=hk.initializers.RandomNormal(3.0))(x - 0.5))
        logits, mean, log_var = jnp.split(hk.Linear(3 * config.components)(h), 3, axis=-1)
        return GaussianMixture(logits, mean + 0.5, log_var - 2.0)

    net = hk.transform_with_state(forward)
    return net, objective.supervised(net, distributions.nll)


def report(trained: Trained, splits: Splits, folder: Path) -> dict[str, Any]:
    """Nats per point of the test part; the learnt density beside the points."""
    x, y = np.meshgrid(np.linspace(-0.1, 1.1, 120), np.linspace(-0.1, 1.1, 120))
    grid = jax.tree.map(jnp.asarray, trained.predict(x.reshape(-1, 1).astype(np.float32)))
    density = np.exp(grid.log_prob(jnp.asarray(y.ravel()))).reshape(x.shape)
    points = (splits.test["x"][:300, 0], splits.test["y"][:300])
    title = f"{trained.config.components} Gaussians"
    pictures.scatter_and_bands(
        folder / "density.png", points, {title: np.sqrt(density)}, (-0.1, 1.1, -0.1, 1.1)
    )
    outputs = jax.tree.map(jnp.asarray, trained.predict(splits.test["x"]))
    value, _ = distributions.nll(outputs, {"y": jnp.asarray(splits.test["y"])})
    return {"test_nll_nats": float(value)}


TASK = Task(
    about="a mixture of Gaussians for the inverse of a curve that folds over",
    goal="a lower NLL than --components 1, a single Gaussian (--seeds 5)",
    minutes=0.5,
    defaults=Config(),
    load=load,
    make=make,
    report=report,
)
