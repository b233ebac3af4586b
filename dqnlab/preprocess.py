"""Data steps whose numbers come from the training part alone and then serve every part."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dqnlab.types import Array, UserError

Numbers = np.ndarray | Array


class Standardizer(NamedTuple):
    """x -> (x - mean) / deviation for each feature; constant features become 0, not NaN.

    In float64: a feature such as Unix time, whose mean is far larger than its deviation, would lose
    its differences in float32.
    """

    mean: np.ndarray  # float64[...], the shape of one example
    deviation: np.ndarray  # float64[...], 1 where the feature is constant

    def __call__(self, x: Numbers) -> Any:
        """[N, ...] -> float32[N, ...]; UserError where a result is beyond float32."""
        if isinstance(x, jax.Array):  # traced, maybe: float32 throughout
            return (x - self.mean[None]) / self.deviation[None]
        return to_float32((x - self.mean[None]) / self.deviation[None], "standardised features")

    def undo(self, x: np.ndarray) -> np.ndarray:
        """[N, ...] -> float64[N, ...], as it was before."""
        original: np.ndarray = x * self.deviation[None] + self.mean[None]
        return original


def to_float32(x: np.ndarray, name: str) -> np.ndarray:
    """Cast to float32; UserError for a finite value that float32 cannot hold."""
    largest = float(np.finfo(np.float32).max)
    if x.dtype.itemsize > 4 and x.size and max(abs(float(x.min())), abs(float(x.max()))) > largest:
        beyond = np.isfinite(x) & (np.abs(x) > largest)
        if beyond.any():
            index = tuple(int(i) for i in np.argwhere(beyond)[0])
            raise UserError(
                f"{name}{list(index)} is {x[index]:.4g}; float32 holds -{largest:.4g} to "
                f"{largest:.4g}"
            )
    return x.astype(np.float32)


def standardizer(
    train: np.ndarray, weight: np.ndarray | None = None, name: str = "features"
) -> Standardizer:
    """Return the standardizer of the training part [N, ...]; apply it to all parts.

    Args:
      train: numbers of any type.
      weight: of each example, [N].
      name: for messages.
    """
    # A constant column's deviation is 0, or rounding of its values or mean; it must not blow up.
    rounding = 1e-7 if train.dtype in (np.float16, np.float32) else 1e-14
    to_float32(train, name)  # so that no square overflows
    if weight is None:
        mean = train.mean(axis=0, dtype=np.float64)
        deviation = train.std(axis=0, dtype=np.float64)
    else:
        mean = np.average(train, axis=0, weights=weight)
        deviation = np.sqrt(np.average((train - mean[None]) ** 2, axis=0, weights=weight))
    scale = np.abs(train.astype(np.float64)).max(axis=0)
    is_constant = deviation <= rounding * np.maximum(scale, 1e-30)
    return Standardizer(mean, np.where(is_constant, 1.0, deviation))


class Whitener(NamedTuple):
    """x -> (x - mean) W: features decorrelated, each with variance 1."""

    mean: np.ndarray  # float64[D]
    matrix: np.ndarray  # float32[D, D], symmetric
    inverse: np.ndarray  # float32[D, D]

    def __call__(self, x: Numbers) -> Any:
        """[N, D] -> float32[N, D]."""
        if isinstance(x, jax.Array):
            return (x - self.mean[None]) @ self.matrix
        return to_float32((x - self.mean[None]) @ self.matrix, "whitened features")

    def undo(self, x: np.ndarray) -> np.ndarray:
        """[N, D] -> float64[N, D], as it was before."""
        original: np.ndarray = x @ self.inverse + self.mean[None]
        return original


def whitener(train: np.ndarray, epsilon: float = 0.0) -> Whitener:
    """ZCA whitening of the training part [N, D]: W = U (S + epsilon)^-1/2 U^T of its covariance.

    Of all whitenings the one nearest to the identity: whitened images still look like images.
    With epsilon 0 the covariance of the result is the identity; above, directions of less variance
    than that stay small, as they are mostly noise.

    Raises UserError where the covariance is singular and epsilon is 0.
    """
    if train.ndim != 2:
        raise UserError(f"whitening takes [N, D], not {list(train.shape)}")
    to_float32(train, "features")
    mean = train.mean(axis=0, dtype=np.float64)
    centred = train - mean[None]
    values, vectors = np.linalg.eigh(centred.T @ centred / len(train))
    values = np.maximum(values, 0) + epsilon
    if values.min() <= 1e-9 * values.max():
        raise UserError(
            "the data cannot be whitened: some feature is constant or a sum of others, or there "
            f"are fewer examples ({len(train)}) than features ({train.shape[1]}); use an epsilon "
            "above 0"
        )
    matrix = (vectors / np.sqrt(values)) @ vectors.T
    inverse = (vectors * np.sqrt(values)) @ vectors.T
    return Whitener(mean, matrix.astype(np.float32), inverse.astype(np.float32))


def one_hot(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """int[N] -> float32[N, num_classes]; UserError for a label out of range."""
    check_labels(labels, num_classes)
    rows: np.ndarray = np.eye(num_classes, dtype=np.float32)[labels]
    return rows


def check_labels(labels: np.ndarray, num_classes: int, where: str = "labels") -> None:
    """Raise UserError unless all are whole numbers in [0, num_classes)."""
    labels = np.asarray(labels)
    if not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"{where} are {labels.dtype}; classes are whole numbers")
    bad = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(bad):
        raise UserError(
            f"{where}[{bad[0]}] is {labels.reshape(-1)[bad[0]]}; with {num_classes} classes it "
            f"must be in 0..{num_classes - 1} ({len(bad)} are not)"
        )


def check_classes(labels: np.ndarray, num_classes: int, where: str) -> None:
    """Raise UserError where a class has no example in this part of the data."""
    check_labels(labels, num_classes, where)
    missing = np.flatnonzero(np.bincount(np.ravel(labels), minlength=num_classes) == 0)
    if len(missing):
        raise UserError(f"{where} have no example of class {', '.join(map(str, missing[:10]))}")


def pad_and_mask(
    sequences: Sequence[np.ndarray], length: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Sequences [T_i, ...] of different lengths -> ([N, T, ...] filled up with zeros, bool[N, T]).

    Args:
      sequences: arrays that differ in their first axis only.
      length: T; the longest sequence's by default.

    Raises UserError where there is none, or one is longer than `length`.
    """
    arrays = [np.asarray(each) for each in sequences]
    if not arrays:
        raise UserError("there are no sequences to pad")
    longest = max(len(each) for each in arrays)
    length = longest if length is None else length
    if longest > length:
        raise UserError(f"a sequence has {longest} steps; the length is {length}")
    padded = np.zeros((len(arrays), length, *arrays[0].shape[1:]), arrays[0].dtype)
    mask = np.zeros((len(arrays), length), bool)
    for row, each in enumerate(arrays):
        padded[row, : len(each)] = each
        mask[row, : len(each)] = True
    return padded, mask


def condition(x: Array, condition: Array) -> Array:
    """Features [B, D] with what they are conditioned on [B, C] behind them: [B, D + C]."""
    return jnp.concatenate([x, condition.astype(x.dtype)], axis=-1)


def condition_channels(images: Array, condition: Array) -> Array:
    """Images [B, H, W, K] and numbers [B, C], each as a constant plane: [B, H, W, K + C]."""
    shape = (*images.shape[:3], condition.shape[-1])
    planes = jnp.broadcast_to(condition[:, None, None], shape)
    return jnp.concatenate([images, planes.astype(images.dtype)], axis=-1)
