"""Runs as their folders tell them: read, checked to be comparable, grouped by game and agent."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agents import policy, registry
from dqnlab import metrics, records, run_folder
from dqnlab.types import EnvSpec, UserError
from envs import published, scores

# Metrics that are scores of whole games, as the published ones are.
RETURNS = {
    "episode_return_mean": "score (mean of last 100 games)",
    "episode_return_last20": "score (mean of last 20 games)",
}


class Run(NamedTuple):
    """One training run as its folder tells it."""

    path: Path
    game: str
    agent: str
    settings: dict[str, Any]
    protocol: dict[str, Any]
    seed: Any
    rows: list[dict[str, Any]]  # those of metrics.jsonl that have the metric; at least one


class Group(NamedTuple):
    """Runs of one game that differ in their seeds only."""

    game: str
    label: str  # the agent, and the settings that tell its runs on one game apart
    protocol: dict[str, Any]
    runs: list[Run]


def load_all(paths: Sequence[Path], metric: str, x: str = "frames") -> list[Run]:
    """Read run folders, to be compared. One that cannot be used is named on stderr and left out.

    Raises UserError where none can be used, or their protocols differ.
    """
    loaded, problems = [], list[str]()
    for path in paths:
        try:
            loaded.append(load(path, metric, x))
        except UserError as error:
            problems.append(str(error))
    if not loaded:
        alone = len(problems) == 1
        raise UserError(
            problems[0] if alone else f"none of {len(problems)} can be used; first: {problems[0]}"
        )
    kept, doubles = without_doubles(loaded)
    for problem in (*problems, *doubles):
        print(f"note: left out: {problem}", file=sys.stderr, flush=True)
    check_comparable(kept)
    return kept


def load(path: Path, metric: str, x: str = "frames") -> Run:
    """Read a run folder. UserError where it is none, or has no row with the metric and `x` yet."""
    if not path.is_dir():
        raise UserError(f"{path} is {'no run folder' if path.exists() else 'not there'}")
    config = policy.read_config(path)
    registry.check_name(config["agent"])
    spec = records.load(EnvSpec, config["spec"], str(path / run_folder.CONFIG))
    rows = metrics.read(path / metrics.FILE)
    numeric = {k for row in rows for k, v in row.items() if isinstance(v, int | float)}
    if rows and metric not in {k for row in rows for k in row}:
        raise published.unknown(f"{path}: metric", metric, numeric)
    needed = {metric, "frames", x}
    rows = [row for row in rows if all(isinstance(row.get(k), int | float) for k in needed)]
    if not rows:
        other = "" if x == "frames" else f" with {x}"
        raise UserError(f"{path} has no value of {metric}{other} yet")
    seed = config["options"].get("seed")
    return Run(path, spec.game, config["agent"], config["settings"], spec.protocol, seed, rows)


def check_comparable(runs: Sequence[Run]) -> None:
    """Raise UserError for runs under different protocols.

    All Atari games must have one protocol, as their scores go into one aggregate; of other games
    each must have its own.
    """
    first: dict[str, Run] = {}
    for run in runs:
        other = first.setdefault("Atari" if "sticky_actions" in run.protocol else run.game, run)
        keys = [*run.protocol, *(other.protocol.keys() - run.protocol.keys())]
        differences = [
            f"{key} {other.protocol.get(key)} and {run.protocol.get(key)}"
            for key in keys
            if run.protocol.get(key) != other.protocol.get(key)
        ]
        if differences:
            raise UserError(
                f"{other.path} and {run.path} have different protocols and cannot be compared: "
                + ", ".join(differences)
            )


def without_doubles(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Return the runs without those that repeat another, and a sentence for each of those.

    Two runs of a game with the same protocol, settings and seed are one: the longer is kept.
    """
    kept: dict[str, Run] = {}
    problems = []
    for run in runs:
        key = json.dumps([run.game, run.protocol, _recipe(run), run.seed])
        same = kept.setdefault(key, run)
        if same is not run:
            short, long = sorted((run, same), key=lambda each: each.rows[-1]["frames"])
            kept[key] = long
            problems.append(
                f"{short.path} is the same run as {long.path}: {run.agent} on {run.game} with the "
                f"same settings and seed {run.seed}"
            )
    return list(kept.values()), problems


def group(runs: Sequence[Run]) -> list[Group]:
    """Runs by game and agent, in the order given."""
    labels = _labels(runs)
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.game, labels[_recipe(run)]), []).append(run)
    return [Group(game, label, each[0].protocol, each) for (game, label), each in groups.items()]


