"""Draw learning curves of runs beside published ones, and sum up their scores.

python scripts/plot_runs.py runs/Pong-* --baseline dopamine:DQN dopamine:rainbow
python scripts/plot_runs.py runs/* --x seconds --out curves.svg --table scores.csv
"""

import csv
import dataclasses
import difflib
import io
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

if __package__ in (None, ""):  # run as a file: make `scripts`, `agents` and `envs` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import matplotlib
import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from agents import policy, registry
from dqnlab import files, metrics, records, run_folder, statistics
from dqnlab.statistics import Estimate
from dqnlab.types import EnvSpec, UserError
from envs import names, scores
from scripts import startup


@dataclasses.dataclass(frozen=True)
class Options:
    """What to draw, beside what, and where to."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders that train_dqn.py wrote, also of runs still going on."""
    baseline: tuple[str, ...] = ()
    """Published scores: dopamine:DQN, dopamine/jax_CNN:IQN, or a column of atari_scores.csv."""
    x: Literal["frames", "seconds", "updates"] = "frames"
    """What the curves are over; published ones are known by frames only."""
    metric: str = "episode_return_mean"
    """Column of metrics.jsonl to draw and to sum up."""
    out: Path = Path("curves.png")
    """Figure to write, .png or .svg."""
    table: Path | None = None
    """Also write the tables, .md or .csv; a .csv has its aggregates in <name>-aggregates.csv."""


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
    label: str  # the agent, and where several have its name the settings that tell them apart
    protocol: dict[str, Any]
    runs: list[Run]


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
_RETURNS = {
    "episode_return_mean": "score (mean of last 100 games)",
    "episode_return_last20": "score (mean of last 20 games)",
}
_AGGREGATES = {
    "IQM": statistics.iqm,
    "median": statistics.median,
    "mean": statistics.mean,
    "optimality gap": statistics.optimality_gap,
}
_LINES = {"random": ":", "human": "-."}
_AHEAD = "single seeds that are further"
_MARKERS = "osD^vP"


def load(path: Path, metric: str) -> Run:
    """Read a run folder. UserError where it is none, or has no value of the metric yet."""
    config = policy.read_config(path)
    registry.check_name(config["agent"])
    spec = records.load(EnvSpec, config["spec"], str(path / run_folder.CONFIG))
    rows = metrics.read(path / metrics.FILE)
    numeric = {k for row in rows for k, v in row.items() if isinstance(v, int | float)}
    if rows and metric not in {k for row in rows for k in row}:
        raise _unknown(f"{path}: metric", metric, numeric)
    needed = (metric, "frames")
    rows = [row for row in rows if all(isinstance(row.get(k), int | float) for k in needed)]
    if not rows:
        raise UserError(f"{path} has no value of {metric} yet")
    seed = config["options"].get("seed")
    return Run(path, spec.game, config["agent"], config["settings"], spec.protocol, seed, rows)


