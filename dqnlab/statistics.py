"""What the scores of many games and runs say together, with how far chance could move it.

Agarwal et al. 2021, "Deep RL at the Edge of the Statistical Precipice" (arXiv 2108.13264), whose
library rliable 1.2.0 no longer imports. Scores are human-normalised, or otherwise comparable
between games. They come as {game: scores of its runs} or as an array [runs, games].

Every game counts the same, however many runs it has; with as many runs in each game all figures
are rliable's. Intervals are 95 % percentile intervals of the stratified bootstrap: the runs are
drawn again, with replacement, within each game. They are NaN where a game has a single run: that
says nothing about chance.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dqnlab.types import UserError

Floats = NDArray[np.float64]
Scores = Mapping[str, ArrayLike] | NDArray[Any]
RESAMPLES = 2_000  # moves the ends of an interval by about 2 % of its width between seeds
_ENDS = (0.025, 0.975)


class Estimate(NamedTuple):
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float


class Profile(NamedTuple):
    """The share of runs above each threshold and its pointwise 95 % interval; all [T]."""

    thresholds: Floats
    value: Floats
    low: Floats
    high: Floats


class _Strata(NamedTuple):
    values: Floats  # [M]: all scores, game after game
    counts: NDArray[np.int64]  # [G]: runs of each game
    games: tuple[str, ...]

    @property
    def starts(self) -> NDArray[np.int64]:  # [G]: where each game's scores begin
        return np.cumsum(self.counts) - self.counts

    @property
    def weights(self) -> Floats:  # [M]: what each score counts; they sum to 1
        return np.repeat(1 / (self.counts * len(self.counts)), self.counts)


# [B, M] scores, each row one draw of all games, and what they are of -> [B] or [B, T] figures.
_Metric = Callable[[Floats, _Strata], Floats]


def iqm(scores: Scores, *, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """Interquartile mean: of all M scores of all games, without the floor(M / 4) at either end.

    Section 4.3 of the paper; `scipy.stats.trim_mean(scores, 0.25, axis=None)`. With unequal
    numbers of runs the same share is cut, counted in the scores' weights.
    """
    return _estimate(scores, _iqm, resamples, seed)


def median(scores: Scores, *, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """The middle one of the games' means over runs."""
    return _estimate(scores, _median, resamples, seed)


