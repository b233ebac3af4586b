"""Inputs that the net takes for alike, beside those that are alike pixel by pixel."""

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import pairwise_distances

from dqnlab.plurals import count
from scripts.pictures.subject import Absent, Subject, picture, where

QUERIES, NEAREST = 4, 3
APART = 200  # agent steps of the same game; nearer ones are alike in every way


def draw(subject: Subject) -> Figure:
    """A row per query: the nearest others that do not equal it, by hidden layer and by pixels."""
    images = subject.images()
    flat = images.reshape(len(images), -1).astype(np.float32)
    if images.dtype == np.uint8:
        flat /= 255
    queries = np.linspace(0, len(images) - 1, QUERIES + 2).astype(int)[1:-1]
    spaces = {"hidden layer": subject.features(), "pixels": flat}
    columns = 1 + NEAREST * len(spaces)
    figure = Figure(figsize=(1.9 * columns, 0.6 + 2.2 * QUERIES), layout="constrained")
    grid = figure.subplots(QUERIES, columns, squeeze=False)
    for axes, query in zip(grid, queries, strict=True):
        found = [(query, where(subject, query))]
        for name, space in spaces.items():
            is_other = np.any(flat != flat[query], axis=1) & _is_apart(subject, query)
            distances = pairwise_distances(space[query][None], space)[0]
            distances = np.where(is_other, distances, np.inf)
            for other in np.argsort(distances, kind="stable")[:NEAREST]:
                if not np.isfinite(distances[other]):
                    raise Absent(f"{count(len(images), 'input')}: too few (--frames)")
                text = f"{name} {distances[other]:.3g}\n{where(subject, other)}"
                found.append((other, text))
        for each, (index, text) in zip(axes, found, strict=True):
            each.imshow(picture(images[index]), cmap="gray")
            each.set_title(text, fontsize=7)
            each.set_axis_off()
    figure.suptitle(
        f"{subject.title}: first column, and what is nearest to it, with Euclidean distances",
        fontsize=11,
    )
    return figure


def _is_apart(subject: Subject, query: int) -> np.ndarray:
    """bool[N]: the inputs from another game, or from another time of the same."""
    if subject.moments is None:
        return np.ones(len(subject.x), bool)
    game, step = subject.moments.T
    is_apart: np.ndarray = (game != game[query]) | (np.abs(step - step[query]) >= APART)
    return is_apart
