"""Proportional prioritized replay (1511.05952) over the ring of frames.

The leaf of (row, game) in the sum tree holds priority^alpha while a transition starts there, else
0, so that what must not be sampled cannot be: the newest n rows (not complete yet), the oldest
ones (their stack is being overwritten) and the last row of each episode.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from agents.replay import ring as rings
from agents.replay import sum_tree, uniform
from agents.replay.replay import Replay, ReplayState, Sample
from agents.replay.ring import Ring
from agents.replay.sum_tree import SumTree
from dqnlab.types import Array, EnvSpec, PyTree, TimeStep

_SMALLEST_PRIORITY = 1e-6  # lest an element with no error never return


class Schedule(NamedTuple):
    """An exponent that moves linearly with the agent steps taken."""

    start: float
    end: float
    begin_steps: int  # agent steps before it moves
    num_steps: int  # agent steps over which it moves

    def __call__(self, agent_steps: Array) -> Array:
        """The exponent after so many agent steps."""
        progress = (agent_steps - self.begin_steps) / max(self.num_steps, 1)
        return self.start + (self.end - self.start) * jnp.clip(progress, 0.0, 1.0)


class Priorities(NamedTuple):
    """What is kept beside the ring."""

    tree: SumTree  # leaf (row % T) * N + game
    largest: Array  # float32[]: the largest priority^alpha seen, which new items get


def make(
    spec: EnvSpec,
    capacity: int,
    batch_size: int,
    n_step: int,
    gamma: float,
    exponent: float,
    importance: Schedule,
    uniform_share: float = 0.0,
) -> Replay:
    """A replay that samples n-step transitions in proportion to priority^exponent.

    Args:
      exponent: alpha; 0 samples uniformly.
      importance: beta, the exponent of the weights (N p)^-beta, which are divided by the largest
        of the batch.
      uniform_share: probability with which an element of the batch is drawn uniformly instead.

    Raises UserError for a capacity too small for the stack, n or the batch.
    """
    rings.check_capacity(spec, capacity, batch_size, n_step)
    rows, games = rings.num_rows(spec, capacity), spec.num_envs

    def init() -> ReplayState:
        return ReplayState(rings.init(spec, capacity), empty(rows * games))

    def add(state: ReplayState, timestep: TimeStep, action: Array, core: PyTree) -> ReplayState:
        del core  # feed-forward agents have none
        before, after = state.ring.num_rows, state.ring.num_rows + 1
        ring = rings.add(state.ring, timestep, action)
        # Row `before` is written over row `before - T`: the K rows from there on lose their stack.
        # The row n back has all its n steps now.
        expired = before - rows + jnp.arange(spec.stack)
        complete = after - 1 - n_step
        is_start = ~ring.first[(complete + 1) % rows]
        slots = jnp.append(expired, complete) % rows
        is_there = jnp.append(jnp.full(spec.stack, before >= rows), complete >= 0)
        leaves = jnp.where(is_there[:, None], _leaves(slots, games), -1)
        new = jnp.where(is_start, state.extra.largest, 0.0)
        values = jnp.concatenate([jnp.zeros((spec.stack, games)), new[None]])
        tree = sum_tree.set(state.extra.tree, leaves.reshape(-1), values.reshape(-1))
        return ReplayState(ring, state.extra._replace(tree=tree))

    def sample(state: ReplayState, key: Array) -> Sample:
        leaf, probability = draw(state, key)
        row, game = leaf // games, leaf % games
        batch = rings.transitions(
            state.ring, row, game, stack=spec.stack, n_step=n_step, gamma=gamma
        )
        beta = importance(state.ring.num_rows * games)
        return Sample(batch, importance_weights(probability, beta), leaf)

    def draw(state: ReplayState, key: Array) -> tuple[Array, Array]:
        """Leaves, int32[B], and their probabilities, 0 for one where no transition starts."""
        tree_key, mix_key, uniform_key = jax.random.split(key, 3)
        tree = state.extra.tree
        total = sum_tree.total(tree)
        leaf = stratified(tree, tree_key, batch_size)
        if uniform_share > 0:
            row, game, _ = uniform.draw(state.ring, uniform_key, spec, batch_size, n_step)
            is_uniform = jax.random.bernoulli(mix_key, uniform_share, (batch_size,))
            leaf = jnp.where(is_uniform, row % rows * games + game, leaf)
        priority = sum_tree.get(tree, leaf)
        probability = (1.0 - uniform_share) * priority / jnp.maximum(total, sum_tree.SMALLEST)
        probability += uniform_share / num_starts(state.ring)
        return leaf, jnp.where(priority > 0, probability, 0.0)

    def num_starts(ring: Ring) -> Array:
        # Counts the last rows of episodes, too: one in a thousand on Atari.
        low, high = rings.valid_rows(ring, spec.stack, n_step)
        return jnp.maximum((high - low) * games, 1)

    def update(state: ReplayState, indices: PyTree, priority: Array) -> ReplayState:
        return state._replace(extra=change(state.extra, indices, priority, exponent))

    return Replay(init, add, sample, update, min_rows=n_step + 2)


def empty(num_leaves: int) -> Priorities:
    """No priorities yet; the first items will get 1."""
    return Priorities(sum_tree.init(num_leaves), jnp.ones((), jnp.float32))


def stratified(tree: SumTree, key: Array, batch_size: int) -> Array:
    """Leaves, int32[B]: one from each of B equal slices of the total (appendix B.2.1)."""
    slices = jnp.arange(batch_size) + jax.random.uniform(key, (batch_size,))
    return sum_tree.find(tree, slices * (sum_tree.total(tree) / batch_size))


def importance_weights(probability: Array, beta: Array | float) -> Array:
    """p^-beta over the largest of the batch, float32[B]; 0 where p, up to a factor, is 0."""
    is_valid = probability > 0
    # Relative to the least likely of the batch, where powers neither over- nor underflow.
    least = jnp.min(jnp.where(is_valid, probability, jnp.inf))
    return jnp.where(is_valid, (least / jnp.where(is_valid, probability, 1.0)) ** beta, 0.0)


def change(priorities: Priorities, leaves: Array, priority: Array, exponent: float) -> Priorities:
    """Give leaves the priorities of their new TD errors."""
    is_known = priority > _SMALLEST_PRIORITY  # false for NaN, too
    capped = jnp.minimum(priority, sum_tree.LARGEST)
    values = jnp.where(is_known, capped, _SMALLEST_PRIORITY) ** exponent
    # An item without a priority stays without: nothing starts there.
    tree, largest = priorities
    is_there = sum_tree.get(tree, leaves) > 0
    tree = sum_tree.set(tree, jnp.where(is_there, leaves, -1), values)
    largest = jnp.maximum(largest, jnp.max(jnp.where(is_there, values, 0.0)))
    return Priorities(tree, largest)


def _leaves(slots: Array, games: int) -> Array:
    """[S] -> [S, N]: the leaves of all games of these slots."""
    return slots[:, None] * games + jnp.arange(games)[None, :]
