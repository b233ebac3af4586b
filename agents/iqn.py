"""Implicit quantile networks (1806.06923): quantiles of the return at sampled fractions.

M-IQN (2007.14430) is this with Munchausen targets; Beyond the Rainbow (BTR, 2411.03820) adds the
Impala torso, noisy dueling streams and prioritized replay, all of them settings.
"""

import haiku as hk
import jax

from agents import feed_forward, networks, quantiles
from agents.agent import Agent
from agents.quantiles import Quantiles
from agents.settings import Settings
from dqnlab.layers.cosine import CosineEmbedding
from dqnlab.types import Array, EnvSpec


def make(settings: Settings, spec: EnvSpec) -> Agent:
    """The agent for games of this spec. UserError for a loss that quantiles cannot have."""

    def head(features: Array, is_training: bool) -> Quantiles:
        batch, size = features.shape
        embedding = CosineEmbedding(size, settings.num_cosines, settings.first_cosine)
        q_head = networks.make_head(settings, spec)

        def sample(num_taus: int) -> tuple[Array, Array]:
            taus = jax.random.uniform(hk.next_rng_key(), (batch, num_taus))
            x = features[:, None, :] * embedding(taus)  # [B, N, F]
            z = q_head(x.reshape(-1, size), is_training)
            return z.reshape(batch, num_taus, -1), taus  # [B, N, A], [B, N]

        z, taus = sample(settings.num_taus)
        # Other fractions for acting and choosing, as in the paper. Of these two products XLA
        # leaves out the one that a pass does not use.
        q = sample(settings.num_action_taus)[0].mean(axis=1)
        return Quantiles(q, z, taus)

    return feed_forward.make(settings, spec, head, quantiles.make_loss(settings), quantiles.returns)
