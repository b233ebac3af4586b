"""Replay of sequences for recurrent agents, with the LSTM state they began with (R2D2)."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from agents.replay import ring as rings
from agents.replay import sum_tree
from agents.replay.replay import Replay, ReplayState, Sample
from agents.replay.ring import Ring
from agents.replay.sum_tree import SumTree
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

    core: PyTree  # [starts, N, ...]
    tree: SumTree | tuple[()]  # priorities of the starts * N sequences; () for uniform sampling
    largest: Array  # float32[]: the largest priority so far, which new sequences get


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
    priority_exponent: float = 0.0,
    weight_exponent: float = 0.0,
) -> Replay:
    """A replay that samples sequences with replacement, one starting every `period` rows.

    Args:
      capacity: frames; rounded up to whole periods.
      core: the recurrent state of N games, for its shapes.
      priority_exponent: sequences are drawn in proportion to priority ** this; 0 draws uniformly.
      weight_exponent: importance weights are (1 / probability) ** this over the batch's largest.

    Raises UserError for a capacity that no sequence fits into.
    """
    num_games, period = spec.num_envs, shape.period
    num_starts = math.ceil(rings.num_rows(spec, capacity) / period)
    rows = num_starts * period
    # A start is lost when its stack begins to be overwritten, one row comes before it is sampled.
    needed = shape.rows + spec.stack + period
    if rows < needed:
        raise UserError(
            f"replay_capacity is {capacity}; {num_games} games with sequences of {shape.rows} rows "
            f"({shape.burn_in} burn-in, {shape.length} learnt, n = {shape.n_step}) need at least "
            f"{needed * num_games}"
        )
    is_prioritized = priority_exponent > 0.0

    def init() -> ReplayState:
        columns = jax.tree.map(lambda x: jnp.zeros((num_starts, *x.shape), x.dtype), core)
        tree = sum_tree.init(num_starts * num_games) if is_prioritized else ()
        starts = Starts(columns, tree, jnp.ones((), jnp.float32))
        return ReplayState(rings.init(spec, rows * num_games), starts)

    def add(state: ReplayState, timestep: TimeStep, action: Array, core: PyTree) -> ReplayState:
        row, starts = state.ring.num_rows, state.extra
        index = (row // period) % num_starts

        def write(column: Array, new: Array) -> Array:
            old = lax.dynamic_index_in_dim(column, index, keepdims=False)
            kept = jnp.where(row % period == 0, new.astype(column.dtype), old)
            return lax.dynamic_update_index_in_dim(column, kept, index, axis=0)

        starts = starts._replace(core=jax.tree.map(write, starts.core, core))
        ring = rings.add(state.ring, timestep, action)
        if is_prioritized:
            starts = starts._replace(tree=open_and_close(ring, starts))
        return ReplayState(ring, starts)

    def open_and_close(ring: Ring, starts: Starts) -> SumTree:
        # With each row at most one start becomes complete, and at most one is lost.
        low, high = rings.valid_rows(ring, spec.stack, shape.rows - 1)

        def items(row: Array) -> Array:
            is_start = (row >= 0) & (row % period == 0)
            games = (row // period) % num_starts * num_games + jnp.arange(num_games)
            return jnp.where(is_start, games, -1)  # which the tree ignores

        indices = jnp.concatenate([items(low - 1), items(high - 1)])
        values = jnp.repeat(jnp.stack([jnp.zeros(()), starts.largest]), num_games)
        return sum_tree.set(starts.tree, indices, values)

    def sample(state: ReplayState, key: Array) -> Sample:
        ring, starts = state
        low, high = rings.valid_rows(ring, spec.stack, shape.rows - 1)
        low, high = -(-low // period), (high - 1) // period + 1  # in starts
        if is_prioritized:
            item, weight = draw_prioritized(starts.tree, key, (high - low) * num_games)
            oldest = high - num_starts  # the start that lives at index i is oldest + this:
            start = oldest + (item // num_games - oldest) % num_starts
            game = item % num_games
        else:
            start_key, game_key = jax.random.split(key)
            start = jax.random.randint(start_key, (batch_size,), low, high)
            game = jax.random.randint(game_key, (batch_size,), 0, num_games)
            item, weight = start % num_starts * num_games + game, jnp.ones(batch_size)
        core = jax.tree.map(lambda x: x[start % num_starts, game], starts.core)
        return Sample(read(ring, start * period, game, core), weight, item)

    def draw_prioritized(tree: SumTree, key: Array, count: Array) -> tuple[Array, Array]:
        total = sum_tree.total(tree)
        # One draw from each of B equal slices of the mass, as Schaul et al. do it.
        slices = jnp.arange(batch_size) + jax.random.uniform(key, (batch_size,))
        item = sum_tree.find(tree, slices * (total / batch_size))
        probability = sum_tree.get(tree, item) / total
        weight = (count * probability) ** -weight_exponent
        return item, weight / weight.max()

    def read(ring: Ring, row: Array, game: Array, core: PyTree) -> Sequences:
        times = jnp.arange(shape.rows)[:, None] + row[None, :]  # [L, B]
        games = jnp.broadcast_to(game[None, :], times.shape)
        reward, discount, first = (
            column[times % rows, games] for column in (ring.reward, ring.discount, ring.first)
        )
        learnt = jnp.arange(shape.burn_in, shape.burn_in + shape.length)
        after = learnt[:, None] + jnp.arange(1, shape.n_step + 1)[None, :]  # [length, n]

        def n_step_return(*columns: Array) -> tuple[Array, Array, Array]:
            return rings.n_step_return(*(x[after] for x in columns), gamma)

        by_sequence = jax.vmap(n_step_return, in_axes=1, out_axes=1)
        r_t, discount_t, steps = by_sequence(reward, discount, first)
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
        if not is_prioritized:
            return state
        value = priority**priority_exponent
        largest = jnp.maximum(state.extra.largest, jnp.where(jnp.isfinite(value), value, 0.0).max())
        tree = sum_tree.set(state.extra.tree, indices, value)
        return state._replace(extra=state.extra._replace(tree=tree, largest=largest))

    return Replay(init, add, sample, update, min_rows=shape.rows)
