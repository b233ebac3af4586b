"""Convert the data that callers give into the arrays that nets take; refuse the rest in one line.

Whole numbers keep their type, so that images of bytes stay small: the net's caller casts them on
the device. float16, float64 and objects become float32. Nothing that is no number gets through.
"""

import decimal
import math
import numbers as abstract
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dqnlab import preprocess
from dqnlab.types import PyTree, UserError

_ROUNDING = 2e-6  # about 32 steps of float32 to a standard deviation


def arrays(x: PyTree, name: str) -> PyTree:
    """Convert one array, or a dict or tuple of arrays; a list is one array, as in NumPy."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: numbers(leaf, f"{name}{jax.tree_util.keystr(path)}"), x, is_leaf=_is_one
    )


def numbers(values: Any, name: str) -> np.ndarray:
    """Convert to an array [N, ...] of bool, whole numbers of at most 32 bits, or float32.

    Raises UserError for text, None, dates, complex and masked values, rows of different lengths,
    and numbers beyond float32.
    """
    array = _array(values, name)
    if array.dtype.kind == "b":
        return array
    if array.dtype.kind in "iu":
        limits = np.iinfo(np.int32)
        if array.size and (array.min() < limits.min or array.max() > limits.max):
            return array.astype(np.float32)
        is_small = array.dtype.itemsize < 4
        whole: np.ndarray = array.astype(
            array.dtype.newbyteorder("=") if is_small else np.int32, copy=False
        )
        return whole
    if jnp.issubdtype(array.dtype.newbyteorder("="), jnp.floating):
        return preprocess.to_float32(array, name)
    raise UserError(f"{name} is {array.dtype}; real numbers are needed")


def warn_of_rounding(x: PyTree, name: str) -> None:
    """Warn of a feature whose differences are lost in float32, such as Unix time."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(x, is_leaf=_is_one):
        array = _array(leaf, name)
        if array.dtype.kind not in "iuf" or array.dtype.itemsize < 4 or array.dtype == np.float32:
            continue
        array = array.astype(np.float64, copy=False)
        largest, spread = np.abs(array).max(axis=0), array.std(axis=0)
        lost = (spread < _ROUNDING * largest) & (spread > 1e-14 * largest)
        if lost.any():
            index = tuple(int(i) for i in np.argwhere(lost)[0])
            where = f"{name}{jax.tree_util.keystr(path)}[{', '.join([':', *map(str, index)])}]"
            warnings.warn(
                f"{where} is up to {largest[index]:.3g} with a deviation of {spread[index]:.3g}: "
                "float32 rounds its differences away. Standardise it first "
                "(dqnlab.preprocess.standardizer)",
                stacklevel=3,
            )


def labels(y: Any, shape: tuple[int, ...], weight: np.ndarray | None, name: str) -> np.ndarray:
    """Convert labels [N, ...], [N, ..., 1] or one-hot [N, ..., K] to int32[N, ...].

    Args:
      y: whole numbers of any type.
      shape: of the net's outputs, [N, ..., K].
      weight: from `weights`; labels with weight 0 may be anything.
      name: for messages.
    """
    y, num_classes = numbers(y, name), shape[-1]
    places = (len(y), *shape[1:-1])
    ignored = _ignored(weight, places)
    if y.shape == (*places, num_classes) and num_classes > 1:
        is_one_hot = np.isin(y, (0, 1)).all(axis=-1) & (y.sum(axis=-1) == 1)
        _refuse_first(~is_one_hot & ~ignored, y, name, "one-hot rows have a single 1")
        y = np.argmax(y, axis=-1)
    elif y.shape == (*places, 1):
        y = y[..., 0]
    elif y.shape != places:
        raise UserError(
            f"{name} are {list(y.shape)}; the net's outputs {_outputs(len(y), shape)} take "
            f"{list(places)}, or one-hot {[*places, num_classes]}"
        )
    y = np.asarray(np.where(ignored, np.zeros((), y.dtype), y))
    _refuse_first(y != np.rint(y), y, name, "classes are whole numbers")
    allowed = f"with {num_classes} classes it must be in 0..{num_classes - 1}"
    _refuse_first((y < 0) | (y >= num_classes), y, name, allowed)
    whole: np.ndarray = y.astype(np.int32)
    return whole


def targets(
    y: Any, shape: tuple[int, ...], weight: np.ndarray | None, name: str, is_binary: bool = False
) -> np.ndarray:
    """Convert targets to float32 of the outputs' shape [N, ...]; axes of length 1 do not matter.

    Args:
      y: numbers of any type.
      shape: of the net's outputs.
      weight: from `weights`; targets with weight 0 may be anything.
      name: for messages.
      is_binary: refuse what is not in 0..1.
    """
    y = numbers(y, name)
    places = (len(y), *shape[1:])
    if [n for n in y.shape[1:] if n != 1] != [n for n in shape[1:] if n != 1]:
        raise UserError(
            f"{name} are {list(y.shape)}; the net's outputs are {_outputs(len(y), shape)}"
        )
    ignored = _ignored(weight, places)
    values: np.ndarray = y.reshape(places).astype(np.float32)
    values[ignored] = 0
    if is_binary:
        outside = (values < 0) | (values > 1)
        _refuse_first(outside, values, name, "binary labels are 0, 1 or shares between")
    return values


