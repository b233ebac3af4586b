"""The figures: learning curves beside published ones, and performance profiles."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from dqnlab import statistics
from dqnlab.types import UserError
from envs import published, scores
from scripts import runs
from scripts.runs import Group, Run

_LINES = {"random": ":", "human": "-."}
_TITLES = {**runs.RETURNS, "dead_units": "dead units (share of the dense units)"}
_AHEAD = "single seeds that are further"
_MARKERS = "osD^vP"
_LEGEND_CHARACTERS = 70  # of a legend's entry in a line: what fits beside its stroke in 6 inches
_PROFILE_ENDS = (-1, 8)  # human-normalised; one game with a huge score must not squeeze the rest


def draw(groups: Sequence[Group], baselines: Sequence[str], x: str, metric: str) -> Figure:
    """One panel per game: a curve per agent, published points, random play and the human."""
    games = list(dict.fromkeys(each.game for each in groups))
    labels = list(dict.fromkeys(each.label for each in groups))
    with matplotlib.rc_context({"text.parse_math": False}):  # a `$` in a name is a `$`
        figure = _panels(len(games))
        for game, axes in zip(games, figure.axes, strict=True):
            here = [each for each in groups if each.game == game]
            for each in here:
                text = f"{each.label}: {_describe_seeds(groups, each.label)}"
                _draw_group(axes, each, text, labels.index(each.label), x, metric)
            if metric in runs.RETURNS:
                _draw_published(axes, game, baselines, len(labels))
            _dress(axes, here[0], x, metric)
        _add_legend(figure)
    return figure


def draw_profiles(groups: Sequence[Group], metric: str) -> Figure:
    """One panel per set of games: each agent's share of runs above each human-normalised score.

    After as many frames as all agents have. Published scores are means over runs: they have no
    profile. UserError where fewer than 2 Atari games are shared, or a run has no score yet then.
    """
    sets = runs.compared(groups, metric)
    if not sets:
        raise UserError(
            "performance profiles need 2 or more Atari games that all agents played, each with one "
            "set of settings, and that have a published human score; the games are "
            + ", ".join(dict.fromkeys(each.game for each in groups))
        )
    with matplotlib.rc_context({"text.parse_math": False}):
        figure = _panels(len(sets))
        for (name, agents), axes in zip(sets.items(), figure.axes, strict=True):
            _draw_profiles(axes, name, agents, metric)
        _add_legend(figure)
    return figure


def _panels(number: int) -> Figure:
    columns = math.ceil(math.sqrt(number))
    num_rows = math.ceil(number / columns)
    figure = Figure(figsize=(2 + 4.2 * columns, 1.6 + 3 * num_rows), layout="constrained")
    for axes in list(figure.subplots(num_rows, columns, squeeze=False).flat)[number:]:
        axes.remove()
    return figure


def _stroke(number: int) -> tuple[str, str]:
    return f"C{number % 10}", ("-", "--", ":")[number // 10 % 3]


def _add_legend(figure: Figure) -> None:
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, text in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(text, handle)
    texts = sorted(handles, key=(_AHEAD, *_LINES).__contains__)  # curves first
    fits = max(1, int(figure.get_figwidth() // 6))  # entries of 6 inches side by side
    figure.legend(
        [handles[text] for text in texts],
        [textwrap.fill(text, _LEGEND_CHARACTERS) for text in texts],  # else the figure cuts it off
        loc="outside lower center",
        ncols=fits,
        frameon=False,
    )


def _describe_seeds(groups: Sequence[Group], label: str) -> str:
    """How many seeds an agent's curves are of: one text for all panels, for one legend entry."""
    numbers = {len(each.runs) for each in groups if each.label == label}
    if numbers == {1}:
        return "1 seed"
    few, many = min(numbers), max(numbers)
    return f"mean of {many if few == many else f'{few} to {many}'} seeds, band min to max"


