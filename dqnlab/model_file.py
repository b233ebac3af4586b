"""The folder that `Model.save` writes: weights, optimizer state, history, seed and names."""

from pathlib import Path
from typing import Any

import jax

from dqnlab import checkpoint
from dqnlab import progress as progresses
from dqnlab.progress import Progress
from dqnlab.types import PyTree

_KIND = "model"


def write(path: str | Path, progress: Progress, made_with: dict[str, Any]) -> None:
    """Write a folder; `made_with` are the seed and the names of loss and optimizer."""
    arrays, rest = progresses.split(progress)
    steps = int(arrays["train"].step)
    meta = {"progress": rest, **made_with}
    checkpoint.save(path, steps, jax.device_get(arrays), meta, keep=1, kind=_KIND)


def read(path: str | Path, like: PyTree, made_with: dict[str, Any]) -> tuple[Progress, str]:
    """Return the progress, and why it cannot be trained on ("" if it can).

    Args:
      path: the folder.
      like: shapes and types of the arrays of a progress of this model.
      made_with: what `write` is given for this model. With another seed or optimizer the weights
        are read and the optimizer's state is left out.

    Raises CheckpointError where the folder is missing, damaged, or of another net.
    """
    found, _ = checkpoint.latest(path)
    different = [
        f"{name} {found.meta[name]!r}"
        for name, value in made_with.items()
        if name != "loss" and found.meta.get(name, value) != value
    ]
    reason = ""
    if different or not checkpoint.holds(found, like):
        reason = (
            f"{path} was saved with {' and '.join(different) or 'another optimizer'}: this model "
            "can predict and evaluate; to train on, load it into a model like the one saved"
        )
        like = {**like, "train": like["train"]._replace(opt_state=())}
    arrays = checkpoint.load_state(found, like, kind=_KIND, is_part=bool(reason))
    return progresses.join(arrays, found.meta["progress"]), reason
