"""Parallelised Q-network (2407.04811): Q(λ) without a replay or a target network.

LayerNorm does what the target network was for, many games at once what the replay was for.
"""

import jax.numpy as jnp

from agents import feed_forward, networks, td
from agents.agent import Agent, LossOutput
from agents.feed_forward import Values
from agents.replay.rollout import Returns
from agents.settings import Settings
from dqnlab.nets.layer_norm import LayerNormHead
from dqnlab.types import Array, EnvSpec, Params, PyTree


def make(settings: Settings, spec: EnvSpec) -> Agent:
    """The agent for games of this spec."""

    def head(features: Array, is_training: bool) -> Values:
        del is_training
        dtype = networks.compute_type(settings.precision)
        return Values(LayerNormHead(spec.num_actions, settings.hidden, dtype)(features))

    network = networks.transform(settings, spec, head)

    def loss(
        params: Params, target_params: Params, net_state: PyTree, key: Array, batch: Returns
    ) -> LossOutput:
        del target_params  # the rollout's returns were computed once, with its own network
        (q,), net_state = network.apply(params, net_state, key, batch.s_tm1, True)
        error = batch.target - jnp.take_along_axis(q, batch.a_tm1[:, None], axis=1)[:, 0]
        metrics = {"q_mean": q.mean(), "td_error_mean": jnp.abs(error).mean()}
        values = td.squared_or_huber(error, settings.huber_delta)
        return LossOutput(values, jnp.abs(error), metrics, net_state)

    return feed_forward.without_memory(network, spec, loss)._replace(has_target=False)
