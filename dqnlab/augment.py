"""Augmentation of images by transformations that leave their class alone; pure, to jit or scan.

All take a key and images [B, H, W, C] (float) and return as much; each image is changed in its own
way. Pixels from outside the image are zeros. `warp` samples once, bilinearly: combine displacement
fields by adding them, not by one call after the other, which blurs twice.
"""

import jax
import jax.numpy as jnp
from jax.scipy import ndimage

from dqnlab.types import Array


def warp(images: Array, displacement: Array) -> Array:
    """The image at each pixel's place plus its displacement [B, H, W, 2] in pixels (y, x)."""
    height, width = images.shape[1:3]
    grid = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij"), axis=-1)
    places = jnp.moveaxis(grid[None] + displacement, -1, 1)  # [B, 2, H, W]

    def sample(channel: Array, place: Array) -> Array:
        sampled: Array = ndimage.map_coordinates(channel, [place[0], place[1]], order=1)
        return sampled

    over_channels = jax.vmap(sample, in_axes=(-1, None), out_axes=-1)
    warped: Array = jax.vmap(over_channels)(images, places)
    return warped


def affine(
    key: Array,
    shape: tuple[int, ...],
    shift: float = 0.0,
    degrees: float = 0.0,
    scale: float = 0.0,
    shear: float = 0.0,
) -> Array:
    """Displacements [B, H, W, 2] of random affine maps about the image's centre.

    Args:
      key: consumed.
      shape: of the images, [B, H, W, C].
      shift: up to so many pixels along each axis.
      degrees: rotation by up to so much either way.
      scale: each axis stretched by a factor in [1 - scale, 1 + scale].
      shear: rows moved by up to so many pixels per row.
    """
    batch, height, width = shape[:3]
    shift_key, turn_key, scale_key, shear_key = jax.random.split(key, 4)
    angle = jnp.deg2rad(jax.random.uniform(turn_key, (batch,), minval=-degrees, maxval=degrees))
    factors = jax.random.uniform(scale_key, (batch, 2), minval=1 - scale, maxval=1 + scale)
    slant = jax.random.uniform(shear_key, (batch,), minval=-shear, maxval=shear)
    offset = jax.random.uniform(shift_key, (batch, 1, 1, 2), minval=-shift, maxval=shift)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    rotation = jnp.stack([jnp.stack([cos, -sin], -1), jnp.stack([sin, cos], -1)], axis=-2)
    skew = jnp.broadcast_to(jnp.eye(2), (batch, 2, 2)).at[:, 1, 0].set(slant)
    matrix = rotation @ skew @ (jnp.broadcast_to(jnp.eye(2), (batch, 2, 2)) * factors[:, None])
    centre = jnp.array([(height - 1) / 2, (width - 1) / 2])
    grid = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij"), axis=-1)
    places = grid - centre[None, None]
    moved = jnp.einsum("bij,hwj->bhwi", matrix, places)
    return moved - places[None] + offset


def elastic(key: Array, shape: tuple[int, ...], alpha: float, sigma: float) -> Array:
    """Displacements [B, H, W, 2] of Simard et al. 2003: smoothed noise.

    Uniform noise in [-1, 1] for each pixel and axis, smoothed by a Gaussian of `sigma` pixels, of
    its own standard deviation 1 afterwards and then times `alpha` pixels.
    """
    batch, height, width = shape[:3]
    noise = jax.random.uniform(key, (batch, height, width, 2), minval=-1.0, maxval=1.0)
    rows, columns = (_smoothing(size, sigma) for size in (height, width))
    smooth = jnp.einsum("ih,jw,bhwc->bijc", rows, columns, noise)
    # The noise's variance is 1/3; the smoothing leaves the product of the rows' sums of squares.
    spread = jnp.sqrt(jnp.outer((rows**2).sum(axis=1), (columns**2).sum(axis=1)) / 3)
    return alpha * smooth / spread[None, :, :, None]


def distort(
    key: Array,
    images: Array,
    *,
    shift: float = 0.0,
    degrees: float = 0.0,
    scale: float = 0.0,
    alpha: float = 0.0,
    sigma: float = 2.0,
) -> Array:
    """`affine` and `elastic` in one warp; for images in 0..1, which they stay in."""
    affine_key, elastic_key = jax.random.split(key)
    field = affine(affine_key, images.shape, shift, degrees, scale)
    if alpha:
        field = field + elastic(elastic_key, images.shape, alpha, sigma)
    return jnp.clip(warp(images, field), 0, 1)


def gaussian_noise(key: Array, images: Array, deviation: float) -> Array:
    """Independent noise on each pixel and channel."""
    return images + deviation * jax.random.normal(key, images.shape, images.dtype)


def _smoothing(size: int, sigma: float) -> Array:
    distance = jnp.arange(size)[:, None] - jnp.arange(size)[None, :]
    weights = jnp.exp(-0.5 * (distance / sigma) ** 2)
    return weights / weights.sum(axis=1, keepdims=True)
