"""What the units of a layer do over many inputs: which are dead, which say the same."""

from typing import NamedTuple

import numpy as np


class UnitStats(NamedTuple):
    """Of the U units of one layer."""

    mean: np.ndarray  # float64[U]
    std: np.ndarray  # float64[U]
    on: np.ndarray  # float64[U]: the share of inputs for which a unit is above 0
    correlation: np.ndarray  # float64[U, U]; nan for units that never change

    @property
    def dead(self) -> float:
        """The share of units that are above 0 for no input: behind a ReLU they say nothing."""
        return float(np.mean(self.on == 0))

    def pairs(self, above: float) -> list[tuple[int, int]]:
        """The pairs of units with |correlation| > `above`, the most alike first."""
        upper = np.triu(np.nan_to_num(np.abs(self.correlation)), k=1)
        rows, columns = np.nonzero(upper > above)
        order = np.argsort(-upper[rows, columns], kind="stable")
        return [(int(rows[i]), int(columns[i])) for i in order]


def unit_stats(outputs: np.ndarray) -> UnitStats:
    """Statistics over all axes but the last: [..., U], the outputs before the nonlinearity.

    Channels of a convolution are its units, and every place in every image is an input.
    """
    flat = np.asarray(outputs, np.float64).reshape(-1, outputs.shape[-1])
    centred = flat - flat.mean(axis=0)
    std = centred.std(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = centred.T @ centred / len(flat) / np.outer(std, std)
    return UnitStats(flat.mean(axis=0), std, (flat > 0).mean(axis=0), correlation)
