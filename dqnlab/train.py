"""The state of everything that learns, and the one gradient step of the project."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dqnlab.types import Array, Params, PyTree


class TrainState(NamedTuple):
    """Parameters, the network's own state (batch norm, spectral norm), optimizer, counter."""

    params: Params
    net_state: PyTree
    opt_state: optax.OptState
    step: Array  # int32[]: gradient steps taken


class LossAux(NamedTuple):
    """What a loss returns beside its scalar."""

    net_state: PyTree
    metrics: dict[str, Array]  # scalars
    extra: PyTree = ()  # anything the caller wants back, e.g. priorities


LossFn = Callable[[Params, PyTree, Array, Any], tuple[Array, LossAux]]


def init(params: Params, net_state: PyTree, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    return TrainState(params, net_state, optimizer.init(params), jnp.zeros((), jnp.int32))


def make_update(
    loss_fn: LossFn, optimizer: optax.GradientTransformation
) -> Callable[[TrainState, Array, Any], tuple[TrainState, LossAux]]:
    """Make `update(state, key, batch) -> (state, aux)`, one gradient step.

    Args:
      loss_fn: (params, net_state, key, batch) -> (scalar loss, LossAux).
      optimizer: any optax transformation.

    The metrics gain `loss` and `grad_norm` (before clipping). Pure: jit, scan or vmap it.
    """

    def update(state: TrainState, key: Array, batch: Any) -> tuple[TrainState, LossAux]:
        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, aux), grads = grad_fn(state.params, state.net_state, key, batch)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {**aux.metrics, "loss": loss, "grad_norm": optax.tree.norm(grads)}
        state = TrainState(params, aux.net_state, opt_state, state.step + 1)
        return state, aux._replace(metrics=metrics)

    return update
