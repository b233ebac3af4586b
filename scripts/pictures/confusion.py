"""Which classes are taken for which."""

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix

from scripts.pictures.subject import Absent, Subject

FEW, LISTED = 20, 15


def draw(subject: Subject) -> Figure:
    """The matrix of true and predicted classes; with many classes, the commonest confusions."""
    if subject.labels is None or subject.names is None:
        raise Absent("it is no classifier")
    predicted = subject.outputs().argmax(axis=1)
    classes = np.arange(len(subject.names))
    matrix = confusion_matrix(subject.labels, predicted, labels=classes)
    figure = Figure(figsize=(9 if len(classes) <= FEW else 11, 7.5), layout="constrained")
    axes = figure.subplots()
    rows = np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(matrix / rows, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    is_few = len(classes) <= FEW
    size = 9 if is_few else max(3, 300 // len(classes))
    axes.set_xticks(classes, subject.names, fontsize=size, rotation=0 if size == 9 else 90)
    axes.set_yticks(classes, subject.names, fontsize=size)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if is_few:
        for true, guess in np.argwhere(matrix):
            color = "white" if matrix[true, guess] > rows[true] / 2 else "black"
            axes.text(guess, true, str(matrix[true, guess]), ha="center", va="center", color=color)
    wrong = int((predicted != subject.labels).sum())
    share = f"{wrong} of {len(predicted)} wrong ({wrong / len(predicted):.2%})"
    figure.suptitle(f"{subject.title}: {share}", fontsize=11)
    if not is_few:
        figure.text(
            1.0, 0.5, _commonest(matrix, subject.names), fontsize=9, va="center", ha="right"
        )
        axes.set_anchor("W")
    return figure


def _commonest(matrix: np.ndarray, names: tuple[str, ...]) -> str:
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:LISTED]
    lines = ["true → predicted: how often"]
    for true, guess in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if wrong[true, guess]:
            lines.append(f"{names[true]} → {names[guess]}: {wrong[true, guess]}")
    return "\n".join(lines)
