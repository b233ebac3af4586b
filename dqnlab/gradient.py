"""Gradient transformations that optax lacks."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from dqnlab.types import Array, Params, PyTree


class WindowState(NamedTuple):
    """The squared gradients of the last steps, the oldest overwritten."""

    squares: PyTree  # float32[tau, ...] for each parameter
    step: Array  # int32[]


def windowed_adagrad(
    learning_rate: float | optax.Schedule, window: int, k: float
) -> optax.GradientTransformation:
    """w <- w - eta g / sqrt(k + sum of g² over the last `window` steps, this one included).

    Adagrad forgets nothing and so ends up with steps of 0; RMSProp is the exponential form.
    """

    def init(params: Params) -> WindowState:
        squares = jax.tree.map(lambda w: jnp.zeros((window, *w.shape), w.dtype), params)
        return WindowState(squares, jnp.zeros((), jnp.int32))

    def update(
        updates: PyTree, state: WindowState, params: Params | None = None
    ) -> tuple[PyTree, WindowState]:
        slot = state.step % window
        squares = jax.tree.map(lambda s, g: s.at[slot].set(g * g), state.squares, updates)
        updates = jax.tree.map(lambda g, s: g / jnp.sqrt(k + s.sum(axis=0)), updates, squares)
        return updates, WindowState(squares, state.step + 1)

    scale = optax.GradientTransformation(init, update)
    return optax.chain(scale, optax.scale_by_learning_rate(learning_rate))


class AverageState(NamedTuple):
    """The running average of the gradients."""

    mean: PyTree


def average_gradient(
    learning_rate: float | optax.Schedule, average_rate: float, decay: float
) -> optax.GradientTransformation:
    """Momentum as an averaged gradient: m <- (1 - decay) m + decay g; w <- w - eta (g + c m).

    Args:
      learning_rate: eta.
      average_rate: c, the second step size as a multiple of the first.
      decay: lambda of the average.
    """

    def init(params: Params) -> AverageState:
        return AverageState(jax.tree.map(jnp.zeros_like, params))

    def update(
        updates: PyTree, state: AverageState, params: Params | None = None
    ) -> tuple[PyTree, AverageState]:
        mean = jax.tree.map(lambda m, g: (1 - decay) * m + decay * g, state.mean, updates)
        updates = jax.tree.map(lambda g, m: g + average_rate * m, updates, mean)
        return updates, AverageState(mean)

    both = optax.GradientTransformation(init, update)
    return optax.chain(both, optax.scale_by_learning_rate(learning_rate))
