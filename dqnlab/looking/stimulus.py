"""The input that a unit answers to most: constrained optimisation (Erhan et al. 2009)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from dqnlab.looking import saliency
from dqnlab.types import Array

Carry = tuple[Array, Array, Array]  # x, the best x so far, its value


class Ball(NamedTuple):
    """The inputs that are allowed: within 0..1, and near a centre."""

    centre: Array  # float [...], an input such as the mean image
    radius: float  # Euclidean distance from it


def ball_of(images: Array) -> Ball:
    """The smallest ball around the mean image that holds all these images, [N, ...] in 0..1."""
    centre = images.mean(axis=0)
    offsets = (images - jnp.broadcast_to(centre, images.shape)).reshape(len(images), -1)
    return Ball(centre, float(jnp.linalg.norm(offsets, axis=1).max()))


def maximize(
    value: Callable[[Array], Array],
    start: Array,
    centre: Array,
    radius: Array | float,
    *,
    steps: int = 200,
    smooth: float = 0.0,
) -> tuple[Array, Array]:
    """Projected gradient ascent on `value` inside a ball and the box 0..1; jittable.

    Each step goes along the gradient's direction by a share of the radius that falls from 0.1 to 0,
    then back into the ball, then into the box (which, as the centre is in it, does not leave the
    ball). The best input on the way is kept, so more steps are never worse.

    Args:
      value: float x[B, ...] -> float[B].
      start: float[B, ...], points to begin at.
      smooth: sigma in pixels of a blur of the gradient, [B, H, W, C]: smoother pictures, lower
        values (0: the plain gradient).

    Returns (x[B, ...], value[B]).
    """

    def project(x: Array) -> Array:
        middle = jnp.broadcast_to(centre, x.shape)
        offset = x - middle
        norm = jnp.maximum(_norm(offset), 1e-12)
        return jnp.clip(middle + jnp.minimum(1.0, radius / norm) * offset, 0.0, 1.0)

    def step(carry: Carry, size: Array) -> tuple[Carry, None]:
        x, best, best_value = carry
        values, pull = jax.vjp(value, x)
        is_better = values > best_value
        best = jnp.where(_like(is_better, x), x, best)
        (gradient,) = pull(jnp.ones_like(values))
        gradient = saliency.blur(gradient, smooth) if smooth else gradient
        direction = gradient / jnp.maximum(_norm(gradient), 1e-12)
        x = project(x + size * radius * direction)
        return (x, best, jnp.maximum(values, best_value)), None

    x = project(start)
    sizes = jnp.linspace(0.1, 0.0, steps)
    carry = (x, x, jnp.full(len(x), -jnp.inf, jax.eval_shape(value, x).dtype))
    (_, best, values), _ = lax.scan(step, carry, sizes)
    return best, values


def _norm(x: Array) -> Array:
    """Of each example: [B, ...] -> x's shape."""
    squares = jnp.square(x).sum(axis=tuple(range(1, x.ndim)), keepdims=True)
    return jnp.broadcast_to(jnp.sqrt(squares), x.shape)


def _like(each: Array, x: Array) -> Array:
    return jnp.broadcast_to(each.reshape(-1, *(1,) * (x.ndim - 1)), x.shape)
