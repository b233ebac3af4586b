"""Cue: a side is shown once and asked for later. Only an agent with a memory can win.

The smallest of the memory tasks in the style of bsuite's memory_len (arXiv 1908.03568).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dqnlab import validation
from dqnlab.types import Array, Env, EnvSpec
from envs.jax_games import Rules, make_jax_env

ROWS, COLUMNS = 10, 5  # Catch's board: the same network plays both


class Cue(NamedTuple):
    """One game."""

    time: Array  # int32[]
    is_right: Array  # bool[]: the side that was shown


def make_cue(num_envs: int, delay: int = 8) -> Env:
    """N games of `delay` + 1 steps: +1 for the side that the first frame showed, else -1.

    The first frame lights the left or the right end of the top row, the frame `delay` steps
    later the whole bottom row: that is the question, and only the action there counts. All
    other frames are dark, so what an agent sees at the question tells it nothing.
    Observations are uint8 `[N, 10, 5]`.
    """
    delay = validation.integer("delay", delay, 1)

    def advance(game: Cue, action: Array) -> tuple[Cue, Array, Array]:
        is_over = game.time == delay
        answer = jnp.where((action == 1) == game.is_right, 1.0, -1.0)
        return Cue(game.time + 1, game.is_right), jnp.where(is_over, answer, 0.0), is_over

    def draw(game: Cue) -> Array:
        board = jnp.zeros((ROWS, COLUMNS), jnp.uint8)
        side = jnp.where(game.is_right, COLUMNS - 1, 0)
        shown = board.at[0, side].set(jnp.where(game.time == 0, 255, 0).astype(jnp.uint8))
        return shown.at[-1].set(jnp.where(game.time == delay, 255, 0).astype(jnp.uint8))

    spec = EnvSpec(
        game="cue",
        num_envs=num_envs,
        num_actions=2,
        action_meanings=("LEFT", "RIGHT"),
        obs_shape=(ROWS, COLUMNS),
        obs_dtype="uint8",
        stack=1,
        frame_skip=1,
        protocol={"name": "cue", "delay": delay},
        traceable=True,
    )
    return make_jax_env(spec, Rules(_begin, advance, draw))


def _begin(key: Array) -> Cue:
    return Cue(jnp.int32(0), jax.random.bernoulli(key))
