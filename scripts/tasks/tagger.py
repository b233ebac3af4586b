"""What each character of Python source is: name, keyword, string ..., as `tokenize` says."""

import dataclasses
import sysconfig
from pathlib import Path
from typing import Any

import haiku as hk
import numpy as np

from dqnlab import objective
from dqnlab.nets.sequence import Tagger
from dqnlab.objective import Loss
from dqnlab.types import Array, UserError
from scripts.tasks import task
from scripts.tasks.source_tags import OTHER, TAGS, windows
from scripts.tasks.task import Splits, Task, Trained

NETS = {"one_way": False, "both_ways": True}


@dataclasses.dataclass(frozen=True)
class Config(task.Config):
    """See task.Config."""

    epochs: int = 2
    learning_rate: float = 3e-3
    schedule: str = "cosine"
    max_grad_norm: float | None = 1.0
    window: int = 100
    """Characters of a sequence; each starts at the beginning of a line."""
    windows: int = 8000
    """Sequences to learn from; a fifth as many are the test part."""
    files: int = 200
    """Files of the standard library; a fifth of them are the test part."""
    units: int = 128
    """LSTM units in all: the net of both ways has half of them for each."""


def load(config: Config, seed: int) -> Splits:
    """Windows of files of the standard library, split by file; the seed is of split and windows."""
    rng = np.random.default_rng(seed)
    paths = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    paths = [paths[i] for i in rng.permutation(len(paths))[: config.files]]
    if len(paths) < 5:
        raise UserError(f"--files finds {len(paths)} files of the standard library; at least 5")
    cut = len(paths) // 5
    test = windows(paths[:cut], config.windows // 5, config.window, rng)
    return Splits(windows(paths[cut:], config.windows, config.window, rng), None, test, {})


def make(config: Config, info: dict[str, Any]) -> tuple[hk.TransformedWithState, Loss]:
    """Two nets side by side, reading one way and both ways, each with an embedding of its own."""

    def forward(x: Array, is_training: bool) -> dict[str, Array]:
        return {
            name: Tagger(len(TAGS), config.units // (1 + is_both), "lstm", is_both, name=name)(
                hk.Embed(OTHER + 1, 32, name=f"{name}_embed")(x), None, is_training
            )
            for name, is_both in NETS.items()
        }

    def criterion(outputs: Any, batch: Any) -> tuple[Array, dict[str, Array]]:
        losses = {name: objective.classification(each, batch)[0] for name, each in outputs.items()}
        return sum(losses.values()), losses

    net = hk.transform_with_state(forward)
    return net, objective.supervised(net, criterion)


def report(trained: Trained, splits: Splits, folder: Path) -> dict[str, Any]:
    """Share of wrongly tagged characters in unseen files, in per cent."""
    logits, y = trained.predict(splits.test["x"]), splits.test["y"]
    seen, seen_y = splits.train["x"], splits.train["y"]
    counts = np.zeros((OTHER + 1, len(TAGS)))
    np.add.at(counts, (seen, seen_y), 1)
    guess = counts.argmax(axis=1)[splits.test["x"]]
    figures = {
        f"{name}_error_percent": 100 * float(np.mean(np.argmax(logits[name], -1) != y))
        for name in ("both_ways", "one_way")
    }
    return {**figures, "by_character_alone_error_percent": 100 * float(np.mean(guess != y))}


TASK = Task(
    about="each character's kind of token in Python source, by LSTMs one way and both ways",
    goal="the net that reads both ways errs less than the one-way net of as many units",
    minutes=1,
    defaults=Config(),
    load=load,
    make=make,
    report=report,
)
