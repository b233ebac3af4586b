"""Examples for `Model`: checked inputs, labels or targets as the loss takes them, weights."""

from typing import Any

import jax
import numpy as np

from dqnlab import batches, inputs, objective
from dqnlab.objective import Criterion
from dqnlab.types import PyTree, UserError

Examples = dict[str, Any]  # x, y; weight and class_weight float64[N, ...] if given


def make(
    criterion: Criterion,
    outputs: PyTree,
    x: PyTree,
    y: Any,
    sample_weight: Any,
    class_weight: Any,
    name: str,
) -> Examples:
    """Return {"x", "y", "weight", "class_weight"}, the last two if given.

    Args:
      criterion: what the labels are for; one of the caller's own takes any arrays.
      outputs: `jax.ShapeDtypeStruct` of the net's outputs.
      x: arrays from `inputs.arrays`.
      y: labels or targets.
      sample_weight: [N] or [N, T ...], or None.
      class_weight: {label: weight}, "balanced" or None.
      name: for messages, "the training data".
    """
    data: Examples = {"x": x}
    if criterion not in objective.CRITERIA.values():
        if sample_weight is not None or class_weight is not None:
            raise UserError(
                "sample_weight and class_weight need a loss given by name; for a criterion of "
                "your own put weights into y, a dict"
            )
        data["y"] = inputs.arrays(y, f"{name}['y']")
    else:
        if not isinstance(outputs, jax.ShapeDtypeStruct):
            raise UserError("the net returns several outputs; a loss given by name takes one array")
        data |= _labelled(criterion, outputs.shape, y, sample_weight, class_weight, name)
    batches.num_examples(data)
    batches.check_finite(data, name)
    return data


def split(data: Examples, share: float, seed: int) -> tuple[Examples, Examples]:
    """Return the rest and a share drawn by the seed."""
    size = batches.num_examples(data)
    held_back = round(share * size)
    if not 0 < held_back < size:
        raise UserError(f"validation_split is {share}: {held_back} of {size} examples")
    order = np.random.default_rng((seed, 0)).permutation(size)
    return batches.take(data, order[held_back:]), batches.take(data, order[:held_back])


def weighted(data: Examples, is_training: bool) -> Examples:
    """Return {"x", "y", "weight"} with a mean weight of 1; classes are weighed in training only."""
    used = ("weight", "class_weight") if is_training else ("weight",)
    found = [data[key] for key in used if key in data]
    weight = None
    for each in sorted(found, key=np.ndim):  # [N] and [N, T] multiply to [N, T]
        weight = each if weight is None else weight.reshape(_as(weight, each)) * each
    kept = {key: data[key] for key in ("x", "y")}
    return kept if weight is None else {**kept, "weight": inputs.normalised(weight)}


def _as(weight: np.ndarray, other: np.ndarray) -> tuple[int, ...]:
    return weight.shape + (1,) * (other.ndim - weight.ndim)


def _labelled(
    criterion: Criterion,
    shape: tuple[int, ...],
    y: Any,
    sample_weight: Any,
    class_weight: Any,
    name: str,
) -> Examples:
    is_classification = criterion is objective.classification
    is_binary = criterion is objective.binary
    if is_classification and (len(shape) < 2 or shape[-1] < 2):
        raise UserError(
            f"the net's outputs are {['N', *shape[1:]]}; classification needs one for each of two "
            "or more classes (binary_crossentropy takes a single one)".replace("'N'", "N")
        )
    size = len(y) if np.ndim(y) else 0
    places = (size, *(shape[1:-1] if is_classification else shape[1:]))
    weight = None
    if sample_weight is not None:
        weight = inputs.weights(sample_weight, places, f"{name}: sample_weight")
    if is_classification:
        y = inputs.labels(y, shape, weight, f"{name}: labels")
    else:
        what = "labels" if is_binary else "targets"
        y = inputs.targets(y, shape, weight, f"{name}: {what}", is_binary)
    data = {"y": y} if weight is None else {"y": y, "weight": weight}
    if class_weight is None:
        return data
    if not (is_classification or is_binary) or (is_binary and not np.isin(y, (0, 1)).all()):
        raise UserError("class_weight needs labels that are classes")
    num_classes = shape[-1] if is_classification else 2
    return data | {"class_weight": inputs.class_weights(class_weight, y, num_classes, weight)}