def check_comparable(runs: Sequence[Run]) -> None:
    """Raise UserError for runs under different protocols, or one run given twice.

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
    seen: dict[str, Run] = {}
    for run in runs:
        same = seen.setdefault(json.dumps([run.game, _recipe(run), run.seed]), run)
        if same is not run:
            raise UserError(
                f"{same.path} and {run.path} are the same run: {run.agent} on {run.game} with the "
                f"same settings and seed {run.seed}; give one of them"
            )


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
    labels: dict[str, str] = {}
    for recipe, run in {_recipe(run): run for run in runs}.items():
        others = [each for each in runs if each.agent == run.agent]
        here = _differences(run, [each for each in others if each.game == run.game])
        # What is compared on one game comes first, then what sets games apart.
        different = [*here, *(each for each in _differences(run, others) if each not in here)]
        more = ", ..." if len(different) > 3 else ""
        label = run.agent + (f" ({', '.join(different[:3])}{more})" if different else "")
        twins = sum(other.startswith(label) for other in labels.values())
        labels[recipe] = label + (f" #{twins + 1}" if twins else "")
    return labels


def _differences(run: Run, others: Sequence[Run]) -> list[str]:
    return [
        f"{key}={value}"
        for key, value in run.settings.items()
        if any(other.settings.get(key) != value for other in others)
    ]


def find_baseline(name: str) -> str:
    """The baseline of that name in any case; UserError naming the nearest ones otherwise."""
    known = {each.lower(): each for each in (*CURVES, *COLUMNS)}
    if name.lower() not in known:
        raise _unknown("baseline", name, known.values())
    return known[name.lower()]


def published(baseline: str, game: str) -> dict[int, float]:
    """Frames -> published score of a game; empty where there is none."""
    if baseline in CURVES:
        run_set, agent = CURVES[baseline]
        return scores.dopamine_curve(game, agent, run_set)
    score = scores.reference(game).get(baseline)
    return {} if score is None else {round(COLUMNS[baseline][0] * 1e6): score}


def how_measured(baseline: str) -> str:
    """The protocol of a published score, in words."""
    return _TRAINING if baseline in CURVES else COLUMNS[baseline][1]


def _unknown(what: str, name: str, allowed: Iterable[str]) -> UserError:
    by_key = {each.lower(): each for each in sorted(allowed)}
    nearest = [by_key[key] for key in difflib.get_close_matches(name.lower(), by_key, n=3)]
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else f"known: {', '.join(by_key)}"
    return UserError(f"{what} {name!r} is unknown; {hint}")


def draw(groups: Sequence[Group], baselines: Sequence[str], x: str, metric: str) -> Figure:
    """One panel per game: a curve per agent, published points, random play and the human."""
    games = list(dict.fromkeys(each.game for each in groups))
    labels = list(dict.fromkeys(each.label for each in groups))
    columns = math.ceil(math.sqrt(len(games)))
    num_rows = math.ceil(len(games) / columns)
    with matplotlib.rc_context({"text.parse_math": False}):  # a `$` in a name is a `$`
        figure = Figure(figsize=(2 + 4.2 * columns, 1.6 + 3 * num_rows), layout="constrained")
        panels = figure.subplots(num_rows, columns, squeeze=False).flat
        for game, axes in zip(games, panels, strict=False):
            here = [each for each in groups if each.game == game]
            for each in here:
                _draw_group(axes, each, labels.index(each.label), x, metric)
            if metric in _RETURNS:
                _draw_published(axes, game, baselines, len(labels))
            _dress(axes, here[0], x, metric)
        for axes in list(figure.axes)[len(games) :]:
            axes.remove()
        _add_legend(figure)
    return figure


def _add_legend(figure: Figure) -> None:
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, text in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(text, handle)
    texts = sorted(handles, key=(_AHEAD, *_LINES).__contains__)  # curves first
    fits = max(1, int(figure.get_figwidth() // 6))  # entries of 6 inches side by side
    figure.legend(
        [handles[text] for text in texts],
        texts,
        loc="outside lower center",
        ncols=fits,
        frameon=False,
    )


def _draw_group(axes: Axes, each: Group, number: int, x: str, metric: str) -> None:
    color, style = f"C{number % 10}", ("-", "--", ":")[number // 10 % 3]
    curves = [_curve(run, x, metric) for run in each.runs]
    # The seeds' rows may lie at different x: each is interpolated to all x that all seeds reach.
    start, end = max(xs[0] for xs, _ in curves), min(xs[-1] for xs, _ in curves)
    grid = np.unique(np.concatenate([xs for xs, _ in curves]))
    grid = grid[(grid >= start) & (grid <= end)]
    on_grid = np.array([np.interp(grid, xs, ys) for xs, ys in curves])
    seeds = f"mean of {len(curves)} seeds, band min to max" if len(curves) > 1 else "1 seed"
    if grid.size:
        axes.plot(grid, on_grid.mean(0), style, color=color, label=f"{each.label}: {seeds}")
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
        points = visible(published(baseline, game), end)
        if points:
            axes.plot(
                list(points),
                list(points.values()),
                f"--{_MARKERS[number % len(_MARKERS)]}",
                color=f"C{(color + number) % 10}",
                lw=1,
                label=f"{baseline}: published, {how_measured(baseline)}",
            )
    for name, style in _LINES.items():
        if (score := scores.reference(game).get(name)) is not None:
            axes.axhline(score, ls=style, color="gray", lw=1, label=name)


def visible(points: Mapping[int, float], end: float) -> dict[int, float]:
    """The points up to `end`, and the next one where it does not dwarf the runs' own range."""
    later = [frames for frames in points if frames > end]
    last = min(later) if later and min(later) <= 2.5 * end else end
    return {frames: score for frames, score in points.items() if frames <= last}


