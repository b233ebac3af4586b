"""Embeddings learnt from which examples belong together: distances that mean likeness."""

import jax
import jax.numpy as jnp
import numpy as np

from dqnlab.types import Array


def normalised(x: Array) -> Array:
    """[B, D] of length 1; the gradient at zero is finite."""
    squares = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return x * jnp.broadcast_to(jax.lax.rsqrt(squares + 1e-12), x.shape)


def squared_distances(a: Array, b: Array) -> Array:
    """[A, D], [B, D] -> [A, B]."""
    return jnp.sum(jnp.square(a[:, None] - b[None]), axis=-1)


def triplet(embeddings: Array, labels: Array, margin: float) -> tuple[Array, dict[str, Array]]:
    """Large-margin ranking over all triplets of a batch: max(0, margin + d(a, p) - d(a, n)).

    a and p are different examples of a class, n is of another one; d are squared distances. The
    mean is over triplets that violate the margin (FaceNet, 1503.03832, without its mining): the
    many others would drown them.

    Args:
      embeddings: float32[B, D].
      labels: int32[B].
    """
    distances = squared_distances(embeddings, embeddings)
    same = labels[:, None] == labels[None]
    positive = same & ~jnp.eye(len(labels), dtype=bool)
    losses = jax.nn.relu(margin + distances[:, :, None] - distances[:, None, :])
    counts = positive[:, :, None] & ~same[:, None, :]
    violated = jnp.sum(counts & (losses > 0))
    loss = jnp.sum(jnp.where(counts, losses, 0.0)) / jnp.maximum(violated, 1)
    return loss, {"violated": violated / jnp.maximum(counts.sum(), 1)}


def recall_at(embeddings: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of examples with another one of their class among their k nearest others."""
    return float(_hits(embeddings, labels, k).any(axis=1).mean())


def precision_at(embeddings: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of their own class among the k nearest others, over all examples."""
    return float(_hits(embeddings, labels, k).mean())


def spread(embeddings: np.ndarray) -> float:
    """Standard deviation of embeddings of length 1, 0 (all clumped together) .. 1 (all around)."""
    return float(np.sqrt(embeddings.var(axis=0).sum()))


def _hits(embeddings: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    squares = (embeddings**2).sum(axis=1)
    distances = squares[None] - 2 * embeddings @ embeddings.T  # but for each row's own square
    np.fill_diagonal(distances, np.inf)
    nearest = np.argpartition(distances, k - 1, axis=1)[:, :k]
    hits: np.ndarray = labels[nearest] == labels[:, None]
    return hits
