"""Published scores of Atari games as baselines: after how many frames, and measured how.

Where the figures are from is told in `envs/data/SOURCES.md`.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence

from dqnlab.types import UserError
from envs import names, scores

_NOOPS = "no-op starts, no sticky actions, best snapshot"
_TRAINING = "sticky actions 0.25, training average"
# Columns of atari_scores.csv: after how many million frames, and measured how.
COLUMNS: dict[str, tuple[float, str]] = {
    "dqn_nature2015": (200, f"{_NOOPS}, games of 5 min"),
    "rainbow_noop": (200, _NOOPS),
    "iqn_noop": (200, _NOOPS),
    "dopamine_dqn": (200, _TRAINING),
    "dopamine_dqn_adam_mse": (200, _TRAINING),
    "dopamine_c51": (200, _TRAINING),
    "dopamine_rainbow": (200, _TRAINING),
    "dopamine_iqn": (200, _TRAINING),
    "dopamine_jaximpala_iqn": (200, _TRAINING),
    "dopamine_jaximpala_rainbow": (200, _TRAINING),
    "btr_10M": (10, "sticky actions 0.25, no-op starts, evaluation"),
    "btr_40M": (40, "sticky actions 0.25, no-op starts, evaluation"),
    "btr_200M_last10evals": (200, "sticky actions 0.25, no-op starts, evaluation"),
    "bbf_rr8_100k": (0.4, "no sticky actions, evaluation"),
    "bbf_rr2_100k": (0.4, "no sticky actions, evaluation"),
    "mrq_10M": (10, "sticky actions 0.25, evaluation"),
    "pqn_cleanrl_40M": (40, "no sticky actions, training average"),
    "dreamerv3_10M": (10, f"{_TRAINING}, 18 actions"),
    "dreamerv3_40M": (40, f"{_TRAINING}, 18 actions"),
    "dreamerv3_200M": (200, f"{_TRAINING}, 18 actions"),
    "r2d2_2019": (10_000, _NOOPS),
    "agent57": (100_000, _NOOPS),
}
_JAX_AGENTS = ("DQN", "C51", "QR-DQN", "Rainbow", "IQN")
# Baseline -> run set and agent of dopamine_curves.csv.
CURVES: dict[str, tuple[str, str]] = {
    "dopamine:DQN": ("legacy", "DQN"),
    "dopamine:C51": ("legacy", "C51"),
    "dopamine:Rainbow": ("legacy", "Rainbow"),
    "dopamine:IQN": ("legacy", "IQN"),
    "dopamine:DQN-Adam": ("legacy", "DQN (Adam + MSE in JAX)"),
    "dopamine:QR-DQN": ("legacy", "Quantile (JAX)"),
    **{f"dopamine/jax_CNN:{agent}": ("jax_CNN", agent) for agent in _JAX_AGENTS},
    **{f"dopamine/jax_Impala:{agent}": ("jax_Impala", agent) for agent in _JAX_AGENTS},
}
SUBSETS = {"atari5": "in_atari5", "atari26": "in_atari100k", "atari57": "in_atari57"}


def find_baseline(name: str) -> str:
    """The baseline of that name in any case; UserError naming the nearest ones otherwise."""
    known = {each.lower(): each for each in (*CURVES, *COLUMNS)}
    if name.lower() not in known:
        raise unknown("baseline", name, known.values())
    return known[name.lower()]


def published(baseline: str, game: str) -> dict[int, float]:
    """Frames -> published score of a game; empty where there is none."""
    if baseline in CURVES:
        run_set, agent = CURVES[baseline]
        return scores.dopamine_curve(game, agent, run_set)
    score = scores.reference(game).get(baseline)
    return {} if score is None else {round(COLUMNS[baseline][0] * 1e6): score}


def visible(points: Mapping[int, float], end: float) -> dict[int, float]:
    """Return the points up to `end`, and the next one if it is at most 2.5 times as far."""
    later = [frames for frames in points if frames > end]
    last = min(later) if later and min(later) <= 2.5 * end else end
    return {frames: score for frames, score in points.items() if frames <= last}


def how_measured(baseline: str) -> str:
    """The protocol of a published score, in words."""
    return _TRAINING if baseline in CURVES else COLUMNS[baseline][1]


def members(subset: str) -> list[str]:
    """The games of atari5, atari26 or atari57; UserError for another name."""
    if subset not in SUBSETS:
        raise unknown("set of games", subset, SUBSETS)
    return [g for g in names.atari_games() if scores.reference(g).get(SUBSETS[subset])]


def subsets(games: Sequence[str]) -> dict[str, list[str]]:
    """Name -> games of each subset that is whole in `games`, and `games` if none is as large."""
    # Only a whole subset may have its name: three of its games say something else.
    found: dict[str, list[str]] = {}
    for name in SUBSETS:
        if set(whole := members(name)) <= set(games):
            found[name] = whole
    if all(len(whole) < len(games) for whole in found.values()):
        found[f"these {len(games)}"] = list(games)
    return found


def normalized(values: Mapping[str, Iterable[float]]) -> dict[str, list[float]]:
    """Human-normalised scores of each game; games without a published human score are left out."""
    all_games = {
        game: [scores.human_normalized(game, value) for value in each]
        for game, each in values.items()
    }
    return {
        game: [value for value in each if value is not None]
        for game, each in all_games.items()
        if None not in each
    }


def unknown(what: str, name: str, allowed: Iterable[str]) -> UserError:
    """The error for a name that is not in `allowed`, with the nearest ones.

    Unlike in `names.unknown` every character counts: dopamine:DQN and dopamine_dqn are two.
    """
    by_key = {each.lower(): each for each in sorted(allowed)}
    nearest = [by_key[key] for key in difflib.get_close_matches(name.lower(), by_key, n=3)]
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else f"known: {', '.join(by_key)}"
    return UserError(f"{what} {name!r} is unknown; {hint}")