def _dress(axes: Axes, each: Group, x: str, metric: str) -> None:
    axes.set_title(f"{each.game} ({each.protocol['name']})")
    axes.set_ylabel(_RETURNS.get(metric, metric))
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


def score_at(run: Run, metric: str, frames: int) -> float | None:
    """The metric when the run had seen that many frames; None before its first value."""
    values = [row[metric] for row in run.rows if row["frames"] <= frames]
    return float(values[-1]) if values else None


def score_rows(
    groups: Sequence[Group], baselines: Sequence[str], metric: str
) -> list[dict[str, Any]]:
    """A row per group at the frames that all its seeds have, and at published ones before."""
    rows = []
    for each in groups:
        points = {baseline: published(baseline, each.game) for baseline in baselines}
        for frames in _common_frames(each.runs, set().union(*points.values())):
            values = [score_at(run, metric, frames) for run in each.runs]
            known = [value for value in values if value is not None]
            if len(known) < len(values):
                continue
            score, is_return = float(np.mean(known)), metric in _RETURNS
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
                    **{name: reference.get(name) for name in _LINES},
                    **{baseline: points[baseline].get(frames) for baseline in baselines},
                }
            )
    return rows


def aggregate_rows(
    groups: Sequence[Group], baselines: Sequence[str], metric: str
) -> list[dict[str, Any]]:
    """Aggregates of the agents over the games that all of them played; none below 2 games."""
    by_label: dict[str, dict[str, list[Run]]] = {}
    for each in groups:
        by_label.setdefault(each.label, {})[each.game] = each.runs
    shared = [g for g in by_label[groups[0].label] if all(g in each for each in by_label.values())]
    games = [g for g in shared if scores.human_normalized(g, 0) is not None]
    if len(games) < 2 or metric not in _RETURNS:
        return []
    rows, at_frames = [], set[int]()
    for set_name, members in _subsets(games).items():
        for label, runs in by_label.items():
            here = [run for game in members for run in runs[game]]
            known = {frames for b in baselines for g in members for frames in published(b, g)}
            for frames in _common_frames(here, known):
                values = {g: [score_at(run, metric, frames) for run in runs[g]] for g in members}
                row = {"games": set_name, "agent": label, "protocol": here[0].protocol["name"]}
                rows += _aggregate({**row, "frames": frames}, values)
                at_frames.add(frames)
        for baseline in baselines:
            points = {game: published(baseline, game) for game in members}
            for frames in sorted(at_frames):
                values = {game: [points[game].get(frames)] for game in members}
                row = {"games": set_name, "agent": baseline, "protocol": how_measured(baseline)}
                rows += _aggregate({**row, "frames": frames}, values)
    return rows


def _aggregate(
    row: Mapping[str, Any], values: Mapping[str, Sequence[float | None]]
) -> list[dict[str, Any]]:
    normalized: dict[str, list[float]] = {}
    for game, each in values.items():
        known = [scores.human_normalized(game, value) for value in each if value is not None]
        normalized[game] = [value for value in known if value is not None]
        if len(normalized[game]) < len(each):
            return []  # a run or a publication has no score at these frames
    return [{**row, **{name: metric(normalized) for name, metric in _AGGREGATES.items()}}]


def _common_frames(runs: Sequence[Run], known: Iterable[int]) -> list[int]:
    last = min(run.rows[-1]["frames"] for run in runs)
    return sorted({frames for frames in known if frames < last} | {last})


