"""Write a report on runs: one HTML file with everything in it, to read, keep or send.

python scripts/report.py runs/Pong-prioritized-s0-...
python scripts/report.py runs/Pong-* --baseline dopamine:DQN --out pong.html
"""

import base64
import dataclasses
import io
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

if __package__ in (None, ""):  # run as a file: make `scripts`, `agents` and `envs` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jinja2
import tyro
from matplotlib.figure import Figure

from agents import policy
from agents.policy import Policy
from dqnlab.plurals import count
from dqnlab.types import UserError
from envs import protocols, published
from scripts import (
    curves,
    flags,
    looking,
    outputs,
    report_content,
    runs,
    startup,
    tables,
    video,
)
from scripts.runs import Group, Run

_VIDEO_LIMIT = 50_000_000  # bytes; a longer one stays beside the report


@dataclasses.dataclass(frozen=True)
class Options:
    """What to report on, beside what, and where to."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders that train_dqn.py wrote, also of runs still going on."""
    out: Path = Path("report.html")
    """File to write, .html."""
    baseline: tuple[str, ...] = ("dopamine:DQN", "dopamine:Rainbow")
    """Published scores to stand beside; see plot_runs.py."""
    metric: str = "episode_return_mean"
    """Column of metrics.jsonl for the curves."""
    checkpoint: str = "best"
    """Weights that are looked at: best, last, or agent steps."""
    pictures: bool = True
    """Play one game with each agent and draw what it sees; off, nothing is computed."""
    seed: int = 0
    """Of that game."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where the network computes."""


class Embedded(NamedTuple):
    """A picture or video inside the page."""

    data: str  # data: URL
    caption: str


def embed(data: bytes, kind: str, caption: str) -> Embedded:
    """Bytes as a data: URL."""
    return Embedded(f"data:{kind};base64,{base64.b64encode(data).decode()}", caption)


def draw(figure: Figure, caption: str, form: Literal["svg", "png"] = "svg") -> Embedded:
    """A figure inside the page."""
    image = io.BytesIO()
    figure.savefig(image, format=form, dpi=120)
    return embed(image.getvalue(), {"svg": "image/svg+xml", "png": "image/png"}[form], caption)


def find_video(run: Run, trained: Policy | None, options: Options) -> tuple[Embedded | None, str]:
    """The run's newest video, or one made now; and a note where there is none."""
    kept = sorted((run.path / "videos").glob("*.mp4"), key=lambda path: path.stat().st_mtime)
    if kept:
        return _embed_video(kept[-1], f"{kept[-1].name} of the run folder")
    if trained is None or not options.pictures or trained.spec.traceable:
        return None, ""
    epsilon, protocol = trained.settings.evaluation_epsilon, protocols.of_run(run.protocol)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "game.mp4"
        try:
            video.check(trained, protocol)
        except UserError as error:
            return None, f"No video: {error}"
        episode = video.record(trained, protocol, path, epsilon=epsilon, seed=options.seed)
        under = "" if protocol is None else f" under {protocol.name}"
        return _embed_video(path, f"one game{under}, score {episode.score:g}")


def _embed_video(path: Path, caption: str) -> tuple[Embedded | None, str]:
    if path.stat().st_size > _VIDEO_LIMIT:
        return None, f"The video {path} is too large to be put into this page."
    return embed(path.read_bytes(), "video/mp4", caption), ""


def look(run: Run, trained: Policy, options: Options) -> list[Embedded]:
    """What the agent sees and values in one game."""
    protocol, epsilon = protocols.of_run(run.protocol), trained.settings.evaluation_epsilon
    game = looking.play(trained, protocol, epsilon=epsilon, seed=options.seed)
    values = looking.draw_values(game, trained, trained.settings.discount)
    pictures = [draw(values, f"Q-values along {looking.describe(game, trained)}.")]
    if looking.has_images(trained):
        for step in looking.moments(game):
            frame = step * trained.spec.frame_skip
            caption = f"Frame {frame:,}, where the best action stands out most in its quarter."
            pictures.append(draw(looking.draw_moment(game, trained, step), caption, "png"))
    return pictures


