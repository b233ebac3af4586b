"""Catch: a ball falls, a paddle has to be below it. The rules are bsuite's (arXiv 1908.03568)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dqnlab.types import Array, Env, EnvSpec
from envs.jax_games import Rules, make_jax_env

ROWS, COLUMNS = 10, 5


class Catch(NamedTuple):
    """One game."""

    ball_row: Array  # int32[]
    ball_column: Array  # int32[]
    paddle: Array  # int32[]: its column, in the last row


def make_catch(num_envs: int) -> Env:
    """N games of 9 steps: +1 if the paddle meets the ball in the last row, else -1.

    Observations are uint8 `[N, 10, 5]`, 255 where ball and paddle are.
    """
    spec = EnvSpec(
        game="catch",
        num_envs=num_envs,
        num_actions=3,
        action_meanings=("LEFT", "STAY", "RIGHT"),
        obs_shape=(ROWS, COLUMNS),
        obs_dtype="uint8",
        stack=1,
        frame_skip=1,
        protocol={"name": "catch"},
        traceable=True,
    )
    return make_jax_env(spec, Rules(_begin, _advance, _draw))


def _begin(key: Array) -> Catch:
    column = jax.random.randint(key, (), 0, COLUMNS, jnp.int32)
    return Catch(jnp.int32(0), column, jnp.int32(COLUMNS // 2))


def _advance(game: Catch, action: Array) -> tuple[Catch, Array, Array]:
    paddle = jnp.clip(game.paddle + action - 1, 0, COLUMNS - 1)
    game = Catch(game.ball_row + 1, game.ball_column, paddle)
    is_over = game.ball_row == ROWS - 1
    caught = jnp.where(game.ball_column == paddle, 1.0, -1.0)
    return game, jnp.where(is_over, caught, 0.0), is_over


def _draw(game: Catch) -> Array:
    board = jnp.zeros((ROWS, COLUMNS), jnp.uint8)
    return board.at[game.ball_row, game.ball_column].set(255).at[-1, game.paddle].set(255)
