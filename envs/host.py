"""What games that run outside JAX share: seeds for each game and the check of actions."""

from typing import Any

import numpy as np

from dqnlab import validation

MAX_ENVS = 4096  # a game takes about a megabyte, and a typing error should not take the machine


def check_num_envs(num_envs: int) -> int:
    """Return `num_envs` as an int; UserError unless it is an integer within 1 .. MAX_ENVS."""
    return validation.integer("num_envs", num_envs, 1, MAX_ENVS)


def game_seeds(seed: Any, num_envs: int) -> np.ndarray:
    """int64[N] seeds within 0 .. 2^31 - 1, one per game.

    Spawned, not counted up from `seed`: runs 0 and 1 would share all but one of their games.
    Game i's seed does not depend on N, so one game of a batch can be played again alone.

    Raises UserError if `seed` is not a non-negative integer.
    """
    children = np.random.SeedSequence(validation.integer("seed", seed, 0)).spawn(num_envs)
    return np.array([child.generate_state(1)[0] >> 1 for child in children], dtype=np.int64)


def check_actions(given: Any, num_envs: int, num_actions: int) -> np.ndarray:
    """Actions as int32[N], for games that hang or misbehave on others.

    Raises ValueError that names what is wrong with them.
    """
    actions: np.ndarray = np.asarray(given)
    if actions.dtype.kind not in "iu":
        raise ValueError(f"actions have dtype {actions.dtype}, must be integers")
    if actions.shape != (num_envs,):
        raise ValueError(f"actions have shape {actions.shape}, must be {(num_envs,)}")
    if actions.min() < 0 or actions.max() >= num_actions:
        index = int(np.argmax((actions < 0) | (actions >= num_actions)))
        raise ValueError(
            f"actions[{index}] is {actions[index]}, must be within 0 .. {num_actions - 1}"
        )
    return actions.astype(np.int32)