def describe_run(run: Run, baselines: Sequence[str], options: Options) -> dict[str, Any]:
    """One run's section."""
    config, notes = policy.read_config(run.path), []
    try:
        trained = policy.load(run.path, options.checkpoint)
    except UserError as error:
        trained = None
        notes.append(f"No pictures: {error}")
    result = None
    try:
        result = report_content.read_evaluation(run.path)
    except UserError as error:
        notes.append(f"No evaluation: {error}")
    if result is None and not (run.path / report_content.EVALUATION).exists():
        command = f"python scripts/evaluate.py {run.path} --json {run.path}/eval.json"
        notes.append(f"Not evaluated yet: {command}")
    clip, note, pictures = None, "", list[Embedded]()
    try:
        clip, note = find_video(run, trained, options)
        pictures = look(run, trained, options) if trained is not None and options.pictures else []
    except UserError as error:  # e.g. its game is not installed here
        notes.append(f"No pictures: {error}")
    return {
        "title": f"{run.game}, {run.agent}, seed {run.seed}",
        "evaluation": report_content.evaluation_rows(run, result, baselines),
        "notes": [*notes, *([note] if note else [])],
        "video": clip,
        "pictures": pictures,
        "timings": report_content.timings(run),
        "versions": {
            "run folder": run.path,
            "commit": config["git_commit"],
            "platform": config["platform"],
            **config["versions"],
        },
        "reproduce": report_content.reproduce(config),
        "config": json.dumps(config, indent=1),
    }


def _protocols(loaded: Sequence[Run]) -> list[dict[str, Any]]:
    different = {json.dumps(run.protocol): run.protocol for run in loaded}.values()
    return [
        {
            "name": protocol["name"],
            "text": report_content.describe_protocol(protocol),
            "settings": protocol,
        }
        for protocol in different
    ]


def _draw_dead_units(groups: Sequence[Group]) -> Embedded | None:
    having = runs.with_values(groups, "dead_units")
    if not having:
        return None
    figure = curves.draw(having, (), "frames", "dead_units")
    return draw(
        figure,
        "Dead units: the share of the hidden dense units that were 0 for every state of a "
        "replayed batch. They learn nothing and say nothing.",
    )


def page(loaded: Sequence[Run], groups: Sequence[Group], options: Options) -> str:
    """The whole report as HTML."""
    baselines = [published.find_baseline(name) for name in options.baseline]
    metric = options.metric
    figure = curves.draw(groups, baselines, "frames", metric)
    name = runs.RETURNS.get(metric, metric)
    games = list(dict.fromkeys(run.game for run in loaded))
    label = ", ".join(games[:4]) + (f" and {len(games) - 4} more" if len(games) > 4 else "")
    shown = [each.runs[0] for each in groups]  # of several seeds the first
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(Path(__file__).with_name("report.html").read_text("utf-8"))
    return template.render(
        title=f"Report: {count(len(loaded), 'run')} on {label}",
        written=time.strftime("%Y-%m-%d %H:%M"),
        cell=tables.cell,
        protocols=_protocols(loaded),
        curves=draw(figure, f"{name} over frames, with published scores where there are any."),
        notes=runs.unlike_games(groups),
        dead_units=_draw_dead_units(groups),
        by_game=tables.score_rows(groups, baselines, metric),
        over_games=tables.aggregate_rows(groups, baselines, metric),
        improvements=tables.improvement_rows(groups, baselines, metric),
        metric=metric,
        runs=[describe_run(run, baselines, options) for run in shown],
    )


def main(args: list[str] | None = None) -> int:
    """Parse, read, look, write. Returns the exit code."""
    options = flags.cli(Options, args=args, description=__doc__)
    if not options.runs:
        raise UserError("no run folder is given; for example: runs/Pong-prioritized-s0-...")
    for name in options.baseline:
        published.find_baseline(name)
    outputs.check({"--out": options.out}, {"--out": (".html", ".htm")})
    startup.select_device(options.device)
    loaded = runs.load_all(options.runs, options.metric)
    html = page(loaded, runs.group(loaded), options)
    outputs.write(options.out, html.encode())
    print(f"report {options.out}, {len(html) / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    with startup.user_errors():
        sys.exit(main())
