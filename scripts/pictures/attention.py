"""Where a net that translates looks while it writes."""

import numpy as np
from matplotlib.figure import Figure

from dqnlab import text
from scripts.pictures.subject import Absent, Subject

SHOWN = 6


def draw(subject: Subject) -> Figure:
    """Attention weights of a few pairs: what is written downwards, what is read to the right."""
    x = subject.x
    if not {"source", "target"} <= subject.vocabulary.keys() or not isinstance(x, dict):
        raise Absent("it has no attention")
    logits, weights = subject.run(lambda forward, x: forward(x))
    written = np.argmax(logits, axis=-1)
    number = min(SHOWN, len(weights))
    figure = Figure(figsize=(13, 0.8 + 3.0 * -(-number // 2)), layout="constrained")
    grid = figure.subplots(-(-number // 2), 2, squeeze=False).flat
    for index, axes in zip(range(number), grid, strict=False):
        length = int(np.flatnonzero(weights[index].sum(axis=0)).max()) + 1
        image = axes.imshow(weights[index, :, :length], cmap="Blues", vmin=0, vmax=1)
        read = text.decode(x["source"][index, :length], subject.vocabulary["source"])
        wrote = text.decode(written[index], subject.vocabulary["target"])
        axes.set_xticks(range(length), list(read))
        axes.set_yticks(range(len(wrote)), list(wrote))
        axes.set_xlabel("read")
        axes.set_ylabel("written")
    for unused in list(grid)[: number % 2]:
        unused.remove()
    figure.colorbar(image, ax=figure.axes, label="attention weight (a row sums to 1)", shrink=0.5)
    figure.suptitle(f"{subject.title}: each character written, told those before it", fontsize=11)
    return figure
