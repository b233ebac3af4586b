"""Uniform replay (Lin 1992; Mnih et al. 2015) over the ring of frames."""

import jax
import jax.numpy as jnp

from agents.replay import ring as rings
from agents.replay.replay import Replay, ReplayState, Sample
from agents.replay.ring import Ring
from dqnlab.types import Array, EnvSpec, PyTree, TimeStep

# A start row can be an episode's last, where no transition begins. Each slot of the batch draws
# this many candidates and takes the first valid one, which is uniform over the valid ones and
# needs no loop on the device. All fail with probability p^8 (p = 0.1 in Catch, 1e-3 in Atari);
# such a slot gets weight 0.
_CANDIDATES = 8


def make(spec: EnvSpec, capacity: int, batch_size: int, n_step: int, gamma: float) -> Replay:
    """A replay that samples n-step transitions uniformly, with replacement.

    Raises UserError for a capacity too small for the stack, n or the batch.
    """
    rings.check_capacity(spec, capacity, batch_size, n_step)

    def add(state: ReplayState, timestep: TimeStep, action: Array, core: PyTree) -> ReplayState:
        del core  # feed-forward agents have none
        return state._replace(ring=rings.add(state.ring, timestep, action))

    def sample(state: ReplayState, key: Array) -> Sample:
        row, game, valid = draw(state.ring, key, spec, batch_size, n_step)
        batch = rings.transitions(
            state.ring, row, game, stack=spec.stack, n_step=n_step, gamma=gamma
        )
        return Sample(batch, valid.astype(jnp.float32), (row, game))

    def update(state: ReplayState, indices: PyTree, priority: Array) -> ReplayState:
        del indices, priority
        return state

    return Replay(
        init=lambda: ReplayState(rings.init(spec, capacity)),
        add=add,
        sample=sample,
        update=update,
        min_rows=n_step + 2,
    )


def draw(
    ring: Ring, key: Array, spec: EnvSpec, batch_size: int, n_step: int
) -> tuple[Array, Array, Array]:
    """Start rows and games of a batch: int32[B], int32[B] and whether each is valid, bool[B]."""
    row_key, game_key = jax.random.split(key)
    low, high = rings.valid_rows(ring, spec.stack, n_step)
    shape = (batch_size, _CANDIDATES)
    row = jax.random.randint(row_key, shape, low, high)
    game = jax.random.randint(game_key, shape, 0, spec.num_envs)
    valid = ~ring.first[(row + 1) % ring.first.shape[0], game]
    pick = jnp.argmax(valid, axis=1, keepdims=True)
    row, game, valid = (jnp.take_along_axis(x, pick, axis=1)[:, 0] for x in (row, game, valid))
    return row, game, valid
