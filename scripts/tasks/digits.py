"""The 1,797 handwritten digits of scikit-learn, 8 x 8 pixels, in stratified splits."""

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from scripts.tasks.task import Splits, Trained


def load(seed: int, validation: float) -> Splits:
    """67 % to learn from and 33 % to test on, stratified; the seed is the split's.

    x float32[N, 8, 8, 1] in 0..1, y int32[N]. `validation` is the share of the training part held
    back for early stopping; 0 for none.
    """
    digits = load_digits()
    x = (digits.images[..., None] / 16).astype(np.float32)
    y = digits.target.astype(np.int32)
    rest, test = train_test_split(np.arange(len(y)), test_size=0.33, stratify=y, random_state=seed)
    held_back = None
    if validation:
        rest, chosen = train_test_split(
            rest, test_size=validation, stratify=y[rest], random_state=seed
        )
        held_back = {"x": x[chosen], "y": y[chosen]}
    classes = [str(each) for each in digits.target_names]
    train = {"x": x[rest], "y": y[rest]}
    return Splits(train, held_back, {"x": x[test], "y": y[test]}, {"classes": classes})


def report(trained: Trained, splits: Splits, folder: Path) -> dict[str, Any]:
    """The share of wrong classes in per cent, of the test part and of the training part."""
    return {
        f"{name}_error_percent": 100 * float(np.mean(_classes(trained, part) != part["y"]))
        for name, part in (("test", splits.test), ("train", splits.train))
    }


def _classes(trained: Trained, part: dict[str, Any]) -> np.ndarray:
    return np.argmax(trained.predict(part["x"]), axis=-1)
