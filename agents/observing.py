"""Observations from outside, one or many, as the stacks of frames that an agent takes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents import evaluation, runner
from agents.agent import Agent
from dqnlab.types import Array, EnvSpec, Params, PyTree, TimeStep, UserError

Player = Callable[[TimeStep], np.ndarray]  # TimeStep[N] -> int32[N]


def frames_of(observations: Any, spec: EnvSpec) -> tuple[Array | np.ndarray, bool]:
    """Return [B, *obs_shape, K], and whether one observation without the axis B was given.

    `agents.policy.Policy.q_values` says which forms there are. UserError for all others.
    """
    if isinstance(observations, TimeStep):
        observations = _of_timestep(observations, spec)
    x = observations if isinstance(observations, jax.Array) else _array(observations)
    full = (*spec.obs_shape, spec.stack)
    found: tuple[Any, bool] | None = None
    if x.shape[1:] == full:
        found = x, False
    elif x.shape == full:
        found = x[None], True
    elif spec.stack == 1 and x.shape[1:] == spec.obs_shape:
        found = x[..., None], False
    elif spec.stack == 1 and x.shape == spec.obs_shape:
        found = x[None, ..., None], True
    if found is None:
        hint = ""
        if spec.stack > 1 and spec.obs_shape in (x.shape, x.shape[1:]):
            hint = f": the last {spec.stack} frames, which policy.player(num_envs) keeps"
        raise _unfit(x, spec, hint)
    return _of_type(found[0], spec), found[1]


def _array(observations: Any) -> np.ndarray:
    try:
        return np.asarray(observations)
    except ValueError as error:  # rows of different lengths
        raise UserError(f"observations are no array: {error}") from error


def _of_timestep(timestep: TimeStep, spec: EnvSpec) -> np.ndarray:
    newest = np.asarray(timestep.obs)
    if spec.stack == 1 or newest.shape[1:] != spec.obs_shape:
        return newest
    if not np.all(timestep.first):
        raise UserError(
            f"the agent sees {spec.stack} frames, and a TimeStep in the middle of a game has the "
            "newest only: use policy.player(num_envs), which keeps the others"
        )
    stacks = np.zeros((*newest.shape, spec.stack), newest.dtype)
    stacks[..., -1] = newest
    return stacks


def _of_type(x: Array | np.ndarray, spec: EnvSpec) -> Array | np.ndarray:
    """Numbers of any type become float32; images must be bytes, as they are scaled by 255."""
    if x.dtype == spec.obs_dtype:
        return x
    if spec.obs_dtype == "uint8" or x.dtype.kind not in "fiub":
        raise _unfit(x, spec)
    with np.errstate(over="ignore"):
        numbers = x.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise UserError(f"an observation of {spec.game} is not finite in float32")
    return numbers


def _unfit(x: Array | np.ndarray, spec: EnvSpec, hint: str = "") -> UserError:
    expected = ", ".join(map(str, (*spec.obs_shape, spec.stack)))
    return UserError(
        f"observations are {x.dtype}{list(x.shape)}; {spec.game} was trained on "
        f"{spec.obs_dtype}[B, {expected}]{hint}"
    )


def player(
    agent: Agent,
    params: Params,
    net_state: PyTree,
    spec: EnvSpec,
    num_envs: int,
    epsilon: float,
    seed: int,
) -> Player:
    """Return a function that acts for `num_envs` games and keeps what the agent must remember."""
    if num_envs < 1 or not 0 <= epsilon <= 1:
        raise UserError(
            f"num_envs is {num_envs} and epsilon {epsilon}; at least 1, and within 0 .. 1"
        )
    policy = evaluation.make_policy(agent, spec.num_actions)

    @jax.jit
    def act(
        nets: PyTree, stack: Array, core: PyTree, timestep: TimeStep, step: Array
    ) -> tuple[Array, PyTree, Array]:
        key = jax.random.fold_in(jax.random.PRNGKey(seed), step)
        stack, core = runner.observe(agent, stack, core, timestep)
        action, core, _ = policy(*nets, key, stack, core, epsilon)
        return stack, core, action

    stack = jnp.zeros((num_envs, *spec.obs_shape, spec.stack), spec.obs_dtype)
    core, step = agent.core(num_envs), 0

    def play(timestep: TimeStep) -> np.ndarray:
        nonlocal stack, core, step
        shape = np.shape(timestep.obs)
        if shape != (num_envs, *spec.obs_shape):
            raise UserError(
                f"observations have shape {list(shape)}; this player acts for {num_envs} games of "
                f"{list(spec.obs_shape)}"
            )
        weights = (params, net_state)
        stack, core, action = act(weights, stack, core, timestep, jnp.uint32(step))
        step += 1
        return np.asarray(action)

    return play
