"""Categorical distributions of returns: C51 (1707.06887), and so Rainbow (1710.02298).

Rainbow is this loss with the settings double, dueling, noisy, prioritized and n = 3. Its priority
is the cross-entropy, as in Dopamine and DQN Zoo; the paper's KL divergence differs by the
target's entropy.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents import feed_forward, networks, td
from agents.agent import Agent, LossOutput, Transition
from agents.feed_forward import Passes
from agents.settings import Settings
from dqnlab.types import Array, EnvSpec, UserError


class Distributions(NamedTuple):
    """The output of the network."""

    q: Array  # [B, A]
    logits: Array  # [B, A, K]


def make(settings: Settings, spec: EnvSpec) -> Agent:
    """The agent for games of this spec. UserError for Munchausen targets, which it has not."""
    if settings.munchausen_alpha:
        raise UserError(
            f"munchausen_alpha is {settings.munchausen_alpha}; categorical agents take 0 only"
        )
    support = np.linspace(-settings.v_max, settings.v_max, settings.num_atoms, dtype=np.float32)

    def head(features: Array, is_training: bool) -> Distributions:
        logits = networks.make_head(settings, spec, settings.num_atoms)(features, is_training)
        return Distributions(jax.nn.softmax(logits) @ support, logits)

    def loss(out: Passes, batch: Transition) -> LossOutput:
        values = jax.vmap(td.categorical_q_learning, in_axes=(0, 0, 0, 0, 0, 0, None))(
            out.tm1.logits,
            batch.a_tm1,
            batch.r_t,
            batch.discount_t,
            out.t.logits,
            out.q_selector,
            jnp.asarray(support),
        )
        return LossOutput(values, values, {"q_mean": out.tm1.q.mean()}, out.net_state)

    def returns(out: Distributions) -> tuple[Array, Array]:
        return jnp.broadcast_to(support, out.logits.shape), jax.nn.softmax(out.logits)

    return feed_forward.make(settings, spec, head, loss, returns)
