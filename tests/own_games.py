"""Environments as users write them, found by `tests.own_games:Id`."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

STEPS = 12  # of a game


class Walk(gymnasium.Env):
    """Numbers to the agent, a picture of odd sides to a person: a bar that goes to the right."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 (as users do)
    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None):
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return self.see(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        return self.see(), float(action), self.time == STEPS, False, {}

    def see(self) -> np.ndarray:
        return np.array([self.time / STEPS, 0.5], np.float32)

    def render(self) -> np.ndarray:
        picture = np.zeros((41, 63, 3), np.uint8)
        picture[:, 4 * self.time : 4 * self.time + 8, 0] = 250
        return picture


class Blind(Walk):
    """Numbers, and nothing to show."""

    metadata = {"render_modes": []}  # noqa: RUF012


class Pictures(Walk):
    """Images of some shape: a bright bar at a random height, which goes to the right."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, shape: tuple[int, ...], order: tuple[int, ...]):
        self.shape, self.order = shape, order
        self.observation_space = spaces.Box(0, 255, tuple(shape[i] for i in order), np.uint8)

    def see(self) -> np.ndarray:
        height, width, *channels = self.shape
        image = np.zeros(self.shape, np.uint8)
        top = int(self.np_random.integers(height - 4))
        place = self.time * (width - 4) // STEPS
        image[top : top + 4, place : place + 4] = (
            250 if not channels else [250, 120, 60, 30][: channels[0]]
        )
        return image.transpose(self.order)


SHAPES = {
    "Grey": ((40, 44), (0, 1)),
    "GreyChannel": ((40, 44, 1), (0, 1, 2)),
    "ChannelGrey": ((40, 44, 1), (2, 0, 1)),
    "Colour": ((40, 44, 3), (0, 1, 2)),
    "ColourFirst": ((40, 44, 3), (2, 0, 1)),
    "Stacked": ((40, 44, 4), (0, 1, 2)),
    "StackedFirst": ((40, 44, 4), (2, 0, 1)),
    "SmallColour": ((9, 10, 3), (0, 1, 2)),
}
for _name, _made in {"Walk": Walk, "Blind": Blind}.items():
    gymnasium.register(f"{_name}-v0", _made)
for _name, (_shape, _order) in SHAPES.items():
    _kwargs = {"shape": _shape, "order": _order}
    gymnasium.register(f"{_name}-v0", Pictures, kwargs=_kwargs)
