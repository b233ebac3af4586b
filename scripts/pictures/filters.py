"""The weights of the first layer, as images."""

import math

import numpy as np
from matplotlib.figure import Figure

from agents import networks
from scripts.pictures.mosaic import mosaic
from scripts.pictures.subject import Absent, Subject

MOST = 64
GAP = 0.1  # between two panels, of a panel's width


def draw(subject: Subject) -> Figure:
    """One panel per input channel; a filter has the same place, and the same scale, in each."""
    name = subject.layer_names()[0]
    kernels = _kernels(subject, name)  # [N, h, w, C]
    shown = kernels[:MOST]
    scale = np.abs(shown).max(axis=(1, 2, 3), keepdims=True)
    shown = shown / np.where(scale > 0, scale, 1)
    channels = shown.shape[-1]
    colours = subject.x.shape[3] if subject.moments is not None and subject.x.ndim == 5 else 1
    columns = channels // colours
    height = 4.5 if columns == 1 else 3.6
    figure = Figure(figsize=(max(5.5, 1 + 2.8 * columns), height * colours), layout="constrained")
    # Between two frames more room than between two filters of a frame.
    figure.get_layout_engine().set(wspace=GAP, hspace=GAP)  # type: ignore[union-attr]
    panels = figure.subplots(colours, columns, squeeze=False)
    for channel, axes in enumerate(panels.flat):
        sheet = mosaic(shown[..., channel], columns=math.ceil(math.sqrt(len(shown))))
        image = axes.imshow(sheet, cmap="coolwarm", vmin=-1, vmax=1, interpolation="nearest")
        axes.set_title(_channel_name(subject, channel, channels), fontsize=10)
        axes.set(xticks=[], yticks=[])
    figure.colorbar(image, ax=panels, shrink=0.7, label="weight / largest of the filter")
    more = f" ({MOST} of {len(kernels)})" if len(kernels) > MOST else f" ({len(kernels)})"
    figure.suptitle(f"{subject.title}: filters of {name}{more}", fontsize=11)
    return figure


def _kernels(subject: Subject, name: str) -> np.ndarray:
    weights = np.asarray(subject.params[name].get("w", np.zeros(0)), np.float32)
    if weights.ndim == 4:
        return np.moveaxis(weights, -1, 0)
    shape = networks.fold(subject.images()).shape[1:]
    if weights.ndim == 2 and len(weights) == np.prod(shape):
        return weights.T.reshape(-1, *shape)
    raise Absent(f"the weights of its first layer, {name}, are {list(weights.shape)}: no images")


def _channel_name(subject: Subject, channel: int, channels: int) -> str:
    if subject.moments is not None and channels > 1:  # stacked frames
        stack = subject.x.shape[-1]
        back = stack - 1 - channel % stack
        frame = "newest frame" if back == 0 else f"{back} step{'s' * (back > 1)} before"
        if subject.x.ndim == 4:
            return frame
        colours = ("red", "green", "blue") if channels == 3 * stack else None
        colour = colours[channel // stack] if colours else f"channel {channel // stack}"
        return colour if stack == 1 else f"{colour}, {frame}"
    return f"channel {channel}" if channels > 1 else "input"
