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
    """A row per group at the frames that all its seeds have, and at published ones before."""
    rows = []
    for each in groups:
        points = {baseline: published.published(baseline, each.game) for baseline in baselines}
        for frames in runs.common_frames(each.runs, set().union(*points.values())):
            values = [runs.score_at(run, metric, frames) for run in each.runs]
            known = [value for value in values if value is not None]
            if len(known) < len(values):
                continue
            score, is_return = float(np.mean(known)), metric in runs.RETURNS
            reference = scores.reference(each.game) if is_return else {}
            rows.append(
                {
                    "game": each.game,
                    "agent": each.label,
                    "protocol": each.protocol["name"],
                    "runs": len(known),
                    "frames": frames,
                    "score": score,
                    "std": float(np.std(known, ddof=1)) if len(known) > 1 else None,
                    "hns": scores.human_normalized(each.game, score) if is_return else None,
                    **{name: reference.get(name) for name in ("random", "human")},
                    **{baseline: points[baseline].get(frames) for baseline in baselines},
                }
            )
    return rows


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
