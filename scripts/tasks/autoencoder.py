"""Atari frames through a code of a few numbers, against principal components of as many."""

import dataclasses
from pathlib import Path
from typing import Any

import haiku as hk
import jax.numpy as jnp
import numpy as np
from sklearn.decomposition import PCA

from dqnlab.nets import autoencoder
from dqnlab.nets.autoencoder import FrameAutoencoder, Reconstruction
from dqnlab.objective import Loss, supervised
from dqnlab.types import Array, Params, UserError
from envs import datasets
from scripts.tasks import pictures, task
from scripts.tasks.task import Splits, Task, Trained

SHOWN = 8


@dataclasses.dataclass(frozen=True)
class Config(task.Config):
    """How the net is trained, on which frames, and how large its code is."""

    epochs: int = 10
    batch_size: int = 32
    schedule: str = "warmup_cosine"
    batches_per_launch: int = 8
    code: int = 16
    """Numbers in the code."""
    games: tuple[str, ...] = (
        *("Pong", "Breakout", "Freeway", "MsPacman", "SpaceInvaders", "Seaquest"),
    )
    """Names of games."""
    episodes: int = 8
    """Recorded of each game."""
    num_test: int = 2
    """The last so many of them are tested on."""
    frames: int = 150
    """Kept of an episode, one in four agent steps."""
    beside_pca: bool = True
    """Start as PCA and learn what it misses; else from nothing, with background and all."""
    stack: int = 1
    """Frames in an observation; 4 as agents see them."""


def load(config: Config, seed: int) -> Splits:
    """Frames without labels; every seed sees the same ones."""
    sizes = {"episodes": config.episodes, "frames": config.frames, "stack": config.stack}
    recorded = datasets.record(config.games, every=4, seed=0, **sizes)
    train, _, test = datasets.split(recorded, config.num_test)
    if config.code > len(train.obs):
        raise UserError(f"--code is {config.code}; PCA of {len(train.obs)} frames has no more")
    return Splits({"x": train.obs}, None, {"x": test.obs}, {})


def make(config: Config, info: dict[str, Any]) -> tuple[hk.TransformedWithState, Loss]:
    """The DQN's torso down to the code; squared error of pixels in 0..1."""

    def forward(x: Array, is_training: bool) -> Reconstruction:
        return FrameAutoencoder(config.code, beside_pca=config.beside_pca)(x)

    def criterion(outputs: Reconstruction, batch: Any) -> tuple[Array, dict[str, Array]]:
        pixels = batch["x"].astype(jnp.float32) / 255
        loss, metrics = autoencoder.squared_error(outputs, pixels)
        return 100 * loss, {"mse": metrics["mse"]}

    net = hk.transform_with_state(forward)
    return net, supervised(net, criterion)


def start(config: Config, splits: Splits, seed: int, params: Params) -> Params:
    """PCA of the training part, where the net stands beside it."""
    if not config.beside_pca:
        return params
    pca = _pca(config, _flat(splits.train))
    scale = np.sqrt(pca.explained_variance_)
    return autoencoder.principal(params, pca.mean_, pca.components_, scale)


def report(trained: Trained, splits: Splits, folder: Path) -> dict[str, Any]:
    """Mean squared error of a pixel on unseen episodes, and that of PCA with a code as large."""
    train, test = _flat(splits.train), _flat(splits.test)
    pca = _pca(trained.config, train)
    linear = pca.inverse_transform(pca.transform(test))
    outputs = trained.predict(splits.test["x"]).x.reshape(test.shape)
    chosen = np.linspace(0, len(test) - 1, SHOWN).astype(int)
    rows = np.concatenate([each[chosen] for each in (test, outputs, linear)])
    newest = rows.reshape(3 * SHOWN, 84, 84, -1)[..., -1]
    pictures.grid(folder / "frames.png", newest.clip(0, 1), columns=SHOWN)
    ours, theirs, none = (
        float(np.square(each - test).mean()) for each in (outputs, linear, train.mean(axis=0)[None])
    )
    return {"test_mse": ours, "pca_mse": theirs, "mean_frame_mse": none, "ratio": ours / theirs}


def _flat(part: dict[str, Any]) -> np.ndarray:
    return part["x"].reshape(len(part["x"]), -1).astype(np.float32) / 255


def _pca(config: Config, x: np.ndarray) -> PCA:
    return PCA(config.code, svd_solver="randomized", random_state=0).fit(x)


TASK = Task(
    about="Atari frames through a code of 16 numbers: convolutional autoencoder",
    goal="a lower squared error on unseen episodes than PCA with 16 components",
    minutes=8,
    defaults=Config(),
    load=load,
    make=make,
    report=report,
    start=start,
)