def _subsets(games: Sequence[str]) -> dict[str, list[str]]:
    # Only a whole subset may have its name: three of its games say something else.
    found: dict[str, list[str]] = {}
    for name, mark in SUBSETS.items():
        members = [g for g in names.atari_games() if scores.reference(g).get(mark)]
        if set(members) <= set(games):
            found[name] = members
    if all(len(members) < len(games) for members in found.values()):
        found[f"these {len(games)}"] = list(games)
    return found


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table; `score` and `std` become one column."""
    if not rows:
        return "No number of frames yet that all seeds of a game have a score at.\n"
    cells = [
        {
            name: f"{_text(row['score'])} ± {_text(row['std'])}"
            if name == "score" and row["std"] is not None
            else _text(value)
            for name, value in row.items()
            if name != "std"
        }
        for row in rows
    ]
    titles = list(cells[0])
    lines = [titles, ["---"] * len(titles), *(list(row.values()) for row in cells)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _text(value: Any) -> str:
    if isinstance(value, Estimate):
        interval = f" [{value.low:.3f}, {value.high:.3f}]"
        return f"{value.value:.3f}" + ("" if math.isnan(value.low) else interval)
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


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
    baselines: Sequence[str],
    metric: str,
) -> str:
    """Both tables in Markdown, with what their figures mean."""
    lines = [f"Score: `{metric}` at these frames, mean ± sample standard deviation over runs."]
    lines += [f"`{each}`: published, {how_measured(each)}." for each in baselines]
    text = markdown(by_game) + "\n" + "  \n".join(lines) + "\n"
    if over_games:
        text += (
            f"\n{markdown(over_games)}\nHuman-normalised scores. [low, high]: 95 % stratified "
            "bootstrap interval over runs, given where each game has several; published rows are "
            "over the games' means.\n"
        )
    return text


def check(options: Options) -> list[str]:
    """The baselines' own names; UserError for options that do not fit."""
    if not options.runs:
        raise UserError("no run folder is given; for example: runs/Pong-dqn-s0-...")
    for flag, path, allowed in (
        ("--out", options.out, (".png", ".svg")),
        ("--table", options.table, (".md", ".csv")),
    ):
        if path is not None and path.suffix not in allowed:
            raise UserError(f"{flag} is {path}; it must end in {' or '.join(allowed)}")
    if options.baseline and (options.x != "frames" or options.metric not in _RETURNS):
        raise UserError(
            "--baseline needs --x frames and a --metric that is a score "
            f"({' or '.join(_RETURNS)}): nothing else was published"
        )
    return list(dict.fromkeys(find_baseline(name) for name in options.baseline))


def write(path: Path, data: bytes) -> None:
    """Replace a file; UserError where it cannot be."""
    try:
        files.write_atomic(path, data)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error


def note_absent(groups: Sequence[Group], baselines: Sequence[str]) -> None:
    """Say on stderr which published scores the figure lacks, and why."""
    for game in dict.fromkeys(each.game for each in groups):
        end = max(
            run.rows[-1]["frames"] for each in groups if each.game == game for run in each.runs
        )
        for baseline in baselines:
            points = published(baseline, game)
            if not visible(points, end):
                first = f"begins at {min(points):,} frames" if points else "was not run"
                print(f"note: {baseline} is not drawn on {game}, where it {first}", file=sys.stderr)


def main(args: list[str] | None = None) -> int:
    """Parse, read, draw, sum up. Returns the exit code."""
    options = tyro.cli(Options, args=args, description=__doc__)
    baselines = check(options)
    runs = [load(path, options.metric) for path in options.runs]
    check_comparable(runs)
    groups = group(runs)
    note_absent(groups, baselines)
    by_game = score_rows(groups, baselines, options.metric)
    over_games = aggregate_rows(groups, baselines, options.metric)
    image = io.BytesIO()
    figure = draw(groups, baselines, options.x, options.metric)
    figure.savefig(image, format=options.out.suffix[1:], dpi=120)
    write(options.out, image.getvalue())
    text = report(by_game, over_games, baselines, options.metric)
    print(f"{text}\nfigure {options.out}")
    if options.table is not None:
        as_csv = options.table.suffix == ".csv"
        write(options.table, (csv_text(by_game) if as_csv else text).encode())
        if as_csv and over_games:
            beside = options.table.with_stem(options.table.stem + "-aggregates")
            write(beside, csv_text(over_games).encode())
    return 0


if __name__ == "__main__":
    with startup.user_errors():
        sys.exit(main())
