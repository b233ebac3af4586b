"""Which units are dead, and which say the same."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dqnlab.looking import layers, units
from dqnlab.plurals import count
from dqnlab.types import Array
from scripts.pictures.subject import Absent, Subject, as_input

PLACES, ALIKE, MOST = 200_000, 0.95, 128


def draw(subject: Subject) -> Figure:
    """Per layer: how often each unit is above 0, and the correlations between units."""
    stats = _stats(subject)
    figure = Figure(figsize=(max(5.5, 3.4 * len(stats)), 6.8), layout="constrained")
    grid = figure.subplots(2, len(stats), squeeze=False)
    for (name, each), (top, bottom) in zip(stats.items(), grid.T, strict=True):
        top.hist(100 * each.on, bins=np.linspace(0, 100, 21), color="C0")
        top.set_title(f"{name.split('/')[-1]}: {count(len(each.on), 'unit')}", fontsize=10)
        top.set_xlabel(f"% of inputs above 0\n({each.dead:.0%} of the units never)")
        top.set_ylabel("units")
        order = np.argsort(-each.std, kind="stable")[:MOST]
        shown = each.correlation[np.ix_(order, order)]
        image = bottom.imshow(shown, cmap="coolwarm", vmin=-1, vmax=1)
        pairs = len(each.pairs(ALIKE))
        bottom.set_xlabel(f"unit, the most active first\n({pairs} pairs with |r| > {ALIKE})")
        bottom.set_ylabel("unit")
    figure.colorbar(image, ax=grid[1], label="correlation r", shrink=0.8)
    figure.suptitle(f"{subject.title}: units before their nonlinearity", fontsize=11)
    return figure


def _stats(subject: Subject) -> dict[str, units.UnitStats]:
    """Of each layer with more than one unit. Of maps, a sample of the places."""
    rng = np.random.default_rng(0)

    def rows_of(name: str) -> np.ndarray:
        def rows(forward: Any, x: Any) -> Array:
            output = layers.layers(forward, as_input(x))[name].output
            return output.reshape(-1, output.shape[-1])

        return np.asarray(subject.run(rows), np.float32)

    # One layer at a time: all outputs of a large net for all inputs would fill the memory.
    stats = {}
    hidden = subject.layer_names()[: -1 if subject.names else None]  # the last is the output
    for name in hidden:
        rows = rows_of(name)
        if rows.shape[1] > 1:
            chosen = rng.permutation(len(rows))[:PLACES]
            stats[name] = units.unit_stats(rows[chosen])
    if not stats:
        raise Absent("it has no hidden layer with more than one unit")
    return stats
