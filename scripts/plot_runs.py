"""Draw learning curves of runs beside published ones, and sum up their scores.

python scripts/plot_runs.py runs/Pong-* --baseline dopamine:DQN dopamine:rainbow
python scripts/plot_runs.py runs/* --x seconds --out curves.svg --table scores.csv
python scripts/plot_runs.py runs/dqn-* runs/iqn-* --profiles profiles.png
"""

import dataclasses
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

if __package__ in (None, ""):  # run as a file: make `scripts`, `agents` and `envs` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tyro
from matplotlib.figure import Figure

from dqnlab.types import UserError
from envs import published
from scripts import curves, flags, outputs, runs, startup, tables
from scripts.runs import Group

_PICTURE = (".png", ".svg")


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
    """Also write the tables, .md or .csv; a .csv has its aggregates over games and the
    probabilities of improvement in <name>-aggregates.csv and <name>-improvements.csv."""
    profiles: Path | None = None
    """Also draw performance profiles, .png or .svg: the share of runs above each score."""


def check(options: Options) -> list[str]:
    """The baselines' own names; UserError for options that do not fit."""
    if not options.runs:
        raise UserError("no run folder is given; for example: runs/Pong-prioritized-s0-...")
    outputs.check(
        {"--profiles": options.profiles, "--out": options.out, "--table": options.table},
        {"--profiles": _PICTURE, "--out": _PICTURE, "--table": (".md", ".csv")},
    )
    is_score, allowed_metrics = options.metric in runs.RETURNS, " or ".join(runs.RETURNS)
    if options.baseline and (options.x != "frames" or not is_score):
        raise UserError(
            "--baseline needs --x frames and a --metric that is a score "
            f"({allowed_metrics}): nothing else was published"
        )
    if options.profiles is not None and not is_score:
        raise UserError(f"--profiles needs a --metric that is a score ({allowed_metrics})")
    return list(dict.fromkeys(published.find_baseline(name) for name in options.baseline))


def write_figure(path: Path, figure: Figure) -> None:
    """Replace a picture, in the format that its name ends in."""
    image = io.BytesIO()
    figure.savefig(image, format=path.suffix[1:].lower(), dpi=120)
    outputs.write(path, image.getvalue())


def note_absent(groups: Sequence[Group], baselines: Sequence[str]) -> None:
    """Say on stderr which published scores the figure lacks, and why."""
    for game in dict.fromkeys(each.game for each in groups):
        end = max(
            run.rows[-1]["frames"] for each in groups if each.game == game for run in each.runs
        )
        for baseline in baselines:
            points = published.published(baseline, game)
            if not published.visible(points, end):
                first = f"begins at {min(points):,} frames" if points else "was not run"
                print(f"note: {baseline} is not drawn on {game}, where it {first}", file=sys.stderr)


def main(args: list[str] | None = None) -> int:
    """Parse, read, draw, sum up. Returns the exit code."""
    options = flags.cli(Options, args=args, description=__doc__)
    baselines, metric = check(options), options.metric
    loaded = runs.load_all(options.runs, metric, options.x)
    groups = runs.group(loaded)
    note_absent(groups, baselines)
    for note in runs.unlike_games(groups):
        print(f"note: {note}", file=sys.stderr)
    by_game = tables.score_rows(groups, baselines, metric)
    over_games = tables.aggregate_rows(groups, baselines, metric)
    improvements = tables.improvement_rows(groups, baselines, metric)
    figures = {options.out: curves.draw(groups, baselines, options.x, metric)}
    if options.profiles is not None:
        figures[options.profiles] = curves.draw_profiles(groups, metric)
    for path, figure in figures.items():
        write_figure(path, figure)
    text = tables.report(by_game, over_games, improvements, baselines, metric)
    print("\n".join([text, *(f"figure {path}" for path in figures)]))
    if options.table is not None and options.table.suffix.lower() == ".csv":
        outputs.write(options.table, tables.csv_text(by_game).encode())
        for name, rows in (("aggregates", over_games), ("improvements", improvements)):
            if rows:
                beside = options.table.with_stem(f"{options.table.stem}-{name}")
                outputs.write(beside, tables.csv_text(rows).encode())
    elif options.table is not None:
        outputs.write(options.table, text.encode())
    return 0


if __name__ == "__main__":
    with startup.user_errors():
        sys.exit(main())
