"""Which parts of an image a number depends on: by its gradient, or by blurring patches."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dqnlab.types import Array


def as_float(x: Array | np.ndarray) -> Array:
    """Images uint8 0..255 become float32 0..1, as the nets themselves scale them."""
    return jnp.asarray(x, jnp.float32) / 255 if x.dtype == jnp.uint8 else jnp.asarray(x)


def gradient(score: Callable[[Array], Array], x: Array) -> Array:
    """|d score / d x| (1312.6034, section 3): one forward and one backward pass.

    Args:
      score: float x[B, ...] -> float[B]; an example's score depends on that example only.
      x: [B, ...]; uint8 images are differentiated as float 0..1.

    Returns float32 of x's shape.
    """
    return jnp.abs(jax.grad(lambda x: score(x).sum())(as_float(x))).astype(jnp.float32)


def perturbation(
    outputs: Callable[[Array], Array], x: Array, *, stride: int | None = None
) -> Array:
    """How far the outputs move when the image is blurred around each place (1711.00138, eq. 1-3).

    S(i, j) = 1/2 |f(x) - f(x')|^2, where x' mixes in a blurred x under a Gaussian around (i, j).
    Smoother than the gradient, which sees single pixels only, and slower by the number of places.
    The paper's sizes, for 80 x 80 pixels: a patch of sigma 5, a blur of sigma 3, every 5th pixel;
    here in proportion to the image's smaller side, of a pixel at least. All images of a batch are
    done at once.

    Args:
      outputs: float x[B, H, W, C] -> float[B, O].
      x: [B, H, W, C]; all channels are blurred together.
      stride: pixels between places; by default a 16th of the smaller side.

    Returns float32[B, H, W], interpolated between the places.
    """
    batch, height, width, channels = x.shape
    side = min(height, width)
    stride = stride or max(1, round(side / 16))
    image = as_float(x)
    blurred = blur(image, max(1.0, 3 * side / 80))
    near = [_bumps(size, stride, max(1.0, side / 16)) for size in (height, width)]
    mask = jnp.einsum("ih,jw->ijhw", *near).reshape(-1, 1, height, width, 1)  # [P, 1, H, W, 1]
    # The barrier keeps the compiler from computing it all as constants of the program.
    shape = (mask.shape[0], batch, height, width, channels)
    full, plain, soft = (jnp.broadcast_to(each, shape) for each in (mask, image[None], blurred))
    mixed = (plain + full * (soft - plain)).reshape(-1, height, width, channels)
    before, after = outputs(image), outputs(lax.optimization_barrier(mixed))
    moved = after.reshape(shape[0], batch, -1) - jnp.broadcast_to(before, (shape[0], *before.shape))
    places = 0.5 * jnp.square(moved.astype(jnp.float32)).sum(axis=-1)
    places = places.T.reshape(batch, len(near[0]), len(near[1]))
    picture: Array = jax.image.resize(places, (batch, height, width), "linear")
    return picture


def heat(saliency: Array, smooth: float = 0.0) -> Array:
    """One picture per example, for an overlay: [B, H, W] or [B, H, W, C] -> float32[B, H, W].

    The largest value over the channels, blurred by a Gaussian of sigma `smooth` pixels, and scaled
    so that the maximum of each picture is 1 (all 0 where nothing matters).
    """
    if saliency.ndim == 3:
        saliency = saliency[..., None]
    picture = saliency.max(axis=-1, keepdims=True)
    picture = (blur(picture, smooth) if smooth else picture)[..., 0]
    largest = jnp.broadcast_to(picture.max(axis=(1, 2), keepdims=True), picture.shape)
    return jnp.where(largest > 0, picture / jnp.where(largest > 0, largest, 1.0), 0.0)


def blur(image: Array, sigma: float) -> Array:
    """Convolution with a Gaussian of sigma pixels, whose weights at the edge are made to sum to 1.

    float [B, H, W, C] -> the same shape.
    """
    # One product per axis: the image is small, and a constant stays a constant at the edges.
    across = []
    for size in image.shape[1:3]:
        weights = _bumps(size, 1, sigma)
        across.append(weights / weights.sum(axis=1, keepdims=True))
    return jnp.einsum("ih,jw,bhwc->bijc", *across, image)


def _bumps(size: int, stride: int, sigma: float) -> np.ndarray:
    """A Gaussian of height 1 around each place 0, stride, ... -> float32[places, size]."""
    distance = np.arange(size)[None, :] - np.arange(stride // 2, size, stride)[:, None]
    return np.exp(-0.5 * np.square(distance / sigma)).astype(np.float32)
