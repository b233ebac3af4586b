"""The inputs as the net describes them, in two dimensions."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from scripts.pictures.subject import Absent, Subject, picture

THUMBNAILS = 8
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
    figure = Figure(figsize=(13, 6), layout="constrained")
    left, right = figure.subplots(1, 2)
    share = pca.explained_variance_ratio_
    _scatter(figure, left, subject, flat)
    left.set_title("principal components", fontsize=10)
    left.set_xlabel(f"first ({share[0]:.0%} of the variance)")
    left.set_ylabel(f"second ({share[1]:.0%})")
    _scatter(figure, right, subject, near)
    right.set_title(f"t-SNE, perplexity {perplexity:.0f} (distances have no unit)", fontsize=10)
    _thumbnails(right, subject, near)
    width = features.shape[1]
    figure.suptitle(
        f"{subject.title}: {len(features)} inputs in the space of {width} hidden units", fontsize=11
    )
    return figure


def _scatter(figure: Figure, axes: Axes, subject: Subject, points: np.ndarray) -> None:
    if subject.labels is not None and subject.names is not None:
        for label in np.unique(subject.labels):
            chosen = points[subject.labels == label]
            color = f"C{label}" if len(subject.names) <= 10 else None
            axes.scatter(*chosen.T, s=9, color=color, label=subject.names[label])
        if len(subject.names) <= 20:
            axes.legend(fontsize=8, markerscale=2)
    elif subject.moments is not None:
        best = subject.outputs().max(axis=1)
        dots = axes.scatter(*points.T, s=9, c=best, cmap="viridis")
        figure.colorbar(dots, ax=axes, label=f"largest {subject.output}", shrink=0.8)
    else:
        axes.scatter(*points.T, s=9)


def _thumbnails(axes: Axes, subject: Subject, points: np.ndarray) -> None:
    """A few inputs at their places: each next one is the farthest from those chosen."""
    try:
        images = subject.images()
    except Absent:
        return
    chosen = [int(np.argmax(np.linalg.norm(points - points.mean(axis=0), axis=1)))]
    while len(chosen) < min(THUMBNAILS, len(points)):
        gaps = np.linalg.norm(points[:, None] - points[chosen][None], axis=-1).min(axis=1)
        chosen.append(int(gaps.argmax()))
    middle = (points[:, 1].min() + points[:, 1].max()) / 2
    zoom = 42 / max(images.shape[1:3])
    for index in chosen:
        image = OffsetImage(picture(images[index]), zoom=zoom, cmap="gray")
        box = AnnotationBbox(
            image,
            tuple(points[index]),
            xybox=(0, -36 if points[index, 1] > middle else 36),  # towards the middle
            boxcoords="offset points",
            pad=0.1,
            arrowprops={"arrowstyle": "-", "lw": 0.8},
        )
        axes.add_artist(box)
    axes.margins(0.15)
