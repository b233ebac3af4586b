"""Digits drawn by a variational autoencoder; conditional, by the class asked for."""

import dataclasses
from pathlib import Path
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from dqnlab import batches
from dqnlab.nets import vae
from dqnlab.nets.vae import VAE, VAEOutput
from dqnlab.objective import Loss
from dqnlab.train import LossAux
from dqnlab.types import Array, Params, PyTree
from scripts.tasks import digits, pictures, task
from scripts.tasks.task import Splits, Task, Trained


@dataclasses.dataclass(frozen=True)
class Config(task.Config):
    """How the net is trained, and how large its code is."""

    epochs: int = 150
    batch_size: int = 100
    learning_rate: float = 1e-3
    patience: int | None = 30
    hidden: tuple[int, ...] = (200, 200)
    """Units of each hidden layer of the encoder; the decoder has them in reverse."""
    code: int = 8
    """Numbers in the code."""
    conditional: bool = False
    """Tell encoder and decoder the digit's class."""


def load(config: Config, seed: int) -> Splits:
    """A stratified split; a pixel is 1 from half its range on, so that p(x) is a probability."""
    splits = digits.load(seed, validation=0.15)
    parts = []
    for part in (splits.train, splits.validation, splits.test):
        assert part is not None
        x = (part["x"] >= 0.5).astype(np.float32)
        parts.append({"x": {"x": x, "y": part["y"]} if config.conditional else x})
    return Splits(*parts, splits.info)


def make(config: Config, info: dict[str, Any]) -> tuple[hk.TransformedWithState, Loss]:
    """64-200-200-code and back; the loss is the negative ELBO."""

    def forward(x: Any, is_training: bool) -> VAEOutput:
        return _net(config)(_pixels(x), x["y"] if config.conditional else None)

    net = hk.transform_with_state(forward)

    def loss(
        params: Params, net_state: PyTree, key: Array, batch: Any, is_training: bool
    ) -> tuple[Array, LossAux]:
        outputs, net_state = net.apply(params, net_state, key, batch["x"], is_training)
        value, metrics = vae.negative_elbo(outputs, _pixels(batch["x"]))
        return value, LossAux(net_state, metrics)

    return net, loss


def report(trained: Trained, splits: Splits, folder: Path) -> dict[str, Any]:
    """The test part's ELBO, one code per example; samples, and codes between two digits."""
    measure = jax.jit(
        lambda key, b: trained.loss(trained.params, trained.net_state, key, b, False)[1].metrics
    )
    figures = batches.mean_metrics(measure, jax.random.PRNGKey(trained.seed), splits.test, 100)
    config, classes = trained.config, np.arange(10)
    styles = np.random.default_rng(trained.seed).normal(size=(10, config.code))
    samples = np.repeat(styles, 10, axis=0)  # conditional: a style a row, a digit a column
    if not config.conditional:
        samples = np.random.default_rng(trained.seed).normal(size=(100, config.code))
    drawn = decode(trained, samples, np.tile(classes, 10))
    pictures.grid(folder / "samples.png", drawn, columns=10)
    codes = trained.predict(jax.tree.map(lambda a: a[:20], splits.test["x"])).posterior.mean
    share = np.linspace(0, 1, 10)[:, None]
    walks = [(1 - share) * codes[i] + share * codes[i + 10] for i in range(10)]
    y = np.repeat(splits.test["x"]["y"][:10], 10) if config.conditional else None
    walked = decode(trained, np.concatenate(walks), y)
    pictures.grid(folder / "walk.png", walked, columns=10)
    return {"test_elbo_nats": figures["elbo"], "test_kl_nats": figures["kl"]}


def decode(trained: Trained, codes: np.ndarray, y: np.ndarray | None = None) -> np.ndarray:
    """The mean pictures [N, 8, 8] of codes [N, code size], of classes y where conditional."""
    config = trained.config

    def forward(code: Array, y: Array | None) -> Array:
        return _net(config).decode(code, 64, y).mean()

    classes = jnp.asarray(y) if config.conditional and y is not None else None
    net = hk.without_apply_rng(hk.transform(forward))
    return np.asarray(net.apply(trained.params, jnp.asarray(codes, jnp.float32), classes)).reshape(
        -1, 8, 8
    )


def _pixels(x: Any) -> Array:
    """float32[B, 64] of images [B, 8, 8, 1], or of a record that holds them beside classes."""
    images = x["x"] if isinstance(x, dict) else x
    return images.reshape(images.shape[0], -1)


def _net(config: Config) -> VAE:
    return VAE(config.code, config.hidden, num_classes=10 if config.conditional else 0)


TASK = Task(
    about="a variational autoencoder of the 8 x 8 digits, black and white",
    goal="the ELBO of each seed (--seeds 3); samples and a walk through the code drawn",
    minutes=1,
    defaults=Config(),
    load=load,
    make=make,
    report=report,
)
CONDITIONAL = TASK._replace(
    about="a variational autoencoder of the digits that is told the class",
    goal="the ELBO of each seed (--seeds 3); one style, all ten digits drawn",
    defaults=Config(conditional=True),
)
