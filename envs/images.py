"""Images as environments show them, brought to one layout: grey [H, W], else [H, W, C]."""

from typing import NamedTuple

import numpy as np

STACK = 4  # frames that an agent sees of a game in pictures


class Layout(NamedTuple):
    """How an environment's image becomes ours."""

    axes: tuple[int, ...]  # the environment's axes, in the order height, width, the others
    shape: tuple[int, ...]  # [H, W], or [H, W, C] with several channels
    stack: int  # last images that an agent sees: STACK of grey or colour frames


def layout(shape: tuple[int, ...]) -> Layout | None:
    """Return the layout of an image of this shape; None for shapes that no image has.

    Channels are the last axis, or the first where it is smaller than both others. One channel is
    grey and three are a colour. Other numbers are frames that the environment has stacked already,
    or planes of features: such an image is seen alone. So is a stack of four dimensions, [K, ...].
    """
    if len(shape) == 2:
        return Layout((0, 1), shape, STACK)
    if len(shape) == 3:
        is_channels_first = shape[0] < min(shape[1:])
        axes = (1, 2, 0) if is_channels_first else (0, 1, 2)
        height, width, channels = (shape[axis] for axis in axes)
        if channels == 1:
            return Layout(axes, (height, width), STACK)
        return Layout(axes, (height, width, channels), STACK if channels == 3 else 1)
    if len(shape) == 4 and (frame := layout(shape[1:])) is not None:
        height, width, channels = (shape[1 + axis] for axis in frame.axes)
        rows, columns, colours = (1 + axis for axis in frame.axes)
        return Layout((rows, columns, 0, colours), (height, width, shape[0] * channels), 1)
    return None


def arrange(images: np.ndarray, wanted: Layout) -> np.ndarray:
    """[N, *environment's shape] -> [N, *layout.shape]."""
    ordered = images.transpose(0, *(1 + axis for axis in wanted.axes))
    return ordered.reshape(len(images), *wanted.shape)
