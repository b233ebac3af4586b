"""What agents with a memory share: an LSTM between torso and head, and unrolling it."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from agents import networks
from agents.agent import Agent, LossOutput
from agents.replay.sequence import Sequences
from agents.settings import Settings
from dqnlab.layers import lstm
from dqnlab.types import Array, EnvSpec, Params, PyTree


class Unrolled(NamedTuple):
    """What the networks say about the rows of a batch of sequences after their burn-in."""

    q: Array  # [L - burn_in, B, A]: online network
    q_target: Array  # target network
    net_state: PyTree


def make(
    settings: Settings, spec: EnvSpec, loss_of: Callable[[Unrolled, Sequences], LossOutput]
) -> Agent:
    """An agent with a target network from its loss."""
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
        # The burn-in only brings the stored state up to date.
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
        return loss_of(Unrolled(q, q_target, new_state), batch)

    return Agent(init, core, q_values, loss)
