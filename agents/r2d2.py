"""R2D2: an LSTM trained on sequences from a replay (Kapturowski et al. 2019, ICLR)."""

import jax
import jax.numpy as jnp

from agents import recurrent, td
from agents.agent import Agent, LossOutput
from agents.recurrent import Unrolled
from agents.replay.sequence import Sequences
from agents.settings import Settings
from dqnlab.types import EnvSpec


def make(settings: Settings, spec: EnvSpec) -> Agent:
    """The agent for games of this spec."""

    def loss(out: Unrolled, batch: Sequences) -> LossOutput:
        after = (batch.bootstrap - settings.burn_in)[..., None]
        error = batch.mask * jax.vmap(jax.vmap(td.rescaled_double_q_learning))(
            out.q[: settings.sequence_length],
            batch.action,
            batch.r_t,
            batch.discount_t,
            jnp.take_along_axis(out.q_target, after, axis=0),
            jnp.take_along_axis(out.q, after, axis=0),
        )
        size, share = jnp.abs(error), settings.priority_max_share
        mean = size.sum(axis=0) / jnp.maximum(batch.mask.sum(axis=0), 1.0)
        values = td.squared_or_huber(error, settings.huber_delta).sum(axis=0)
        metrics = {"q_mean": out.q.mean(), "td_error_mean": mean.mean()}
        priority = share * size.max(axis=0) + (1.0 - share) * mean
        return LossOutput(values, priority, metrics, out.net_state)

    return recurrent.make(settings, spec, loss)
