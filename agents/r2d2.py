"""R2D2: an LSTM trained on sequences from a replay (Kapturowski et al. 2019, ICLR)."""

import jax
import jax.numpy as jnp

from agents import networks, td
from agents.agent import Agent, LossOutput
from agents.replay.sequence import Sequences
from agents.settings import Settings
from dqnlab.layers import lstm
from dqnlab.types import Array, EnvSpec, Params, PyTree


def make(settings: Settings, spec: EnvSpec) -> Agent:
    """The agent for games of this spec."""
    torso = networks.make_torso(settings, spec)
    dtype = networks.compute_type(settings.precision)

    def forward(obs: Array, is_training: bool, first: Array, core: PyTree) -> tuple[Array, PyTree]:
        # obs[T, B, ...]: torso and head see all T * B frames at once, only the LSTM has a loop.
        features = torso(obs.reshape(-1, *obs.shape[2:]), is_training).reshape(*first.shape, -1)
        memory, core = lstm.LSTM(settings.hidden, dtype)(features, core, first=first)
        q = networks.make_head(settings, spec)(memory.reshape(-1, settings.hidden), is_training)
        return q.reshape(*first.shape, -1), core  # [T, B, A], [B, ...]

    network = networks.build(settings, forward)

    def core(batch_size: int) -> lstm.LSTMState:
        return lstm.zero_state(batch_size, settings.hidden)

    def init(key: Array) -> tuple[Params, PyTree]:
        obs = networks.example_obs(spec)[None]
        return network.init(key, obs, True, jnp.ones((1, 1), bool), core(1))

    def q_values(
        params: Params, net_state: PyTree, key: Array, obs: Array, core: PyTree, training: bool
    ) -> tuple[Array, PyTree]:
        first = jnp.zeros((1, obs.shape[0]), bool)  # where it is true, `core` is zero already
        (q, core), _ = network.apply(params, net_state, key, obs[None], training, first, core)
        return q[0], core

    def unroll(
        params: Params, net_state: PyTree, key: Array, batch: Sequences
    ) -> tuple[Array, PyTree]:
        """Q-values of all rows but the burn-in, which only brings the stored state up to date."""
        start, core = settings.burn_in, batch.core
        if start:
            burn_in = (batch.obs[:start], True, batch.first[:start], core)
            (_, core), _ = network.apply(params, net_state, key, *burn_in)
            core = jax.lax.stop_gradient(core)
        rest = (batch.obs[start:], True, batch.first[start:], core)
        (q, _), net_state = network.apply(params, net_state, key, *rest)
        return q, net_state

    def loss(
        params: Params, target_params: Params, net_state: PyTree, key: Array, batch: Sequences
    ) -> LossOutput:
        online_key, target_key = jax.random.split(key)
        q, new_state = unroll(params, net_state, online_key, batch)
        q_target, _ = unroll(target_params, net_state, target_key, batch)
        after = (batch.bootstrap - settings.burn_in)[..., None]
        error = batch.mask * jax.vmap(jax.vmap(td.rescaled_double_q_learning))(
            q[: settings.sequence_length],
            batch.action,
            batch.r_t,
            batch.discount_t,
            jnp.take_along_axis(q_target, after, axis=0),
            jnp.take_along_axis(q, after, axis=0),
        )
        size, share = jnp.abs(error), settings.priority_max_share
        mean = size.sum(axis=0) / jnp.maximum(batch.mask.sum(axis=0), 1.0)
        values = td.squared_or_huber(error, settings.huber_delta).sum(axis=0)
        metrics = {"q_mean": q.mean(), "td_error_mean": mean.mean()}
        priority = share * size.max(axis=0) + (1.0 - share) * mean
        return LossOutput(values, priority, metrics, new_state)

    return Agent(init, core, q_values, loss)
