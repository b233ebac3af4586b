"""The share of a network's hidden units that no longer fire: learning that cannot come back.

A unit behind a ReLU that is 0 for every input has no gradient (the dormant neurons of Sokar et al.
2023, arXiv 2302.12902, with threshold 0).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from agents.agent import Agent
from agents.replay import ring as rings
from agents.runner import RunState
from dqnlab.looking import layers
from dqnlab.types import Array, EnvSpec

INPUTS = 256  # stacks of frames drawn from the replay
_OUTPUTS = ("q", "advantage", "value")  # the last layers of all heads; they take what ReLUs give


def make(agent: Agent, spec: EnvSpec) -> Callable[[RunState], Array]:
    """Return a jitted function: run state -> float32[], the share of the head's hidden units that
    are 0 for all of 256 inputs from the replay; nan for a network without such layers.

    It changes nothing in the run. The inputs follow from the run's key and row.
    """

    def share(state: RunState) -> Array:
        key = jax.random.fold_in(jax.random.fold_in(state.key, 4), state.rows)
        ring = state.replay.ring
        low, high = rings.valid_rows(ring, spec.stack, 0)
        row_key, game_key, net_key = jax.random.split(key, 3)
        row = jax.random.randint(row_key, (INPUTS,), low, high)
        game = jax.random.randint(game_key, (INPUTS,), 0, spec.num_envs)
        stack = rings.stacks(ring, row, game, spec.stack)
        params, net_state = state.train.params, state.train.net_state
        fires = _fires(
            lambda x: agent.q_values(params, net_state, net_key, x, agent.core(INPUTS), False),
            stack,
        )
        if not fires:
            return jnp.full((), jnp.nan)
        return 1.0 - jnp.concatenate(list(fires.values())).mean()

    return jax.jit(share)


def _fires(forward: Callable[[Array], object], stack: Array) -> dict[str, Array]:
    """Layer -> bool[units]: whether a unit that an output layer takes is above 0 for any input."""
    fires: dict[str, Array] = {}
    for name, layer in layers.layers(forward, stack).items():
        name = name.partition("#")[0]  # a layer that is called twice has the same units
        if name.rpartition("/")[2] in _OUTPUTS and layer.input is not None:
            units = layer.input.reshape(-1, layer.input.shape[-1])
            fired = (units > 0).any(axis=0)
            fires[name] = fires[name] | fired if name in fires else fired
    return fires
