"""Digits through a code of a few numbers: plain, tied, denoising, sparse, layer by layer."""

import dataclasses
from pathlib import Path
from typing import Any

import haiku as hk
import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from dqnlab.nets import autoencoder
from dqnlab.nets.autoencoder import DenseAutoencoder, Reconstruction
from dqnlab.objective import Loss, supervised
from dqnlab.types import Array, Params
from scripts.tasks import digits, pictures, task
from scripts.tasks.task import Splits, Task, Trained

LABELS = 5  # of each class, for the classifier on top of the code


@dataclasses.dataclass(frozen=True)
class Config(task.Config):
    """How the net is trained, and what kind of autoencoder it is."""

    epochs: int = 100
    learning_rate: float = 2e-3
    schedule: str = "cosine"
    sizes: tuple[int, ...] = (128, 8)
    """Units of each layer down to the code."""
    tied: bool = False
    """Layers go back by their transposed weights."""
    noise: float = 0.0
    """Standard deviation of the noise that training adds to pixels in 0..1 (denoising)."""
    sparsity: float = 0.0
    """Factor of the mean absolute code in the loss."""
    pretrain: int = 0
    """Epochs of training each layer alone before all together."""


def load(config: Config, seed: int) -> Splits:
    """A stratified 67/33 split; labels are for the report only."""
    return digits.load(seed, validation=0.0)


def make(config: Config, info: dict[str, Any]) -> tuple[hk.TransformedWithState, Loss]:
    """Dense layers with tanh, down and back."""

    def forward(x: Array, is_training: bool) -> Reconstruction:
        net = DenseAutoencoder(config.sizes, tied=config.tied, noise=config.noise)
        return net(x.reshape(x.shape[0], -1), is_training)

    def criterion(outputs: Reconstruction, batch: Any) -> tuple[Array, dict[str, Array]]:
        pixels = batch["x"].reshape(outputs.x.shape)
        return autoencoder.squared_error(outputs, pixels, config.sparsity)

    net = hk.transform_with_state(forward)
    return net, supervised(net, criterion)


def start(config: Config, splits: Splits, seed: int, params: Params) -> Params:
    """Layer by layer, where asked for."""
    if not config.pretrain:
        return params
    return autoencoder.stack_pretrain(
        splits.train["x"].reshape(-1, 64),
        config.sizes,
        tied=config.tied,
        noise=config.noise,
        epochs=config.pretrain,
        learning_rate=config.learning_rate,
        seed=seed,
    )


def report(trained: Trained, splits: Splits, folder: Path) -> dict[str, Any]:
    """Squared error of a pixel against PCA's; a classifier of 50 labels on codes and on pixels."""
    parts = (splits.train, splits.test)
    (train, y), (test, test_y) = ((part["x"].reshape(-1, 64), part["y"]) for part in parts)
    pca = PCA(trained.config.sizes[-1]).fit(train)
    outputs, codes = trained.predict(test), trained.predict(train).code
    few = np.concatenate([np.flatnonzero(y == k)[:LABELS] for k in range(10)])
    of_pixels, of_codes = (
        100 * LogisticRegression(max_iter=2000).fit(a[few], y[few]).score(b, test_y)
        for a, b in ((train, test), (codes, outputs.code))
    )
    pairs = np.concatenate([test[:12], outputs.x[:12]]).reshape(-1, 8, 8)
    pictures.grid(folder / "digits.png", pairs, columns=12)
    return {
        "test_mse": float(np.square(outputs.x - test).mean()),
        "pca_mse": float(np.square(pca.inverse_transform(pca.transform(test)) - test).mean()),
        "accuracy_50_labels_percent": of_codes,
        "accuracy_50_labels_pixels_percent": of_pixels,
        "mean_absolute_code": float(np.abs(outputs.code).mean()),
    }


TASK = Task(
    about="digits through a code of 8 numbers: --tied, --noise, --sparsity, --pretrain",
    goal="a lower squared error than PCA with 8 components (--seeds 3)",
    minutes=0.7,
    defaults=Config(),
    load=load,
    make=make,
    report=report,
    start=start,
)
