"""A ring of single frames on the device, and what is rebuilt from it by index.

One row holds what N games said at one vector step and what was then done:

    row t:  obs_t   reward_t   discount_t   first_t   action_t (chosen upon obs_t)

so one 84x84 byte frame is stored once, and the transition out of row t is
(stack(t), action_t, reward_{t+1}, discount_{t+1}, stack(t+1)) unless row t+1 is `first`: then row
t was the last of its episode, its action went nowhere, and nothing leads out of it.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from agents.agent import Transition
from dqnlab.types import Array, EnvSpec, TimeStep, UserError


class Ring(NamedTuple):
    """T rows of N games; row r (counted since the start of the run) lives at index r % T."""

    obs: Array  # [T, N, *obs_shape]
    action: Array  # int32[T, N]
    reward: Array  # float32[T, N], clipped as the learner wants it
    discount: Array  # float32[T, N]
    first: Array  # bool[T, N]
    num_rows: Array  # int32[]: rows ever added


def num_rows(spec: EnvSpec, capacity: int) -> int:
    """Rows of N games that hold at least `capacity` frames."""
    return math.ceil(capacity / spec.num_envs)


def num_bytes(spec: EnvSpec, capacity: int) -> int:
    """Bytes that `init` will take: 7,069 for each 84x84 frame, 7.07 GB for a million."""
    shapes = jax.eval_shape(lambda: init(spec, capacity))
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes))


def init(spec: EnvSpec, capacity: int) -> Ring:
    """An empty ring for `capacity` frames."""
    shape = (num_rows(spec, capacity), spec.num_envs)
    return Ring(
        obs=jnp.zeros(shape + spec.obs_shape, spec.obs_dtype),
        action=jnp.zeros(shape, jnp.int32),
        reward=jnp.zeros(shape, jnp.float32),
        discount=jnp.zeros(shape, jnp.float32),
        first=jnp.zeros(shape, jnp.bool_),
        num_rows=jnp.zeros((), jnp.int32),
    )


def add(ring: Ring, timestep: TimeStep, action: Array) -> Ring:
    """Write one row over the oldest one. In place where the caller donates the ring."""
    index = ring.num_rows % ring.first.shape[0]

    def write(column: Array, row: Array | np.ndarray) -> Array:
        row = jnp.asarray(row, column.dtype)
        updated: Array = lax.dynamic_update_index_in_dim(column, row, index, axis=0)
        return updated

    return Ring(
        obs=write(ring.obs, timestep.obs),
        action=write(ring.action, action),
        reward=write(ring.reward, timestep.reward),
        discount=write(ring.discount, timestep.discount),
        first=write(ring.first, timestep.first),
        num_rows=ring.num_rows + 1,
    )


def valid_rows(ring: Ring, stack: int, n_step: int) -> tuple[Array, Array]:
    """The half-open range of rows [low, high) that a transition may start from.

    Each has its whole stack still in the ring, and all n rows after it already there. Row 0 needs
    no stack before it: it is `first`. Within the range only the rows before a `first` are invalid.
    """
    rows = ring.first.shape[0]
    low = jnp.where(ring.num_rows > rows, ring.num_rows - rows + stack - 1, 0)
    return low, ring.num_rows - n_step


def stacks(ring: Ring, row: Array, game: Array, num_frames: int) -> Array:
    """The last K frames up to `row` of `game`, zero before the episode's start.

    Args:
      row, game: int32[B].
      num_frames: K.

    Returns: [B, *obs_shape, K], oldest frame first.
    """
    rows = ring.first.shape[0]
    # Offsets -(K-1) .. 0. A frame is of this episode if no `first` lies in the rows after it.
    index = (row[:, None] + jnp.arange(1 - num_frames, 1)[None, :]) % rows  # [B, K]
    first = ring.first[index, game[:, None]]
    resets_after = jnp.cumsum(first[:, ::-1], axis=1)[:, ::-1] - first
    frames = ring.obs[index, game[:, None]]  # [B, K, *obs_shape]
    mask = (resets_after == 0).reshape(resets_after.shape + (1,) * (frames.ndim - 2))
    stack = jnp.moveaxis(jnp.where(mask, frames, jnp.zeros((), frames.dtype)), 1, -1)
    # XLA:CPU would otherwise gather each pixel anew wherever the network reads it.
    gathered: Array = lax.optimization_barrier(stack)
    return gathered


def transitions(
    ring: Ring, row: Array, game: Array, *, stack: int, n_step: int, gamma: float
) -> Transition:
    """The n-step transitions out of (row, game), exact at every episode's end.

    A termination within the n steps ends the sum and sets discount_t to 0. A truncation after
    m < n steps ends the sum too, and bootstraps from the true last frame with gamma^m.

    Args:
      row, game: int32[B], `row` within `valid_rows`, and row + 1 not `first`.
    """
    rows = ring.first.shape[0]
    index = (row[:, None] + jnp.arange(1, n_step + 1)[None, :]) % rows  # [B, n]: rows t+1 .. t+n
    columns = (ring.reward, ring.discount, ring.first)
    reward, discount, first = (column[index, game[:, None]] for column in columns)
    r_t, discount_t, length = n_step_return(reward, discount, first, gamma)
    return Transition(
        s_tm1=stacks(ring, row, game, stack),
        a_tm1=ring.action[row % rows, game],
        r_t=r_t,
        discount_t=discount_t,
        s_t=stacks(ring, row + length, game, stack),
    )


def n_step_return(
    reward: Array, discount: Array, first: Array, gamma: float
) -> tuple[Array, Array, Array]:
    """The return of up to n steps, the factor on the value after them, and how many they are.

    Args:
      reward, discount, first: [B, n], of the rows t+1 .. t+n.

    Returns: float32[B], float32[B], int32[B]; the last is less than n before a reset.
    """
    # inside[k]: step k+1 still belongs to the episode, i.e. no reset row up to and including it.
    inside = jnp.cumprod(1 - first.astype(jnp.int32), axis=1)
    # alive[k]: product of the discounts before step k+1, its own gamma^k included.
    factor = jnp.where(inside == 1, gamma * discount, 1.0)
    product = jnp.cumprod(factor, axis=1)
    alive = jnp.concatenate([jnp.ones_like(product[:, :1]), product[:, :-1]], axis=1)
    return jnp.sum(alive * inside * reward, axis=1), product[:, -1], inside.sum(axis=1)


def check_capacity(spec: EnvSpec, capacity: int, batch_size: int, n_step: int) -> None:
    """Raise UserError where no transition could ever be sampled, or memory would be wasted."""
    needed = spec.stack + n_step
    if num_rows(spec, capacity) <= needed:
        raise UserError(
            f"replay capacity {capacity} is too small: {spec.num_envs} games with a stack of "
            f"{spec.stack} and n = {n_step} need at least {(needed + 1) * spec.num_envs}"
        )
    if batch_size > capacity:
        raise UserError(f"batch size {batch_size} is larger than the replay capacity {capacity}")