def _draw_group(axes: Axes, each: Group, label: str, number: int, x: str, metric: str) -> None:
    color, style = _stroke(number)
    curves = [_curve(run, x, metric) for run in each.runs]
    # The seeds' rows may lie at different x: each is interpolated to all x that all seeds reach.
    start, end = max(xs[0] for xs, _ in curves), min(xs[-1] for xs, _ in curves)
    grid = np.unique(np.concatenate([xs for xs, _ in curves]))
    grid = grid[(grid >= start) & (grid <= end)]
    on_grid = np.array([np.interp(grid, xs, ys) for xs, ys in curves])
    if grid.size:
        marker = "o" if grid.size == 1 else None  # a line of one point is not seen
        axes.plot(grid, on_grid.mean(0), style, color=color, marker=marker, label=label)
        axes.fill_between(grid, on_grid.min(0), on_grid.max(0), color=color, alpha=0.2, lw=0)
    for xs, ys in curves:  # what only some seeds have reached yet is shown seed by seed
        if xs[-1] > end:
            ahead = xs >= end
            (thin,) = axes.plot(xs[ahead], ys[ahead], style, color=color, lw=0.7, alpha=0.6)
            thin.set_label(_AHEAD)


def _curve(run: Run, x: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
    points = np.array([(row[x], row[metric]) for row in run.rows if row.get(x) is not None], float)
    if not points.size:
        raise UserError(f"{run.path} has no rows with {x}")
    return points[:, 0], points[:, 1]


def _draw_published(axes: Axes, game: str, baselines: Sequence[str], color: int) -> None:
    end = axes.dataLim.x1
    for number, baseline in enumerate(baselines):
        points = published.visible(published.published(baseline, game), end)
        if points:
            axes.plot(
                list(points),
                list(points.values()),
                f"--{_MARKERS[number % len(_MARKERS)]}",
                color=f"C{(color + number) % 10}",
                lw=1,
                label=f"{baseline}: published, {published.how_measured(baseline)}",
            )
    for name, style in _LINES.items():
        if (score := scores.reference(game).get(name)) is not None:
            axes.axhline(score, ls=style, color="gray", lw=1, label=name)


def _dress(axes: Axes, each: Group, x: str, metric: str) -> None:
    axes.set_title(f"{each.game} ({each.protocol['name']})")
    axes.set_ylabel(_TITLES.get(metric, metric))
    axes.grid(alpha=0.3)
    end = axes.dataLim.x1
    axes.set_xlim(0, 1.05 * end)
    if x == "seconds":
        units = ((3600, "hours"), (60, "minutes"), (1, "seconds"))
        size, unit = next((each for each in units if end >= 2 * each[0]), units[-1])
        ticks = np.asarray(MaxNLocator(7).tick_values(0, end / size))
        ticks = ticks[ticks * size <= 1.05 * end]
        axes.set_xticks(ticks * size, [f"{tick:g}" for tick in ticks])
        axes.set_xlabel(f"training time ({unit})")
    else:
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlabel({"frames": "frames", "updates": "gradient updates"}[x])


def _draw_profiles(
    axes: Axes, name: str, agents: Mapping[str, Mapping[str, Sequence[Run]]], metric: str
) -> None:
    everyone = [run for by_game in agents.values() for each in by_game.values() for run in each]
    (frames,) = runs.common_frames(everyone, ())
    normalized: dict[str, dict[str, list[float]]] = {}
    for label, by_game in agents.items():
        values = runs.scores_at(by_game, metric, frames)
        if values is None:
            raise UserError(
                f"no performance profiles: after {frames:,} frames, the last that all "
                f"runs have, some of {label} have no {metric} yet"
            )
        normalized[label] = published.normalized(values)
    flat = np.concatenate([each for values in normalized.values() for each in values.values()])
    low, high = np.clip((min(0, flat.min()), max(1, flat.max())), *_PROFILE_ENDS)
    for number, (label, values) in enumerate(normalized.items()):
        color, style = _stroke(number)
        profile = statistics.performance_profile(values, np.linspace(low, high, 201))
        has_band = np.isfinite(profile.low).all()
        text = f"{label}: band is the 95 % bootstrap interval" if has_band else label
        axes.plot(profile.thresholds, profile.value, style, color=color, label=text)
        if has_band:
            ends = (profile.low, profile.high)
            axes.fill_between(profile.thresholds, *ends, color=color, alpha=0.2, lw=0)
    for at, (text, style) in enumerate(_LINES.items()):  # 0 is random play, 1 the human
        axes.axvline(at, ls=style, color="gray", lw=1, label=text)
    axes.set_title(f"{name} at {frames / 1e6:.3g}M frames ({everyone[0].protocol['name']})")
    axes.set_xlabel("human-normalised score")
    axes.set_ylabel("share of runs above it")
    axes.set(xlim=(low - 0.02 * (high - low), high), ylim=(0, 1.02))  # random play is at 0
    axes.grid(alpha=0.3)
