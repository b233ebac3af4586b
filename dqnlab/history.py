"""The curves of a fit: training and validation over epochs, as a picture."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure


def draw(rows: Sequence[dict[str, float]], title: str, path: str | Path) -> None:
    """One panel per metric, training and validation in it, written as PNG."""
    names = [name for name in rows[-1] if name != "epoch" and not name.startswith("valid_")]
    with matplotlib.rc_context({"text.parse_math": False}):
        figure = Figure(figsize=(1 + 3.6 * len(names), 3.2), layout="constrained")
        panels = figure.subplots(1, len(names), squeeze=False)[0]
        for axes, name in zip(panels, names, strict=True):
            for key, label in ((name, "training"), (f"valid_{name}", "validation")):
                points = [(row["epoch"], row[key]) for row in rows if key in row]
                if points:
                    axes.plot(*zip(*points, strict=True), label=label)
            axes.set(title=name, xlabel="epoch")
            axes.grid(alpha=0.3)
        panels[0].legend(frameon=False)
        figure.suptitle(title)
        figure.savefig(path, dpi=120)
