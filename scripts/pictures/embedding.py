"""The inputs as the net describes them, in two dimensions."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from scripts.pictures.subject import Absent, Subject, picture

THUMBNAILS = 8
SIZE = 60  # points of a thumbnail's longer side
MARGIN = 0.18  # of the axes' width, left and right, for thumbnails
LEAST = 10


def draw(subject: Subject, seed: int) -> Figure:
    """PCA and t-SNE (van der Maaten & Hinton 2008) of the narrowest hidden layer."""
    features = subject.features()
    if len(features) < LEAST:
        raise Absent(f"{len(features)} inputs are too few; {LEAST} are needed (--frames)")
    pca = PCA(2, random_state=seed)
    flat = pca.fit_transform(features)
    perplexity = min(30.0, (len(features) - 1) / 3)
    near = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(features)
    figure = Figure(figsize=(14, 6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
    share = pca.explained_variance_ratio_
    _scatter(left, subject, flat)
    left.set_title("principal components", fontsize=10)
    left.set_xlabel(f"first ({share[0]:.0%} of the variance)")
    left.set_ylabel(f"second ({share[1]:.0%})")
    dots = _scatter(right, subject, near)
    right.set_title(f"t-SNE, perplexity {perplexity:.0f} (distances have no unit)", fontsize=10)
    _thumbnails(right, subject, near)
    _explain_colours(figure, right, dots, subject)
    width = features.shape[1]
    figure.suptitle(
        f"{subject.title}: {len(features)} inputs in the space of {width} hidden units", fontsize=11
    )
    return figure


def _scatter(axes: Axes, subject: Subject, points: np.ndarray) -> PathCollection | None:
    """Draw the points; return them where their colour is a number."""
    if subject.labels is not None and subject.names is not None:
        for label in np.unique(subject.labels):
            chosen = points[subject.labels == label]
            color = f"C{label}" if len(subject.names) <= 10 else None
            axes.scatter(*chosen.T, s=9, color=color, label=subject.names[label])
        return None
    if subject.moments is not None:
        return axes.scatter(*points.T, s=9, c=subject.outputs().max(axis=1), cmap="viridis")
    axes.scatter(*points.T, s=9)
    return None


def _explain_colours(
    figure: Figure, axes: Axes, dots: PathCollection | None, subject: Subject
) -> None:
    """Beside the panels, where it covers no point."""
    if dots is not None:
        figure.colorbar(dots, ax=axes, label=f"largest {subject.output}", shrink=0.8)
    elif subject.labels is not None and subject.names is not None and len(subject.names) <= 20:
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", fontsize=8, markerscale=2)


def _thumbnails(axes: Axes, subject: Subject, points: np.ndarray) -> None:
    """A few inputs in margins left and right of all points, with a line to the place of each.

    Each next one is the farthest from those chosen.
    """
    try:
        images = subject.images()
    except Absent:
        return
    chosen = [int(np.argmax(np.linalg.norm(points - points.mean(axis=0), axis=1)))]
    while len(chosen) < min(THUMBNAILS, len(points)):
        gaps = np.linalg.norm(points[:, None] - points[chosen][None], axis=-1).min(axis=1)
        chosen.append(int(gaps.argmax()))
    left, right = points[:, 0].min(), points[:, 0].max()
    width = (right - left) / (1 - 2 * MARGIN)
    axes.set_xlim(left - MARGIN * width, right + MARGIN * width)
    zoom = SIZE / max(images.shape[1:3])
    by_x = sorted(chosen, key=lambda index: points[index, 0])
    half = len(chosen) // 2
    for column, side in ((by_x[:half], MARGIN / 2), (by_x[half:], 1 - MARGIN / 2)):
        by_y = sorted(column, key=lambda index: points[index, 1])  # lines that do not cross
        for row, index in enumerate(by_y):
            box = AnnotationBbox(
                OffsetImage(picture(images[index]), zoom=zoom, cmap="gray"),
                tuple(points[index]),
                xybox=(side, (row + 0.5) / len(by_y)),
                boxcoords="axes fraction",
                pad=0.1,
                arrowprops={"arrowstyle": "-", "lw": 0.8, "color": "gray"},
            )
            axes.add_artist(box)