def _recipe(run: Run) -> str:
    return json.dumps([run.agent, run.settings], sort_keys=True)


def _labels(runs: Sequence[Run]) -> dict[str, str]:
    """Recipe -> label.

    A setting is in the label where two runs of the agent on one game differ in it. One that only
    sets games apart is compared with nothing: the agent has one label on both.
    """
    compared: dict[str, list[str]] = {run.agent: [] for run in runs}
    for here in _by_agent_and_game(runs):
        known = compared[here[0].agent]
        known += [key for key in _differences(here) if key not in known]
    labels: dict[str, str] = {}
    variants: dict[str, list[list[str]]] = {}  # label without its number -> what it stands for
    for run in runs:
        settings = [f"{key}={run.settings.get(key)}" for key in compared[run.agent]]
        more = ", ..." if len(settings) > 3 else ""
        label = run.agent + (f" ({', '.join(settings[:3])}{more})" if settings else "")
        same = variants.setdefault(label, [])
        if settings not in same:
            same.append(settings)
        number = same.index(settings) + 1
        labels[_recipe(run)] = label + (f" #{number}" if number > 1 else "")
    return labels


def _by_agent_and_game(runs: Sequence[Run]) -> list[list[Run]]:
    found: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        found.setdefault((run.agent, run.game), []).append(run)
    return list(found.values())


def _differences(runs: Sequence[Run]) -> list[str]:
    """Names of the settings in which these runs differ."""
    first = runs[0].settings
    return [key for key in first if any(run.settings.get(key) != first[key] for run in runs)]


def with_values(groups: Sequence[Group], metric: str) -> list[Group]:
    """The groups, with only the rows that have a number of another metric, where any run has."""
    found = []
    for each in groups:
        rows = [
            [r for r in run.rows if isinstance(r.get(metric), int | float)] for run in each.runs
        ]
        runs = [run._replace(rows=kept) for run, kept in zip(each.runs, rows, strict=True) if kept]
        if runs:
            found.append(each._replace(runs=runs))
    return found


def unlike_games(groups: Sequence[Group]) -> list[str]:
    """A sentence for each label whose runs on one game have other settings than on another."""
    notes = []
    for label in dict.fromkeys(each.label for each in groups):
        here = [each.runs[0] for each in groups if each.label == label]
        if keys := _differences(here):
            values = "; ".join(
                f"{run.game} {', '.join(f'{key}={run.settings.get(key)}' for key in keys[:3])}"
                for run in here
            )
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            notes.append(f"{label} has other settings on other games: {values}{more}")
    return notes


def compared(groups: Sequence[Group], metric: str) -> dict[str, dict[str, dict[str, list[Run]]]]:
    """Set of games -> agent -> game -> runs, of the Atari games that all of the agents played.

    Empty where the metric is no score, fewer than 2 such games have a human score, or an agent has
    not the same settings on all of them.
    """
    by_label: dict[str, dict[str, list[Run]]] = {}
    for each in groups:
        by_label.setdefault(each.label, {})[each.game] = each.runs
    shared = [g for g in by_label[groups[0].label] if all(g in each for each in by_label.values())]
    games = [g for g in shared if scores.human_normalized(g, 0) is not None]
    for by_game in by_label.values():
        if len({_recipe(by_game[game][0]) for game in games}) > 1:
            return {}
    if len(games) < 2 or metric not in RETURNS:
        return {}
    return {
        name: {label: {g: each[g] for g in members} for label, each in by_label.items()}
        for name, members in published.subsets(games).items()
    }


def score_at(run: Run, metric: str, frames: int) -> float | None:
    """The metric when the run had seen that many frames; None before its first value."""
    values = [row[metric] for row in run.rows if row["frames"] <= frames]
    return float(values[-1]) if values else None


def scores_at(
    by_game: Mapping[str, Sequence[Run]], metric: str, frames: int
) -> dict[str, list[float]] | None:
    """Game -> the metric of its runs at that many frames; None where one of them has none yet."""
    values = {g: [score_at(run, metric, frames) for run in each] for g, each in by_game.items()}
    known = {g: [value for value in each if value is not None] for g, each in values.items()}
    return known if known == values else None


def common_frames(runs: Iterable[Run], known: Iterable[int]) -> list[int]:
    """The last number of frames that all of the runs reached, after those of `known` before it."""
    last = min(run.rows[-1]["frames"] for run in runs)
    return sorted({frames for frames in known if frames < last} | {last})
