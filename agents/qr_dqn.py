"""Quantile regression DQN (1710.10044): N fixed quantiles of the return for each action."""

import jax.numpy as jnp
import numpy as np

from agents import feed_forward, networks, quantiles
from agents.agent import Agent
from agents.quantiles import Quantiles
from agents.settings import Settings
from dqnlab.types import Array, EnvSpec


def make(settings: Settings, spec: EnvSpec) -> Agent:
    """The agent for games of this spec. UserError for a loss that quantiles cannot have."""
    n = settings.num_quantiles
    midpoints = (np.arange(n, dtype=np.float32) + 0.5) / n  # lemma 2

    def head(features: Array, is_training: bool) -> Quantiles:
        z = networks.make_head(settings, spec, n)(features, is_training).swapaxes(1, 2)
        return Quantiles(z.mean(axis=1), z, jnp.broadcast_to(midpoints, z.shape[:2]))

    return feed_forward.make(settings, spec, head, quantiles.make_loss(settings), quantiles.returns)