def mean(scores: Scores, *, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """Mean of the games' means over runs. One game with a huge score can rule it."""
    return _estimate(scores, lambda drawn, strata: drawn @ strata.weights, resamples, seed)


def optimality_gap(
    scores: Scores, gamma: float = 1.0, *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """How far scores stay below `gamma`: gamma - mean(min(score, gamma)). Less is better."""
    return _estimate(
        scores,
        lambda drawn, strata: gamma - np.minimum(drawn, gamma) @ strata.weights,
        resamples,
        seed,
    )


def performance_profile(
    scores: Scores, thresholds: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0
) -> Profile:
    """Run-score distribution: share of runs with score > threshold, mean over games.

    Section 4.2 of the paper: 1/M sum_m 1/N_m sum_n [x_mn > threshold], M games, N_m runs.

    Args:
      scores: as above.
      thresholds: [T].
    """
    levels = np.asarray(thresholds, np.float64)

    def above(drawn: Floats, strata: _Strata) -> Floats:
        return np.stack([(drawn > level) @ strata.weights for level in levels], axis=-1)

    strata = _strata(scores)
    draws = _resample(strata, resamples, np.random.default_rng(seed))
    low, high = _interval(above(draws, strata), strata)
    return Profile(levels, above(strata.values[None], strata)[0], low, high)


def probability_of_improvement(
    scores: Scores, other: Scores, *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Chance that a run of the first beats one of the other on a game drawn at random.

    Mean over games of P(X > Y) + P(X = Y) / 2 over all pairs of runs: the Mann-Whitney statistic
    by the number of pairs (section 4.3). It says nothing about by how much.

    Raises:
      UserError: they are not of the same games.
    """
    ours, theirs = _strata(scores), _strata(other)
    if set(ours.games) != set(theirs.games):
        raise UserError(
            f"scores of the games {sorted(ours.games)} and {sorted(theirs.games)}: an improvement "
            "is on the same games"
        )
    place = [theirs.games.index(game) for game in ours.games]

    def wins(x: Floats, y: Floats) -> Floats:
        x_games = np.split(x, ours.starts[1:], axis=1)
        y_games = np.split(y, theirs.starts[1:], axis=1)
        pairs = [(x_games[i], y_games[j]) for i, j in enumerate(place)]
        return np.asarray(np.mean([_share_of_wins(x, y) for x, y in pairs], axis=0))

    rng = np.random.default_rng(seed)
    draws = wins(_resample(ours, resamples, rng), _resample(theirs, resamples, rng))
    low, high = _interval(draws, ours, theirs)
    return Estimate(float(wins(ours.values[None], theirs.values[None])[0]), float(low), float(high))


def _share_of_wins(x: Floats, y: Floats) -> Floats:
    # sign is 1, 0, -1 for a win, a draw, a defeat: their mean is 2 P - 1.
    signs = np.sign(x[:, :, None] - y[:, None, :])
    return np.asarray((signs.mean(axis=(1, 2)) + 1) / 2)


def _iqm(drawn: Floats, strata: _Strata) -> Floats:
    num_scores = drawn.shape[1]
    cut = (num_scores // 4) / num_scores
    order = np.argsort(drawn, axis=1)
    weights = strata.weights[order]
    end = np.cumsum(weights, axis=1)
    # Each score covers end - weight .. end of the whole; kept is what of it lies within the cuts.
    kept = np.maximum(np.minimum(end, 1 - cut) - np.maximum(end - weights, cut), 0)
    inner = np.take_along_axis(drawn, order, axis=1)
    return np.asarray((kept * inner).sum(axis=1) / kept.sum(axis=1))


def _median(drawn: Floats, strata: _Strata) -> Floats:
    means = np.add.reduceat(drawn, strata.starts, axis=1) / strata.counts
    return np.asarray(np.median(means, axis=1))


def _estimate(scores: Scores, metric: _Metric, resamples: int, seed: int) -> Estimate:
    strata = _strata(scores)
    draws = _resample(strata, resamples, np.random.default_rng(seed))
    low, high = _interval(metric(draws, strata), strata)
    return Estimate(float(metric(strata.values[None], strata)[0]), float(low), float(high))


def _resample(strata: _Strata, resamples: int, rng: np.random.Generator) -> Floats:
    first = np.repeat(strata.starts, strata.counts)
    after_last = first + np.repeat(strata.counts, strata.counts)
    return strata.values[rng.integers(first, after_last, size=(resamples, len(first)))]


def _interval(draws: Floats, *strata: _Strata) -> tuple[Floats, Floats]:
    low, high = np.quantile(draws, _ENDS, axis=0)
    if any(each.counts.min() == 1 for each in strata):
        return np.full_like(low, np.nan), np.full_like(high, np.nan)
    return low, high


def _strata(scores: Scores) -> _Strata:
    if isinstance(scores, Mapping):
        named = {game: np.asarray(each, np.float64) for game, each in scores.items()}
    elif scores.ndim == 2:
        columns: Sequence[Floats] = list(np.asarray(scores, np.float64).T)
        named = {str(number): column for number, column in enumerate(columns)}
    else:
        raise UserError(f"scores have the shape {scores.shape}; it must be [runs, games]")
    if not named:
        raise UserError("there are no scores")
    for game, each in named.items():
        if each.ndim != 1 or not each.size or not np.isfinite(each).all():
            raise UserError(f"scores of {game} must be finite numbers, one per run: {each}")
    counts = np.array([len(each) for each in named.values()], np.int64)
    return _Strata(np.concatenate(list(named.values())), counts, tuple(named))
