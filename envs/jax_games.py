"""A batch of games written in JAX: rules for one game become an Env of N, which jit can trace."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dqnlab import validation
from dqnlab.types import Array, Env, EnvSpec, PyTree, TimeStep
from envs import host


class Rules(NamedTuple):
    """One game as pure functions."""

    begin: Callable[[Array], PyTree]  # key -> game
    advance: Callable[[PyTree, Array], tuple[PyTree, Array, Array]]  # -> game, reward, is_over
    draw: Callable[[PyTree], Array]  # game -> obs


class JaxState(NamedTuple):
    """What a batch remembers; plain arrays, so that any checkpoint can hold it."""

    game: PyTree
    key: Array  # uint32[N, 2]: raw, since typed keys do not fit into files
    ended: Array  # bool[N]: the next step of this game is its reset


def make_jax_env(spec: EnvSpec, rules: Rules) -> Env:
    """N games that restart by themselves, one step after their end (NEXT_STEP).

    `reset` takes an int within 0 .. 2^32 - 1 or a traced integer scalar, which makes a `vmap`
    over seeds possible. Actions out of range are clipped, as traced code cannot raise.
    """

    spec = dataclasses.replace(spec, num_envs=host.check_num_envs(spec.num_envs))

    def begin(key_data: Array) -> JaxState:
        carried, used = jax.random.split(jax.random.wrap_key_data(key_data))
        return JaxState(rules.begin(used), jax.random.key_data(carried), jnp.array(False))

    def step_one(state: JaxState, action: Array) -> tuple[JaxState, TimeStep]:
        game, reward, is_over = rules.advance(state.game, action)
        goes_on = JaxState(game, state.key, is_over)
        first = state.ended
        new = jax.tree.map(
            lambda fresh, old: jnp.where(first, fresh, old), begin(state.key), goes_on
        )
        reward = jnp.where(first, 0.0, reward).astype(jnp.float32)
        discount = jnp.where(new.ended, 0.0, 1.0).astype(jnp.float32)
        return new, TimeStep(rules.draw(new.game), reward, discount, first)

    @jax.jit
    def reset_from(seed: Array) -> tuple[JaxState, TimeStep]:
        keys = jax.random.split(jax.random.key(seed), spec.num_envs)
        state = jax.vmap(begin)(jax.random.key_data(keys))
        ones = jnp.ones(spec.num_envs, jnp.float32)
        obs = jax.vmap(rules.draw)(state.game)
        return state, TimeStep(obs, ones - 1, ones, jnp.ones(spec.num_envs, jnp.bool_))

    def reset(seed: Any) -> tuple[JaxState, TimeStep]:
        if not isinstance(seed, jax.Array):  # not traced: a number of the caller
            seed = validation.seed(seed)
        start: tuple[JaxState, TimeStep] = reset_from(jnp.asarray(seed, jnp.uint32))
        return start

    @jax.jit
    def step(state: JaxState, actions: Array) -> tuple[JaxState, TimeStep]:
        actions = jnp.asarray(actions)
        if not jnp.issubdtype(actions.dtype, jnp.integer) or actions.shape != (spec.num_envs,):
            raise ValueError(
                f"actions are {actions.dtype}{list(actions.shape)}, "
                f"must be integers of shape {(spec.num_envs,)}"
            )
        actions = jnp.clip(actions, 0, spec.num_actions - 1).astype(jnp.int32)
        return jax.vmap(step_one)(state, actions)

    return Env(spec=spec, reset=reset, step=step, close=lambda: None)
