"""Small changes of an input that change what a net says of it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from dqnlab.types import Array


def fast_gradient_sign(loss: Callable[[Array], Array], x: Array, epsilon: float) -> Array:
    """x + epsilon sign(d loss / d x), kept within 0..1 (1412.6572, section 4).

    Args:
      loss: float x[B, ...] -> float[B], what the change is to make larger.
      x: float[B, ...] in 0..1.
      epsilon: how far each pixel goes; 1/255 is one grey level.
    """
    return jnp.clip(x + epsilon * gradient_sign(loss, x), 0.0, 1.0)


def gradient_sign(loss: Callable[[Array], Array], x: Array) -> Array:
    """sign(d loss / d x), which is the same for every epsilon: -1, 0 and 1 in x's shape."""
    return jnp.sign(jax.grad(lambda x: loss(x).sum())(x))


def doubt(outputs: Callable[[Array], Array], choice: Array) -> Callable[[Array], Array]:
    """The loss against a choice: -log softmax of the outputs [B, O], at choice int32[B]."""

    def loss(x: Array) -> Array:
        log_share = jax.nn.log_softmax(outputs(x).astype(jnp.float32), axis=-1)
        return -jnp.take_along_axis(log_share, choice[:, None], axis=1)[:, 0]

    return loss
