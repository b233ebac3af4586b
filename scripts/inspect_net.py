"""Look inside a trained net: an agent on frames of its own play, or a supervised net on test data.

python scripts/inspect_net.py runs/Pong-prioritized-s0-... --what filters,saliency
"""

import dataclasses
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

if __package__ in (None, ""):  # run as a file: make `scripts`, `agents` and `envs` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jax
import matplotlib
import numpy as np
import tyro
from matplotlib.figure import Figure

from dqnlab.plurals import count
from dqnlab.types import UserError
from envs import names
from scripts import flags, outputs, startup
from scripts.pictures import (
    attention,
    attribution,
    confusion,
    embedding,
    filters,
    flips,
    load,
    maps,
    neighbours,
    statistics,
    stimuli,
)
from scripts.pictures.subject import Absent, Subject, find_unit


@dataclasses.dataclass(frozen=True)
class Options:
    """What to look at."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Run folder that train_dqn.py or train_supervised.py wrote."""
    checkpoint: str = "best"
    """best, last, or (agents) the agent steps of a kept checkpoint."""
    out: Path | None = None
    """Folder for the pictures; default: inspect/ in the run folder."""
    what: str = "all"
    """Pictures to draw, with commas between; all: every one that this net can have."""
    unit: str | None = None
    """The unit of the stimulus picture: LAYER:INDEX, output:INDEX or output:NAME."""
    smooth: float = 0.0
    """Blur of the stimulus's gradient in pixels: above 0, smoother pictures of lower value."""
    frames: int = 512
    """Inputs to look at: frames of the agent's own games, or examples of the test part."""
    index: int | None = None
    """The input of the maps picture, from 0; default: one in the middle."""
    seed: int = 0
    """Of the games, the choice of examples, the stimulus's start and t-SNE."""
    device: str = "auto"
    """auto, cpu or gpu."""


PICTURES: dict[str, Callable[[Subject, Options], Figure]] = {
    "filters": lambda s, o: filters.draw(s),
    "maps": lambda s, o: maps.draw(s, len(_first(s)) // 2 if o.index is None else o.index),
    "stimulus": lambda s, o: stimuli.draw(
        s, [find_unit(s, o.unit)] if o.unit else stimuli.units(s), o.seed, o.smooth
    ),
    "saliency": lambda s, o: attribution.draw(s),
    "units": lambda s, o: statistics.draw(s),
    "embedding": lambda s, o: embedding.draw(s, o.seed),
    "neighbours": lambda s, o: neighbours.draw(s),
    "confusion": lambda s, o: confusion.draw(s),
    "attention": lambda s, o: attention.draw(s),
    "adversarial": lambda s, o: flips.draw(s, o.seed),
}


def chosen(what: str) -> list[str]:
    """The names of the pictures to draw. UserError for one that does not exist."""
    wanted = [name.strip() for name in what.split(",") if name.strip()]
    if wanted == ["all"]:
        return list(PICTURES)
    for name in wanted:
        if name not in PICTURES:
            raise names.unknown("picture", name, ["all", *PICTURES])
    if not wanted:
        raise UserError(f"--what names no picture; there are: all, {', '.join(PICTURES)}")
    return wanted


def main(args: list[str] | None = None) -> int:
    """Parse, load, draw, say what was written. Returns the exit code."""
    options = flags.cli(Options, args=args, description=__doc__)
    wanted, folder = chosen(options.what), options.out or options.run_dir / "inspect"
    if not 0 <= options.smooth < np.inf:
        raise UserError(f"--smooth is {options.smooth}; it must be at least 0")
    if not options.run_dir.is_dir():  # before --out, whose default is in it
        raise UserError(f"{options.run_dir} is no run folder")
    outputs.check_folder("--out", folder)
    startup.select_device(options.device)
    subject = load.subject(options.run_dir, options.checkpoint, options.frames, options.seed)
    number = len(_first(subject))
    if options.index is not None and not 0 <= options.index < number:
        raise UserError(f"--index is {options.index}; there are inputs 0 to {number - 1}")
    if options.unit:
        find_unit(subject, options.unit)  # a mistake is better found before the work
    print(f"{subject.title}: {count(number, 'input')}", flush=True)
    for name in wanted:
        _write(name, subject, options, folder)
    return 0


def _write(name: str, subject: Subject, options: Options, folder: Path) -> None:
    try:
        with matplotlib.rc_context({"text.parse_math": False}):
            figure = PICTURES[name](subject, options)
    except Absent as error:
        if options.what != "all":
            raise UserError(f"{options.run_dir} has no picture {name!r}: {error}") from error
        print(f"{name}: none, {error}", flush=True)
        return
    path = folder / f"{name}.png"
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=100)
    outputs.write(path, image.getvalue())
    print(f"{name}: {path}", flush=True)


def _first(subject: Subject) -> np.ndarray:
    array: np.ndarray = jax.tree.leaves(subject.x)[0]
    return array


if __name__ == "__main__":
    with startup.user_errors():
        sys.exit(main())
