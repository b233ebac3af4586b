"""Pooling to a fixed number of bins, whatever the size of the image."""

import jax.numpy as jnp

from dqnlab.types import Array


def adaptive_max_pool(x: Array, height: int, width: int) -> Array:
    """The maximum of each of height x width bins: [B, H, W, C] -> [B, height, width, C].

    Of H rows, bin i takes floor(i H / height) up to, not including, ceil((i + 1) H / height), as
    PyTorch's AdaptiveMaxPool2d does: bins overlap where they do not divide H. Of equal maxima each
    gets its share of the gradient (PyTorch: one gets all).
    """
    # A bin is a rectangle, so rows and columns can be pooled one after the other.
    rows = [x[:, start:end].max(axis=1) for start, end in _bins(x.shape[1], height)]
    x = jnp.stack(rows, axis=1)
    columns = [x[:, :, start:end].max(axis=2) for start, end in _bins(x.shape[2], width)]
    return jnp.stack(columns, axis=2)


def _bins(size: int, num_bins: int) -> list[tuple[int, int]]:
    return [(i * size // num_bins, -(-(i + 1) * size // num_bins)) for i in range(num_bins)]
