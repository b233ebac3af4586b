"""Augmentation of images by small random translations."""

import jax
import jax.numpy as jnp

from dqnlab.types import Array


def random_shift(key: Array, images: Array, pad: int = 4) -> Array:
    """Each image moved by up to `pad` pixels, its edge repeated (DrQ, 2004.13649, section 3.1).

    One shift for all channels of an image, another for each image: [B, H, W, C] -> [B, H, W, C],
    of any dtype.
    """
    batch, height, width, channels = images.shape
    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="edge")
    corners = jax.random.randint(key, (batch, 2), 0, 2 * pad + 1)

    def crop(image: Array, corner: Array) -> Array:
        start = (corner[0], corner[1], jnp.zeros((), corner.dtype))
        return jax.lax.dynamic_slice(image, start, (height, width, channels))

    return jax.vmap(crop)(padded, corners)
