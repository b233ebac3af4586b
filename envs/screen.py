"""Games as a person sees them: `Env.screen` for games whose observations are made for a net."""

from typing import Any

import numpy as np

from dqnlab.types import Env, Screen, TimeStep, UserError

_HERTZ = 60  # emulator frames a second
_STEPS_PER_SECOND = 15.0  # of games that name no speed of their own


def from_second(env: Env, colour: Env) -> Env:
    """`env`, shown by a second emulator in colour, which is given the same seeds and actions."""
    state: Any = None
    picture: Any = None

    def reset(seed: Any) -> tuple[Any, TimeStep]:
        nonlocal state, picture
        state, picture = colour.reset(seed)
        return env.reset(seed)

    def step(env_state: Any, actions: Any) -> tuple[Any, TimeStep]:
        nonlocal state, picture
        result = env.step(env_state, actions)
        state, picture = colour.step(state, actions)
        return result

    def close() -> None:
        env.close()
        colour.close()

    screen = Screen(lambda: np.asarray(picture.obs)[0], _HERTZ / env.spec.frame_skip)
    alone = env._replace(groups=1, send=None, recv=None, restart=None)  # colour only steps
    return alone._replace(reset=reset, step=step, close=close, screen=screen)


def from_observations(env: Env) -> Env:
    """`env`, shown by what the agent sees. UserError where that is numbers."""
    if env.spec.obs_dtype != "uint8" or len(env.spec.obs_shape) not in (2, 3):
        raise UserError(
            f"{env.spec.game} has no pictures: its observations are numbers, and it cannot render "
            "itself (rgb_array among the render modes of its metadata)"
        )
    shown: Any = None

    def reset(seed: Any) -> tuple[Any, TimeStep]:
        nonlocal shown
        state, shown = env.reset(seed)
        return state, shown

    def step(env_state: Any, actions: Any) -> tuple[Any, TimeStep]:
        nonlocal shown
        state, shown = env.step(env_state, actions)
        return state, shown

    screen = Screen(lambda: in_colour(np.asarray(shown.obs)[0]), _STEPS_PER_SECOND)
    return env._replace(reset=reset, step=step, restart=None, screen=screen)


def in_colour(frame: np.ndarray) -> np.ndarray:
    """One observation [H, W] or [H, W, C] -> uint8[H, W, 3]; of several channels the last."""
    if frame.ndim == 3 and frame.shape[-1] == 3:
        return frame
    grey = frame if frame.ndim == 2 else frame[..., -1]
    return np.broadcast_to(grey[..., None], (*grey.shape, 3))
