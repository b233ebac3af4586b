"""Any data set in MNIST's file format, by a LeNet that sees it slightly distorted."""

import dataclasses
from pathlib import Path
from typing import Any

import haiku as hk
import numpy as np

from dqnlab import augment, idx, objective, preprocess
from dqnlab.nets.lenet import LeNet
from dqnlab.objective import Loss
from dqnlab.types import Array, UserError
from scripts.tasks import digits, task
from scripts.tasks.task import Splits, Task


@dataclasses.dataclass(frozen=True)
class Config(task.Config):
    """Where the files are, and how LeNet learns from them."""

    data: Path | None = None
    """Folder with train-images-idx3-ubyte, train-labels-idx1-ubyte and the t10k pair, each plain or
    .gz."""
    epochs: int = 12
    batch_size: int = 128
    learning_rate: float = 2e-3
    schedule: str = "warmup_cosine"
    weight_decay: float = 0.02
    patience: int | None = 4
    batches_per_launch: int = 16
    validation: float = 0.1
    """Share of the training files held back for early stopping."""
    dropout: float = 0.3
    """Share of units dropped before each dense layer in training."""
    shift: float = 2.0
    """Largest shift in pixels."""
    degrees: float = 10.0
    """Largest rotation."""


def load(config: Config, seed: int) -> Splits:
    """x uint8[N, H, W, 1], y int32[N]; the validation part is drawn by the seed."""
    if config.data is None:
        raise UserError("idx-files needs --data FOLDER with files in MNIST's format")
    (images, labels), (test_images, test_labels) = (
        idx.read_pair(config.data, part) for part in ("train", "t10k")
    )
    if images.shape[1:] != test_images.shape[1:]:
        raise UserError(f"{config.data}: images {images.shape[1:]} and {test_images.shape[1:]}")
    if images.dtype != np.uint8 or min(images.shape[1:]) < 12:
        raise UserError(
            f"{config.data}: images are {images.dtype}{list(images.shape[1:])}; LeNet takes bytes, "
            "12 x 12 or more"
        )
    if not 0 < config.validation < 1:
        raise UserError(f"--validation is {config.validation}; a share between 0 and 1")
    num_classes = int(max(labels.max(), test_labels.max())) + 1
    preprocess.check_classes(labels, num_classes, "labels of the training files")
    order = np.random.default_rng(seed).permutation(len(labels))
    held_back = max(1, round(config.validation * len(labels)))

    def part(images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        return {"x": images[..., None], "y": labels.astype(np.int32)}

    train, validation = order[held_back:], order[:held_back]
    return Splits(
        part(images[train], labels[train]),
        part(images[validation], labels[validation]),
        part(test_images, test_labels),
        {"classes": [str(each) for each in range(num_classes)]},
    )


def make(config: Config, info: dict[str, Any]) -> tuple[hk.TransformedWithState, Loss]:
    """LeNet-5 with 20 and 50 maps."""

    def forward(x: Array, is_training: bool) -> Array:
        net = LeNet(len(info["classes"]), (20, 50), hidden=(256,), dropout=config.dropout)
        return net(x, is_training)

    def distort(key: Array, batch: dict[str, Array]) -> dict[str, Array]:
        x = batch["x"].astype(np.float32) / 255
        x = augment.distort(key, x, shift=config.shift, degrees=config.degrees)
        return {**batch, "x": x}

    net = hk.transform_with_state(forward)
    return net, objective.supervised(net, objective.classification, distort)


TASK = Task(
    about="files in MNIST's format from --data FOLDER, by a LeNet",
    goal="none of its own: it is the data's (published for MNIST and LeNet: 0.92 % error)",
    minutes=20,
    defaults=Config(),
    load=load,
    make=make,
    report=digits.report,
)
