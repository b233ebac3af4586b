"""Local contrast normalisation: every neighbourhood gets the same mean and the same spread."""

import haiku as hk
import jax
import jax.numpy as jnp

from dqnlab.types import Array


def local_contrast_norm(x: Array, size: int = 9, epsilon: float = 1e-2) -> Array:
    """Subtract the local mean, then divide by the local standard deviation.

    Both over size x size pixels and all channels (Jarrett et al. 2009, section 2.1, with a square
    window where theirs is Gaussian). At the border the window is cut.

    Args:
      x: [B, H, W, C], in any unit.
      size: of the window, odd.
      epsilon: standard deviation, in x's unit, under which an area counts as flat and stays so.

    Raises ValueError for a window that has no centre.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"size is {size}; a window with a centre has an odd one")

    def local_mean(x: Array) -> Array:
        mean = x.mean(axis=-1, keepdims=True)
        return hk.avg_pool(mean, (size, size, 1), (1, 1, 1), padding="SAME")  # counts real pixels

    centred = x - jnp.broadcast_to(local_mean(x), x.shape)
    scale = jax.lax.rsqrt(local_mean(jnp.square(centred)) + epsilon**2)
    return centred * jnp.broadcast_to(scale, x.shape)
