"""Deep Q-network (Mnih et al. 2015) with its variations as settings.

Double Q-learning 1509.06461, dueling streams 1511.06581, noisy layers 1706.10295, Munchausen
targets (M-DQN) 2007.14430.
"""

import jax
import jax.numpy as jnp

from agents import feed_forward, networks, td
from agents.agent import Agent, LossOutput, Transition
from agents.feed_forward import Passes, Values
from agents.settings import Settings
from dqnlab.types import Array, EnvSpec


def make(settings: Settings, spec: EnvSpec) -> Agent:
    """The agent for games of this spec."""

    def head(features: Array, is_training: bool) -> Values:
        return Values(networks.make_head(settings, spec)(features, is_training)[..., 0])

    def loss(out: Passes, batch: Transition) -> LossOutput:
        q_tm1 = out.tm1.q
        shared = (q_tm1, batch.a_tm1, batch.r_t, batch.discount_t, out.t.q)
        if settings.munchausen_alpha:
            in_axes = (0,) * 6 + (None,) * 3
            error = jax.vmap(td.munchausen, in_axes)(*shared, out.q_policy, *settings.munchausen())
        else:
            error = jax.vmap(td.double_q_learning)(*shared, out.q_selector)
        values = td.squared_or_huber(error, settings.huber_delta)
        metrics = {"q_mean": q_tm1.mean(), "td_error_mean": jnp.abs(error).mean()}
        return LossOutput(values, jnp.abs(error), metrics, out.net_state, error)

    return feed_forward.make(settings, spec, head, loss)
