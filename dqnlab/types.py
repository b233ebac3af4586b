"""The records through which games, agents and scripts meet.

`agents` and `envs` never import each other; both speak in these types.
"""

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

Array = jax.Array
Params = Any  # a Haiku parameter tree: {module: {name: array}}
PyTree = Any
T = TypeVar("T")


class UserError(ValueError):
    """A mistake of the user's: scripts print it as one line and exit with code 2."""


def choose(table: Mapping[str, T], name: str, what: str) -> T:
    """The entry of that name; UserError naming the nearest one otherwise."""
    if name not in table:
        by_key = {key.lower(): key for key in table}
        near = difflib.get_close_matches(name.lower(), by_key, n=1, cutoff=0.4)
        hint = f"did you mean {by_key[near[0]]}? " if near else ""
        raise UserError(f"{what} {name!r} is unknown; {hint}Allowed: {', '.join(table)}")
    return table[name]


class TimeStep(NamedTuple):
    """What N games say after one agent step.

    Three things that others mix up are kept apart:
      termination  `discount` is 0: the value of `obs` is zero, by definition;
      truncation   `discount` stays 1: learners bootstrap from `obs`, the true last frame;
      reset        `first` is True: `obs` begins an episode, the action before it was ignored,
                   and no transition leads into it (NEXT_STEP autoreset).

    A lost life under the `nature2015` protocol is a termination without a reset: the game goes on.
    """

    obs: Array | np.ndarray  # [N, *obs_shape]: ONE new frame (or vector), never a stack
    reward: Array | np.ndarray  # float32[N]: the game's own score, not clipped
    discount: Array | np.ndarray  # float32[N]: 0 where terminated, else 1
    first: Array | np.ndarray  # bool[N]: this obs begins an episode


@dataclasses.dataclass(frozen=True)
class EnvSpec:
    """What a batch of games looks like; everything a network or a replay must know."""

    game: str  # "Pong", "catch", "CartPole-v1"
    num_envs: int
    num_actions: int
    action_meanings: tuple[str, ...]  # one name per action; loading weights compares them
    obs_shape: tuple[
        int, ...
    ]  # of one frame of one game: (84, 84), (84, 84, 3), or (4,) for vectors
    obs_dtype: str  # "uint8" for images, "float32" for vectors
    stack: int  # number of last frames that an agent sees
    frame_skip: int  # emulator frames per agent step; 1 where there is no emulator
    protocol: dict[str, Any]  # every setting that changes scores, as saved with a run
    traceable: bool  # reset and step are pure JAX functions


class Screen(NamedTuple):
    """The first game of a batch as a person sees it."""

    draw: Callable[[], np.ndarray]  # uint8[H, W, 3]: the present moment
    steps_per_second: float  # agent steps at the speed at which people play


class Env(NamedTuple):
    """A batch of N games as two functions.

    Host games keep their state in C++ and return a token as `env_state`; JAX games return arrays.
    Games in groups of N / G step apart, too: the caller thinks about one while another is played.
    """

    spec: EnvSpec
    reset: Callable[[Any], tuple[Any, TimeStep]]  # seed -> (env_state, TimeStep[N]), all `first`
    step: Callable[[Any, Any], tuple[Any, TimeStep]]  # (env_state, int32[N]) -> ...
    close: Callable[[], None]
    lives: Callable[[], np.ndarray] | None = None  # int32[N] left after the last call, where known
    groups: int = 1  # G; more than one only where there are `send` and `recv`
    send: Callable[[int, Any], None] | None = None  # (group, int32[N / G]): begins its step
    recv: Callable[[int], TimeStep] | None = None  # group -> TimeStep[N / G]: waits for the end
    # Games on the host only: (int[M] games, seed) -> obs [M, *obs_shape]. Those games begin anew as
    # `reset(seed)` would begin them; the others stand as they are, and `env_state` stays good.
    restart: Callable[[np.ndarray, Any], np.ndarray] | None = None
    max_episode_steps: int | None = None  # agent steps after which a game is truncated, if known
    screen: Screen | None = None  # only where it was asked for