def weights(values: Any, places: tuple[int, ...], name: str) -> np.ndarray:
    """Convert weights of examples [N], or of labels [N, T ...] as a mask has them, to float64."""
    weight = numbers(values, name).astype(np.float64)
    if weight.ndim == 2 and weight.shape[1] == 1 and weight.shape != places[:2]:
        weight = weight[:, 0]
    if weight.shape != places[: weight.ndim]:
        allowed = " or ".join(str(list(places[:n])) for n in range(1, len(places) + 1))
        raise UserError(f"{name} is {list(weight.shape)}; it must be {allowed}")
    _refuse_first(~(weight >= 0) | np.isinf(weight), weight, name, "weights are 0 or more")
    if not weight.any():
        raise UserError(f"{name} is 0 everywhere: there is nothing to learn from or to measure")
    return weight


def class_weights(
    given: Any, y: np.ndarray, num_classes: int, weight: np.ndarray | None
) -> np.ndarray:
    """Return the weight float64[N, ...] of each label: from {label: weight}, or "balanced".

    "balanced" weighs each class by the inverse of how often it occurs, as scikit-learn does.
    """
    y = y.astype(np.int64)
    if given == "balanced":
        counts = np.bincount(y[~_ignored(weight, y.shape)], minlength=num_classes)
        table = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
        return np.asarray(table[y], np.float64)
    if not isinstance(given, dict):
        raise UserError(f"class_weight is {given!r}; it must be 'balanced' or {{label: weight}}")
    table = np.ones(num_classes)
    for label, value in given.items():
        if not isinstance(label, int | np.integer) or not 0 <= label < num_classes:
            raise UserError(f"class_weight has {label!r}; labels are 0..{num_classes - 1}")
        if not isinstance(value, abstract.Real) or not 0 <= float(value) < math.inf:
            raise UserError(f"class_weight[{label}] is {value!r}; it must be 0 or more")
        table[label] = value
    return np.asarray(table[y], np.float64)


def normalised(weight: np.ndarray) -> np.ndarray:
    """Scale weights to a mean of 1: then a mean of weighted losses is a weighted mean."""
    if not weight.any():  # none at all, too
        raise UserError("no example has a weight above 0")
    scaled: np.ndarray = weight / weight.mean()
    return scaled.astype(np.float32)


def _is_one(x: Any) -> bool:
    return x is None or isinstance(x, list) or jax.tree_util.all_leaves([x])


def _array(values: Any, name: str) -> np.ndarray:
    if np.ma.is_masked(values):
        raise UserError(f"{name} has masked values; fill them in, or leave the examples out")
    try:
        array = np.asarray(values)
        if array.dtype.kind in "OUS":
            array = _of_objects(np.asarray(values, dtype=object), name)
    except UserError:
        raise
    except ValueError:
        raise UserError(
            f"{name} has rows of different shapes; one array is needed (several inputs go into a "
            "dict; sequences are padded by dqnlab.preprocess.pad_and_mask)"
        ) from None
    except Exception as error:
        raise UserError(f"{name} is a {type(values).__name__}, no array: {error}") from None
    if array.ndim == 0:
        raise UserError(
            f"{name} is {_short(values)}, a {type(values).__name__}; an array of examples is needed"
        )
    return array


def _of_objects(array: np.ndarray, name: str) -> np.ndarray:
    # What pandas gives for mixed columns: numbers in a list, or arrays in a column.
    if array.ndim == 0:
        return array
    for index, item in np.ndenumerate(array):
        if item is None or isinstance(item, str | bytes):
            raise UserError(f"{name}{list(index)} is {_short(item)}; numbers are needed")
    array = np.asarray(array.tolist())
    if array.dtype.kind != "O":
        return array
    for index, item in np.ndenumerate(array):
        if not isinstance(item, abstract.Real | decimal.Decimal):
            raise UserError(f"{name}{list(index)} is {_short(item)}; numbers are needed")
    return array.astype(np.float64)


def _short(item: Any) -> str:
    text = " ".join(repr(item).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _ignored(weight: np.ndarray | None, places: tuple[int, ...]) -> np.ndarray:
    if weight is None:
        return np.zeros(places, bool)
    if len(weight) != places[0]:
        raise UserError(f"sample_weight has {len(weight)} examples; there are {places[0]}")
    return np.broadcast_to(
        (weight == 0).reshape(weight.shape + (1,) * (len(places) - weight.ndim)), places
    )


def _refuse_first(bad: np.ndarray, values: np.ndarray, name: str, allowed: str) -> None:
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        raise UserError(
            f"{name}{list(index)} is {values[index]}; {allowed} ({bad.sum()} of {bad.size} are not)"
        )


def _outputs(size: int, shape: tuple[int, ...]) -> str:
    return str([size, *shape[1:]])
