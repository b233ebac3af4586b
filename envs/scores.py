"""Published scores of Atari games, and where a score lies between random play and a human.

The tables and their sources are described in `envs/data/SOURCES.md`.
"""

import csv
import functools
import pathlib

from dqnlab.types import UserError
from envs import names

_DATA = pathlib.Path(__file__).parent / "data"
_CURVE_FRAMES = (1, 5, 10, 20, 40, 50, 100, 150, 200)  # millions; the columns of the table


@functools.cache
def _score_rows() -> dict[str, dict[str, str]]:
    with open(_DATA / "atari_scores.csv", newline="", encoding="utf-8") as file:
        return {names.key(row["game"]): row for row in csv.DictReader(file)}


@functools.cache
def _curve_rows() -> dict[tuple[str, str, str], dict[str, str]]:
    with open(_DATA / "dopamine_curves.csv", newline="", encoding="utf-8") as file:
        return {
            (names.key(row["game"]), row["agent"], row["run_set"]): row
            for row in csv.DictReader(file)
        }


def _key(game: str) -> str:
    # Another environment may have an Atari game's name (Blackjack-v1), and has no published scores.
    return names.key(game) if names.is_atari_spelling(game) else ""


def reference(game: str) -> dict[str, float]:
    """What was published for a game: column -> score, as in `envs/data/atari_scores.csv`.

    `random` and `human` are among the columns, and the marks `in_atari57`, `in_atari100k`,
    `in_atari5` (1 or 0). Columns without a value for this game are left out; a game that is not
    in the table has none.
    """
    row = _score_rows().get(_key(game), {})
    return {column: float(value) for column, value in row.items() if column != "game" and value}


def human_normalized(game: str, score: float) -> float | None:
    """(score - random) / (human - random): 0 is random play, 1 the human of the tables.

    `random` and `human` are DQN Zoo's figures (dqn_zoo/atari_data.py) for starts with up to 30
    no-ops and games of at most 30 minutes, not the older ones of Mnih et al. 2015. None for a
    game without a published human score.
    """
    published = reference(game)
    if "random" not in published or "human" not in published:
        return None
    low, high = published["random"], published["human"]
    return (score - low) / (high - low)


def dopamine_curve(game: str, agent: str = "DQN", run_set: str = "legacy") -> dict[int, float]:
    """Frames -> mean training return of Dopamine's published runs (arXiv 1812.06110).

    Mean of 5 seeds at 1, 5, 10, 20, 40, 50, 100, 150, 200 million frames: sticky actions,
    epsilon 0.01, full games. Run sets are `legacy`, `jax_CNN` and `jax_Impala`. Empty for a game
    that was not run.

    Raises UserError for an agent or run set that does not exist.
    """
    rows = _curve_rows()
    known = sorted({(row_set, row_agent) for _, row_agent, row_set in rows})
    if (run_set, agent) not in known:
        listed = ", ".join(f"{row_set}/{row_agent}" for row_set, row_agent in known)
        raise UserError(f"no Dopamine curves for {run_set}/{agent}; there are: {listed}")
    row = rows.get((_key(game), agent, run_set), {})
    return {m * 1_000_000: float(row[f"{m}M"]) for m in _CURVE_FRAMES if row.get(f"{m}M")}
