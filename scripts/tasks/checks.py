"""What the data of every task must be, whatever the task; checked before anything is learnt."""

from typing import Any

import numpy as np

from dqnlab import batches, preprocess
from dqnlab.types import UserError
from scripts.tasks.task import Config, Splits


def check(splits: Splits, config: Config) -> None:
    """Raise UserError for data or settings that cannot be learnt from."""
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    for name, part in parts.items():
        if part is not None:
            _check_part(name, part, splits.info.get("classes"))
    if config.batch_size < 1:
        raise UserError(f"--batch-size is {config.batch_size}; it must be at least 1")
    if config.patience is not None and splits.validation is None:
        raise UserError(
            f"--patience is {config.patience}; this task holds no validation data back to watch"
        )


def _check_part(name: str, part: dict[str, Any], classes: Any) -> None:
    try:
        batches.num_examples(part)
    except UserError as error:
        raise UserError(f"the {name} part: {error}") from None
    batches.check_finite(part, name)
    if isinstance(classes, list) and np.ndim(part.get("y")) == 1:
        preprocess.check_labels(part["y"], len(classes), f"{name} labels")
        if name == "train":
            preprocess.check_classes(part["y"], len(classes), f"{name} labels")
