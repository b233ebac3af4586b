"""Pictures that tasks leave in the run folder: rows of images, and lines over an axis."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure


def grid(
    path: Path, images: np.ndarray, titles: Sequence[str] | None = None, *, columns: int
) -> None:
    """Write grey images [N, H, W], dark to light from the least value to the largest, row by row.

    `titles` stand above the images, one each.
    """
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(0.8 * columns, (0.8 if titles is None else 1.05) * rows))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    low, high = images.min(), images.max()
    for index, axis in enumerate(axes):
        axis.axis("off")
        if index < len(images):
            axis.imshow(images[index], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
            if titles is not None:
                axis.set_title(titles[index], fontsize=8, pad=2)
    figure.subplots_adjust(
        0.01, 0.01, 0.99, 0.92 if titles else 0.99, 0.05, 0.35 if titles else 0.05
    )
    figure.savefig(path, dpi=80)


def scatter_and_bands(
    path: Path,
    points: tuple[np.ndarray, np.ndarray],
    over: Mapping[str, np.ndarray],
    extent: tuple[float, float, float, float],
) -> None:
    """Write points (x, y) over each of some densities [H, W], first row at the bottom."""
    figure = Figure(figsize=(4 * len(over), 3.4))
    axes = figure.subplots(1, len(over), squeeze=False)[0]
    for axis, (title, density) in zip(axes, over.items(), strict=True):
        axis.imshow(density, origin="lower", extent=extent, aspect="auto", cmap="Blues")
        axis.plot(*points, "k.", markersize=2)
        axis.set(title=title, xlabel="x", ylabel="y")
    figure.tight_layout()
    figure.savefig(path, dpi=80)
