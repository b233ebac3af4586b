"""The tables: scores at published numbers of frames, aggregates over games, who beats whom."""

import csv
import io
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dqnlab import statistics
from dqnlab.statistics import Estimate
from envs import published, scores
from scripts import runs
from scripts.runs import Group

_AGGREGATES = {
    "IQM": statistics.iqm,
    "median": statistics.median,
    "mean": statistics.mean,
    "optimality gap": statistics.optimality_gap,
}


def score_rows(
    groups: Sequence[Group], baselines: Sequence[str], metric: str
) -> list[dict[str, Any]]:
    """Rows of each game in the order of their frames: of its groups, and of published scores.

    A group has a row at the frames that all its seeds have, and at published ones before. A
    baseline has one at every published point that the figure shows.
    """
    is_return = metric in runs.RETURNS
    rows = []
    for game in dict.fromkeys(each.game for each in groups):
        here = [each for each in groups if each.game == game]
        points = {b: published.published(b, game) if is_return else {} for b in baselines}
        known = set[int]().union(*points.values())
        of_game = [row for each in here for row in _group_rows(each, known, metric)]
        end = max(run.rows[-1]["frames"] for each in here for run in each.runs)
        for baseline in baselines:
            for frames, score in published.visible(points[baseline], end).items():
                of_game.append(_score_row(game, baseline, "published", frames, [score], True))
                of_game[-1]["runs"] = None  # how many is told where they were published
        rows += sorted(of_game, key=lambda row: row["frames"])
    return rows


def _group_rows(each: Group, published_frames: set[int], metric: str) -> list[dict[str, Any]]:
    is_return, protocol = metric in runs.RETURNS, each.protocol["name"]
    rows = []
    for frames in runs.common_frames(each.runs, published_frames):
        values = [runs.score_at(run, metric, frames) for run in each.runs]
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            rows.append(_score_row(each.game, each.label, protocol, frames, known, is_return))
    return rows


def _score_row(
    game: str, agent: str, protocol: str, frames: int, values: Sequence[float], is_return: bool
) -> dict[str, Any]:
    score = float(np.mean(values))
    reference = scores.reference(game) if is_return else {}
    return {
        "game": game,
        "agent": agent,
        "protocol": protocol,
        "runs": len(values),
        "frames": frames,
        "score": score,
        "std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "hns": scores.human_normalized(game, score) if is_return else None,
        **{name: reference.get(name) for name in ("random", "human")},
    }


def aggregate_rows(
    groups: Sequence[Group], baselines: Sequence[str], metric: str
) -> list[dict[str, Any]]:
    """Aggregates of the agents over the games that all of them played; none below 2 games."""
    rows = []
    for set_name, agents in runs.compared(groups, metric).items():
        games, at_frames = list(agents[groups[0].label]), set[int]()
        for label, by_game in agents.items():
            here = [run for each in by_game.values() for run in each]
            row = {"games": set_name, "agent": label, "protocol": here[0].protocol["name"]}
            for frames in runs.common_frames(here, _published_frames(baselines, games)):
                values = runs.scores_at(by_game, metric, frames)
                if values is not None:
                    rows.append({**row, "frames": frames, **_aggregate(values)})
                at_frames.add(frames)
        for baseline in baselines:
            points = {game: published.published(baseline, game) for game in games}
            row = {
                "games": set_name,
                "agent": baseline,
                "protocol": published.how_measured(baseline),
            }
            for frames in sorted(at_frames):
                if all(frames in each for each in points.values()):
                    values = {game: [each[frames]] for game, each in points.items()}
                    rows.append({**row, "frames": frames, **_aggregate(values)})
    return rows


def improvement_rows(
    groups: Sequence[Group], baselines: Sequence[str], metric: str
) -> list[dict[str, Any]]:
    """How probably each agent beats each one after it, at frames that all runs of both have.

    None over published scores: they are means over runs, so that no run of theirs can be beaten.
    """
    rows = []
    for set_name, agents in runs.compared(groups, metric).items():
        for (label, ours), (other, theirs) in itertools.combinations(agents.items(), 2):
            here = [run for each in (*ours.values(), *theirs.values()) for run in each]
            for frames in runs.common_frames(here, _published_frames(baselines, list(ours))):
                values = runs.scores_at(ours, metric, frames)
                others = runs.scores_at(theirs, metric, frames)
                if values is not None and others is not None:
                    chance = statistics.probability_of_improvement(values, others)
                    pair = {"games": set_name, "agent": label, "over": other}
                    when = {"protocol": here[0].protocol["name"], "frames": frames}
                    rows.append({**pair, **when, "probability of improvement": chance})
    return rows


def _published_frames(baselines: Sequence[str], games: Sequence[str]) -> set[int]:
    return {frames for b in baselines for g in games for frames in published.published(b, g)}


def _aggregate(values: Mapping[str, Sequence[float]]) -> dict[str, Estimate]:
    normalized = published.normalized(values)
    return {name: metric(normalized) for name, metric in _AGGREGATES.items()}


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table; `score` and `std` become one column."""
    if not rows:
        return "No number of frames yet that all seeds of a game have a score at.\n"
    cells = [
        {
            name: f"{cell(row['score'])} ± {cell(row['std'])}"
            if name == "score" and row["std"] is not None
            else cell(value)
            for name, value in row.items()
            if name != "std"
        }
        for row in rows
    ]
    return markdown_rows(cells)


def markdown_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of rows that all have the same keys."""
    cells = [{name: cell(value) for name, value in row.items()} for row in rows]
    titles = list(cells[0])
    lines = [titles, ["---"] * len(titles), *(list(row.values()) for row in cells)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(value: Any) -> str:
    """A figure as a person reads it: rounded, with its interval where it has one."""
    if isinstance(value, Estimate):
        interval = f" [{value.low:.3f}, {value.high:.3f}]"
        return f"{value.value:.3f}" + ("" if math.isnan(value.low) else interval)
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as CSV, unrounded; an aggregate has columns for the ends of its interval."""
    if not rows:
        return ""
    flat = []
    for row in rows:
        columns: dict[str, Any] = {}
        for name, value in row.items():
            if isinstance(value, Estimate):
                ends = {f"{name} low": value.low, f"{name} high": value.high}
                known = {k: None if math.isnan(end) else end for k, end in ends.items()}
                columns |= {name: value.value, **known}
            else:
                columns[name] = value
        flat.append(columns)
    text = io.StringIO()
    writer = csv.DictWriter(text, flat[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def report(
    by_game: Sequence[Mapping[str, Any]],
    over_games: Sequence[Mapping[str, Any]],
    improvements: Sequence[Mapping[str, Any]],
    baselines: Sequence[str],
    metric: str,
) -> str:
    """The tables in Markdown, with what their figures mean."""
    lines = [f"Score: `{metric}` at these frames, mean ± sample standard deviation over runs."]
    lines += [f"`{each}`: published, {published.how_measured(each)}." for each in baselines]
    text = markdown(by_game) + "\n" + "  \n".join(lines) + "\n"
    if over_games:
        text += (
            f"\n{markdown(over_games)}\nHuman-normalised scores. [low, high]: 95 % stratified "
            "bootstrap interval over runs, given where each game has several; published rows are "
            "over the games' means.\n"
        )
    if improvements:
        text += (
            f"\n{markdown(improvements)}\nProbability of improvement: that a run of `agent` scores "
            "more than one of `over` on a game drawn at random, a draw being half; `over` beats "
            "`agent` with what is left to 1.\n"
        )
    return text
