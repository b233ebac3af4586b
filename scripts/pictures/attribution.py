"""Which pixels the answer rests on."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from agents import networks
from dqnlab import batches
from dqnlab.looking import saliency
from dqnlab.types import Array
from scripts.pictures.maps import draw_outputs
from scripts.pictures.overlay import overlay
from scripts.pictures.subject import Subject, as_input, picture, where

ROWS = 4
MAPS = ("gradient", "blurred patches", "blurred patches, advantage")


def draw(subject: Subject) -> Figure:
    """For a few inputs: the input, saliency maps of its largest output, and its outputs.

    The last map is of the advantage, what the largest output has above the mean of all: what all
    outputs share, as the lives that are left, says nothing of the choice between them.
    """
    images, outputs = subject.images(), subject.outputs()
    chosen = telling(outputs, ROWS)
    heats = _heats(subject, chosen, outputs[chosen].argmax(axis=1))
    figure = Figure(figsize=(14.5, 0.7 + 2.9 * len(chosen)), layout="constrained")
    grid = figure.subplots(len(chosen), 5, squeeze=False)
    for row, (axes, index) in enumerate(zip(grid, chosen, strict=True)):
        image = picture(images[index])
        axes[0].imshow(image, cmap="gray", vmin=0, vmax=float(image.max()))
        axes[0].set_axis_off()
        axes[0].set_title(where(subject, index), fontsize=10)
        for each, heat, title in zip(axes[1:], heats, MAPS, strict=False):
            shown = overlay(each, image, heat[row])
            each.set_title(title, fontsize=10)
        scale = ScalarMappable(shown.norm, shown.cmap)
        figure.colorbar(scale, ax=axes[3], shrink=0.8, label="share of the largest")
        draw_outputs(axes[4], subject, outputs[index], index)
    figure.suptitle(
        f"{subject.title}: pixels that the largest {subject.output} rests on", fontsize=11
    )
    return figure


def telling(outputs: np.ndarray, number: int) -> np.ndarray:
    """Of each of `number` equal parts, the input whose best output stands out most from the mean.

    Where no choice matters, a saliency map shows noise.
    """
    gap = outputs.max(axis=1) - outputs.mean(axis=1)
    parts = np.array_split(np.arange(len(gap)), min(number, len(gap)))
    return np.array([part[np.argmax(gap[part])] for part in parts])


def _heats(subject: Subject, chosen: np.ndarray, best: np.ndarray) -> list[np.ndarray]:
    """float32[n, H, W] for each of MAPS."""

    def maps(forward: Any, inputs: Any) -> list[Array]:
        x, answers = inputs

        def score(x: Array, others: float) -> Array:  # [P * n, ...] -> [P * n]
            outputs = forward(x)
            index = jnp.tile(answers, len(x) // len(answers))
            own = jnp.take_along_axis(outputs, index[:, None], axis=1)[:, 0]
            return own - others * outputs.mean(axis=1)

        images = networks.fold(as_input(x))
        smooth = images.shape[1] / 60 if images.shape[1] >= 36 else 0.0
        by_gradient = saliency.gradient(lambda x: score(x, 0.0), images)
        by_patches = [
            saliency.perturbation(lambda x, others=others: score(x, others)[:, None], images)
            for others in (0.0, 1.0)
        ]
        return [saliency.heat(by_gradient, smooth), *map(saliency.heat, by_patches)]

    x, context = batches.take((subject.x, subject.context), chosen)
    return list(subject.run(maps, (x, best.astype(np.int32)), context))
