"""The loss that all agents with quantiles of the return share."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from agents import td
from agents.agent import LossOutput, Transition
from agents.feed_forward import Passes
from agents.settings import Settings
from dqnlab.types import Array, UserError


class Quantiles(NamedTuple):
    """The output of a network."""

    q: Array  # [B, A]: what is acted upon
    z: Array  # [B, N, A]: quantiles of the return
    taus: Array  # [B, N]: their fractions


def returns(out: Quantiles) -> tuple[Array, Array]:
    """The quantiles as equally probable values of the return, each [B, A, N]."""
    values = out.z.swapaxes(1, 2)
    return values, jnp.full_like(values, 1 / values.shape[-1])


def make_loss(settings: Settings) -> Callable[[Passes, Transition], LossOutput]:
    """Quantile Huber loss of all pairs of predicted and target quantiles, Munchausen or not.

    The priority is the mean |TD error| of all pairs, as in BTR but for a constant factor.
    Raises UserError for the settings of another loss.
    """
    kappa = settings.huber_delta
    if kappa is None:
        raise UserError("huber_delta is None; agents with quantiles need a number above 0")

    def loss(out: Passes, batch: Transition) -> LossOutput:
        shared = (out.tm1.z, batch.a_tm1, batch.r_t, batch.discount_t, out.t.z)
        if settings.munchausen_alpha:
            in_axes = (0,) * 7 + (None,) * 3
            errors = jax.vmap(td.quantile_munchausen, in_axes)(
                *shared, out.t.q, out.q_policy, *settings.munchausen()
            )
        else:
            errors = jax.vmap(td.quantile_q_learning)(*shared, out.q_selector)
        values = jax.vmap(td.quantile_huber_loss, (0, 0, None))(errors, out.tm1.taus, kappa)
        priority = jnp.abs(errors).mean(axis=(1, 2))
        metrics = {"q_mean": out.tm1.z.mean(), "td_error_mean": priority.mean()}
        return LossOutput(values, priority, metrics, out.net_state)

    return loss
