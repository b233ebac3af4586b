"""Replay of sequences for recurrent agents, with the LSTM state they began with (R2D2)."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from agents.replay import prioritized, sum_tree
from agents.replay import ring as rings
from agents.replay.prioritized import Priorities, Schedule
from agents.replay.replay import Replay, ReplayState, Sample
from agents.replay.ring import Ring
from dqnlab.types import Array, EnvSpec, PyTree, TimeStep, UserError


class Sequences(NamedTuple):
    """B sequences of L = burn_in + length + n_step rows, time first; the middle is learnt from.

    A reset row begins another episode of the same game: the state is zero there (`first`), and
    the step before it has mask 0, for its action was ignored.
    """

    obs: Array  # [L, B, *obs_shape, K] K stacked frames, oldest first
    first: Array  # bool[L, B]: this row begins an episode
    core: PyTree  # [B, ...]: the recurrent state upon which the first row was acted
    action: Array  # int32[length, B]
    r_t: Array  # float32[length, B]: rewards of up to n steps
    discount_t: Array  # float32[length, B]: the factor on the value after them
    bootstrap: Array  # int32[length, B]: the row of `obs` where that value is taken
    mask: Array  # float32[length, B]: 0 where nothing is learnt


class Starts(NamedTuple):
    """What is kept for each place where a sequence may start: every `period` rows of the ring."""

    core: PyTree  # [starts, N, ...], half as wide as in acting: most of a checkpoint otherwise
    priorities: Priorities | None  # leaf start * N + game; None for uniform sampling


class Shape(NamedTuple):
    """The rows of a sequence."""

    burn_in: int  # only bring the state up to date
    length: int  # are learnt from
    n_step: int  # only give the values after the last of those
    period: int  # rows from one start to the next; half of `length` lets sequences overlap by half

    @property
    def rows(self) -> int:
        """Rows in all."""
        return self.burn_in + self.length + self.n_step


def make(
    spec: EnvSpec,
    capacity: int,
    batch_size: int,
    shape: Shape,
    gamma: float,
    core: PyTree,
    exponent: float | None = None,
    importance: Schedule | None = None,
) -> Replay:
    """A replay that samples sequences with replacement, one starting every `period` rows.

    Args:
      capacity: frames; rounded up to whole periods.
      core: the recurrent state of N games, for its shapes.
      exponent: sequences are drawn in proportion to priority ** this; None draws uniformly.
      importance: exponent of the importance weights, as in `prioritized`; None weighs all the same.

    Raises UserError for a capacity that no sequence fits into.
    """
    num_games, period = spec.num_envs, shape.period
    num_starts = math.ceil(rings.num_rows(spec, capacity) / period)
    rows = num_starts * period
    # At any time one whole sequence and its stack, wherever the grid of starts lies.
    needed = shape.rows + spec.stack + period - 2
    if rows < needed:
        raise UserError(
            f"replay_capacity is {capacity}; {num_games} games with sequences of {shape.rows} rows "
            f"({shape.burn_in} burn-in, {shape.length} learnt, n = {shape.n_step}) need at least "
            f"{needed * num_games}"
        )

    def init() -> ReplayState:
        # An LSTM's state is within +-1, its cell within +-1 for each step: eleven bits suffice for
        # a beginning that the burn-in brings up to date.
        columns = jax.tree.map(lambda x: jnp.zeros((num_starts, *x.shape), jnp.float16), core)
        priorities = None if exponent is None else prioritized.empty(num_starts * num_games)
        return ReplayState(rings.init(spec, rows * num_games), Starts(columns, priorities))

    def add(state: ReplayState, timestep: TimeStep, action: Array, core: PyTree) -> ReplayState:
        row, starts = state.ring.num_rows, state.extra
        index = (row // period) % num_starts

        def write(column: Array, new: Array) -> Array:
            old = lax.dynamic_index_in_dim(column, index, keepdims=False)
            kept = jnp.where(row % period == 0, new.astype(column.dtype), old)
            written: Array = lax.dynamic_update_index_in_dim(column, kept, index, axis=0)
            return written

        starts = starts._replace(core=jax.tree.map(write, starts.core, core))
        ring = rings.add(state.ring, timestep, action)
        if starts.priorities is not None:
            starts = starts._replace(priorities=open_and_close(ring, starts.priorities))
        return ReplayState(ring, starts)

    def open_and_close(ring: Ring, priorities: Priorities) -> Priorities:
        # With each row at most one start becomes complete, and at most one is lost.
        low, high = valid_rows(ring)

        def items(row: Array) -> Array:
            is_start = (row >= 0) & (row % period == 0)
            games = (row // period) % num_starts * num_games + jnp.arange(num_games)
            return jnp.where(is_start, games, -1)  # which the tree ignores

        indices = jnp.concatenate([items(low - 1), items(high - 1)])
        values = jnp.repeat(jnp.stack([jnp.zeros(()), priorities.largest]), num_games)
        return priorities._replace(tree=sum_tree.set(priorities.tree, indices, values))

    def valid_rows(ring: Ring) -> tuple[Array, Array]:
        # [low, high): the stack of the first row still in the ring, the last row already there.
        # `low` grows by 1 a row, so that `open_and_close` misses no start.
        low = jnp.maximum(0, ring.num_rows - rows + spec.stack - 1)
        return low, ring.num_rows - shape.rows + 1

    def sample(state: ReplayState, key: Array) -> Sample:
        ring, starts = state
        low, high = (-(-row // period) for row in valid_rows(ring))  # in starts
        if starts.priorities is None:
            start_key, game_key = jax.random.split(key)
            start = jax.random.randint(start_key, (batch_size,), low, high)
            game = jax.random.randint(game_key, (batch_size,), 0, num_games)
            leaf, weight = start % num_starts * num_games + game, jnp.ones(batch_size)
        else:
            tree = starts.priorities.tree
            leaf = prioritized.stratified(tree, key, batch_size)
            oldest = high - num_starts  # the start at index i is the one of these from here on
            start = oldest + (leaf // num_games - oldest) % num_starts
            game = leaf % num_games
            beta = 0.0 if importance is None else importance(ring.num_rows * num_games)
            weight = prioritized.importance_weights(sum_tree.get(tree, leaf), beta)
        stored = jax.tree.map(
            lambda column, like: column[start % num_starts, game].astype(like.dtype),
            starts.core,
            core,
        )
        return Sample(read(ring, start * period, game, stored), weight, leaf)

    def read(ring: Ring, row: Array, game: Array, core: PyTree) -> Sequences:
        times = jnp.arange(shape.rows)[:, None] + row[None, :]  # [L, B]
        games = jnp.broadcast_to(game[None, :], times.shape)
        reward, discount, first = (
            column[times % rows, games] for column in (ring.reward, ring.discount, ring.first)
        )
        learnt = jnp.arange(shape.burn_in, shape.burn_in + shape.length)
        after = learnt[:, None] + jnp.arange(1, shape.n_step + 1)[None, :]  # [length, n]

        by_sequence = jax.vmap(rings.n_step_return, in_axes=(2, 2, 2, None), out_axes=1)
        r_t, discount_t, steps = by_sequence(reward[after], discount[after], first[after], gamma)
        stacks = rings.stacks(ring, times.reshape(-1), games.reshape(-1), spec.stack)
        return Sequences(
            obs=stacks.reshape(*times.shape, *stacks.shape[1:]),
            first=first,
            core=core,
            action=ring.action[times[learnt] % rows, games[learnt]],
            r_t=r_t,
            discount_t=discount_t,
            bootstrap=jnp.broadcast_to(learnt[:, None], steps.shape) + steps,
            mask=1.0 - first[learnt + 1],
        )

    def update(state: ReplayState, indices: PyTree, priority: Array) -> ReplayState:
        priorities = state.extra.priorities
        if exponent is None or priorities is None:
            return state
        priorities = prioritized.change(priorities, indices, priority, exponent)
        return state._replace(extra=state.extra._replace(priorities=priorities))

    return Replay(init, add, sample, update, min_rows=shape.rows)
