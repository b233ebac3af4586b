"""Deep Q-network (Mnih et al. 2015), with double and dueling as settings.

Double Q-learning: arXiv:1509.06461. Dueling streams: arXiv:1511.06581.
"""

import jax
import jax.numpy as jnp
import optax

from agents import networks, td
from agents.agent import Agent, LossOutput, Transition
from agents.presets import Settings
from dqnlab.nets import QHead
from dqnlab.types import Array, EnvSpec, Params, PyTree


def make(settings: Settings, spec: EnvSpec) -> Agent:
    """The agent for games of this spec."""
    network = networks.transform(
        settings,
        spec,
        lambda dtype: QHead(
            spec.num_actions, hidden=settings.hidden, dueling=settings.dueling, dtype=dtype
        ),
    )

    def init(key: Array) -> tuple[Params, PyTree]:
        return network.init(key, networks.example_obs(spec))

    def apply(params: Params, net_state: PyTree, key: Array, obs: Array) -> tuple[Array, PyTree]:
        q, net_state = network.apply(params, net_state, key, obs)
        return q[..., 0], net_state  # [B, A]

    def q_values(
        params: Params, net_state: PyTree, key: Array, obs: Array, core: PyTree, training: bool
    ) -> tuple[Array, PyTree]:
        del training
        return apply(params, net_state, key, obs)[0], core

    def loss(
        params: Params, target_params: Params, net_state: PyTree, key: Array, batch: Transition
    ) -> LossOutput:
        q_t, _ = apply(target_params, net_state, key, batch.s_t)
        q_tm1, new_net_state = apply(params, net_state, key, batch.s_tm1)
        # A forward pass of its own: in one batch with s_tm1 it would get a backward pass too.
        q_selector = apply(params, net_state, key, batch.s_t)[0] if settings.double else q_t
        error = jax.vmap(td.double_q_learning)(
            q_tm1, batch.a_tm1, batch.r_t, batch.discount_t, q_t, q_selector
        )
        if settings.huber_delta is None:
            values = jnp.square(error)
        else:
            values = optax.huber_loss(error, delta=settings.huber_delta)
        metrics = {"q_mean": q_tm1.mean(), "td_error_mean": jnp.abs(error).mean()}
        return LossOutput(values, jnp.abs(error), metrics, new_net_state)

    return Agent(init=init, core=lambda batch_size: (), q_values=q_values, loss=loss)
