"""The last T steps of all games, learnt from a few times and then overwritten (PQN)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from agents import td
from agents.replay import ring as rings
from agents.replay.replay import Replay, ReplayState, Sample
from dqnlab.types import Array, EnvSpec, PyTree, TimeStep, UserError


class Returns(NamedTuple):
    """A batch of states, what was done there, and what that was worth."""

    s_tm1: Array  # [B, *obs_shape, K] K stacked frames, oldest first
    a_tm1: Array  # int32[B]
    target: Array  # float32[B]: λ-return


class Plan(NamedTuple):
    """What one call of the learner does with a rollout of T rows of N games."""

    value: Array  # float32[rows of the ring, N]: the largest action value when it was acted upon
    target: Array  # float32[T * N]: λ-returns, the N games of a row side by side
    order: Array  # int32[minibatches of all epochs, B]: indices into `target`
    next: Array  # int32[]: the minibatch whose turn it is


def make(
    spec: EnvSpec, num_rows: int, batch_size: int, epochs: int, gamma: float, lambda_: float
) -> Replay:
    """A replay of the T = `num_rows` steps before the newest row, for `learn` after each T rows.

    Each epoch sees every step once, in a new order. A row before a reset counts among them with
    weight 0. The ring has room for one row more, which only says what the last step led to, and
    for the stack before the first.

    Raises UserError where minibatches would not divide the rollout.
    """
    size = num_rows * spec.num_envs
    if size % batch_size:
        raise UserError(
            f"batch_size is {batch_size}; it must divide the rollout of {num_rows} steps of "
            f"{spec.num_envs} games ({size})"
        )
    num_batches = epochs * size // batch_size

    def init() -> ReplayState:
        order = jnp.zeros((num_batches, batch_size), jnp.int32)
        rows = num_rows + spec.stack
        plan = Plan(
            value=jnp.zeros((rows, spec.num_envs)),
            target=jnp.zeros(size),
            order=order,
            next=jnp.zeros((), jnp.int32),
        )
        return ReplayState(rings.init(spec, rows * spec.num_envs), plan)

    def add(state: ReplayState, timestep: TimeStep, action: Array, core: PyTree) -> ReplayState:
        del core  # feed-forward agents have none
        return state._replace(ring=rings.add(state.ring, timestep, action))

    def note(state: ReplayState, q: Array) -> ReplayState:
        # The network does not change before the rollout is learnt from: these are the values that
        # it would have then, for one forward pass over the rollout less.
        value = state.extra.value
        row = (state.ring.num_rows - 1) % value.shape[0]
        return state._replace(extra=state.extra._replace(value=value.at[row].set(q.max(axis=-1))))

    def begin(state: ReplayState, key: Array) -> ReplayState:
        ring, rows = state.ring, state.ring.first.shape[0]
        after = (ring.num_rows - num_rows + jnp.arange(num_rows)) % rows  # rows t+1
        first = ring.first[after]
        # Step t+1 leads from row t+1 to row t+2: out of an episode's last row it leads nowhere.
        is_last = jnp.concatenate([first[1:], jnp.zeros_like(first[:1])])
        target = td.lambda_returns(
            ring.reward[after],
            gamma * ring.discount[after],
            state.extra.value[after],
            jnp.where(is_last, 0.0, lambda_),
        )
        keys = jax.random.split(key, epochs)
        order = jax.vmap(lambda key: jax.random.permutation(key, size))(keys).astype(jnp.int32)
        plan = state.extra._replace(
            target=target.reshape(-1),
            order=order.reshape(num_batches, batch_size),
            next=jnp.zeros((), jnp.int32),
        )
        return state._replace(extra=plan)

    def place(ring: rings.Ring, index: Array) -> tuple[Array, Array]:
        start = ring.num_rows - 1 - num_rows
        return start + index // spec.num_envs, index % spec.num_envs

    def sample(state: ReplayState, key: Array) -> Sample:
        del key  # `begin` has drawn the order
        ring, plan = state.ring, state.extra
        index = plan.order[plan.next]
        row, game = place(ring, index)
        rows = ring.first.shape[0]
        batch = Returns(
            s_tm1=rings.stacks(ring, row, game, spec.stack),
            a_tm1=ring.action[row % rows, game],
            target=plan.target[index],
        )
        return Sample(batch, 1.0 - ring.first[(row + 1) % rows, game], index)

    def update(state: ReplayState, indices: PyTree, priority: Array) -> ReplayState:
        del indices, priority
        plan = state.extra
        return state._replace(extra=plan._replace(next=(plan.next + 1) % num_batches))

    return Replay(init, add, sample, update, num_rows + 1, note, begin)
