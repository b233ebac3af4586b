"""What each character of Python source is: name, keyword, string ..., as `tokenize` says."""

import dataclasses
import io
import keyword
import sysconfig
import tokenize
from pathlib import Path
from typing import Any

import haiku as hk
import jax
import numpy as np
import optax

from dqnlab.nets.sequence import Tagger
from dqnlab.objective import Loss
from dqnlab.train import LossAux
from dqnlab.types import Array, UserError
from scripts.tasks import task
from scripts.tasks.task import Splits, Task, Trained

TAGS = ("space", "name", "keyword", "number", "string", "comment", "operator")
OTHER = 127  # stands for every character beyond ASCII
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


def tags(source: str) -> np.ndarray:
    """int32[len(source)]: the number in TAGS of each character's token.

    Raises SyntaxError or tokenize.TokenError where the source is no Python.
    """
    starts = np.cumsum([0, *map(len, source.splitlines(keepends=True))])
    result = np.zeros(len(source), np.int32)
    kinds = {tokenize.NUMBER: "number", tokenize.STRING: "string", tokenize.COMMENT: "comment"}
    kinds[tokenize.OP] = "operator"
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = kinds.get(token.type)
        if token.type == tokenize.NAME:
            kind = "keyword" if keyword.iskeyword(token.string) else "name"
        if kind is not None:
            (row, column), (end_row, end_column) = token.start, token.end
            result[starts[row - 1] + column : starts[end_row - 1] + end_column] = TAGS.index(kind)
    return result


def load(config: Config, seed: int) -> Splits:
    """Windows of files of the standard library, split by file; the seed is of split and windows."""
    rng = np.random.default_rng(seed)
    paths = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    paths = [paths[i] for i in rng.permutation(len(paths))[: config.files]]
    if len(paths) < 5:
        raise UserError(f"--files finds {len(paths)} files of the standard library; at least 5")
    cut = len(paths) // 5
    test = _windows(paths[:cut], config.windows // 5, config.window, rng)
    return Splits(_windows(paths[cut:], config.windows, config.window, rng), None, test, {})


def _windows(
    paths: list[Path], count: int, size: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    xs, ys, starts = [], [], []
    for path in paths:
        source = path.read_text(encoding="utf-8")
        codes = np.minimum(np.frombuffer(source.encode("utf-32-le"), np.uint32), OTHER)
        lines = np.flatnonzero(codes[: len(codes) - size] == ord("\n")) + 1
        starts += [(len(xs), start) for start in lines]
        xs.append(codes.astype(np.int32))
        ys.append(tags(source))
    if len(starts) < count:
        raise UserError(f"--windows: {count} of {size} characters from {len(starts)} lines")
    chosen = [starts[i] for i in rng.choice(len(starts), count, replace=False)]
    x, y = (np.stack([each[k][at : at + size] for k, at in chosen]) for each in (xs, ys))
    return {"x": x, "y": y}


def make(config: Config, info: dict[str, Any]) -> tuple[hk.TransformedWithState, Loss]:
    """Two nets side by side, reading one way and both ways, each with an embedding of its own."""

    def forward(x: Array, is_training: bool) -> dict[str, Array]:
        return {
            name: Tagger(len(TAGS), config.units // (1 + is_both), "lstm", is_both, name=name)(
                hk.Embed(OTHER + 1, 32, name=f"{name}_embed")(x), None, is_training
            )
            for name, is_both in NETS.items()
        }

    net = hk.transform_with_state(forward)

    def loss(
        params: Any, net_state: Any, key: Array, batch: Any, is_training: bool
    ) -> tuple[Array, LossAux]:
        outputs, net_state = net.apply(params, net_state, key, batch["x"], is_training)
        losses = jax.tree.map(
            lambda z: optax.softmax_cross_entropy_with_integer_labels(z, batch["y"]).mean(),
            outputs,
        )
        return sum(losses.values()), LossAux(net_state, losses)

    return net, loss


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
