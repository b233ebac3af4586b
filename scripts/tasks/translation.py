"""Dates as people write them, day first, into DD/MM/YYYY, by an encoder-decoder with attention."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import haiku as hk
import jax
import matplotlib.pyplot as plt
import numpy as np

from dqnlab import batches, objective, preprocess, text
from dqnlab.nets.seq2seq import Seq2Seq
from dqnlab.objective import Loss
from dqnlab.types import Array, UserError
from scripts.tasks import dates, task
from scripts.tasks.task import Splits, Task, Trained

DIGITS = [0, 1, 3, 4, 6, 7, 8, 9]  # of DD/MM/YYYY


@dataclasses.dataclass(frozen=True)
class Config(task.Config):
    """See task.Config."""

    epochs: int = 5
    batch_size: int = 64
    learning_rate: float = 4e-3
    schedule: str = "cosine"
    max_grad_norm: float | None = 1.0
    hidden: int = 64
    """Units of the decoder and of each reader."""
    dates: int = 10_000
    """Dates to learn from, each written once; 2,000 others are the test part."""


def load(config: Config, seed: int) -> Splits:
    """Dates from 1970 to 2069; those of the test part appear nowhere in the training part."""
    sources, targets = dates.pairs(config.dates + 2000, np.random.default_rng(seed))
    info = {"source": text.vocabulary("".join(sources)), "target": text.vocabulary("0123456789/")}
    encoded = [text.encode(source, info["source"]) for source in sources]
    source, mask = preprocess.pad_and_mask(encoded, dates.LONGEST)
    y = np.stack([text.encode(t, info["target"]) for t in targets])
    data = {"x": {"source": source, "mask": mask, "target": y}, "y": y}
    parts = [batches.take(data, rows) for rows in np.split(np.arange(len(y)), [config.dates])]
    return Splits(parts[0], None, parts[1], info)


def _net(config: Config, info: dict[str, Any]) -> Seq2Seq:
    return Seq2Seq(len(info["source"]), len(info["target"]), config.hidden)


def make(config: Config, info: dict[str, Any]) -> tuple[hk.TransformedWithState, Loss]:
    """Logits of each character of the target, told those before it."""
    net = hk.transform_with_state(
        lambda x, is_training: _net(config, info)(x["source"], x["mask"], x["target"])
    )

    def criterion(outputs: Any, batch: Any) -> tuple[Array, dict[str, Array]]:
        return objective.classification(outputs[0], batch)

    return net, objective.supervised(net, criterion)


def translate(trained: Trained, source: np.ndarray, mask: np.ndarray) -> tuple[Any, Any]:
    """Greedy: int32[N, 10] and where each character looked, float32[N, 10, S]."""
    net = hk.without_apply_rng(
        hk.transform(
            lambda x: _net(trained.config, trained.info).greedy(x["source"], x["mask"], 10)
        )
    )
    greedy = jax.jit(functools.partial(net.apply, trained.params))
    tokens, weights = batches.map_batches(greedy, {"source": source, "mask": mask})
    return tokens, weights


def report(trained: Trained, splits: Splits, folder: Path) -> dict[str, Any]:
    """Exact translations in per cent; how often attention moves on; a picture of it."""
    source, mask = splits.test["x"]["source"], splits.test["x"]["mask"]
    tokens, weights = translate(trained, source, mask)
    # Where a digit looks: the mean position under its weights. One step back is forgiven; the two
    # slashes are known without looking.
    looked = (weights @ np.arange(source.shape[1]))[:, DIGITS]
    _draw(trained, source[:6], tokens[:6], weights[:6], folder / "attention.png")
    return {
        "exact_percent": 100 * float(np.mean(np.all(tokens == splits.test["y"], axis=1))),
        "monotone_percent": 100 * float(np.mean(np.diff(looked, axis=1) > -1.0)),
    }


def _draw(
    trained: Trained, source: np.ndarray, tokens: np.ndarray, weights: np.ndarray, path: Path
) -> None:
    figure, axes = plt.subplots(2, 3, figsize=(13, 6), layout="constrained")
    for axis, read, written, weight in zip(axes.flat, source, tokens, weights, strict=True):
        length = int(np.flatnonzero(weight.sum(axis=0)).max()) + 1
        axis.imshow(weight[:, :length], cmap="Blues", vmin=0, vmax=1)
        axis.set_xticks(range(length), list(text.decode(read[:length], trained.info["source"])))
        axis.set_yticks(range(len(written)), list(text.decode(written, trained.info["target"])))
    figure.savefig(path, dpi=100)
    plt.close(figure)


@dataclasses.dataclass(frozen=True)
class Sample:
    """What to translate."""

    date: str = "Friday the 3rd of March, 2028"
    """A date, day first."""


def sample(trained: Trained, args: Sample) -> str:
    """The date as DD/MM/YYYY."""
    if not 1 <= len(args.date) <= dates.LONGEST:
        raise UserError(f"--date has {len(args.date)} characters; allowed: 1 to {dates.LONGEST}")
    read = text.encode(args.date, trained.info["source"], "--date")
    source, mask = preprocess.pad_and_mask([read], dates.LONGEST)
    return text.decode(translate(trained, source, mask)[0][0], trained.info["target"])


TASK = Task(
    about="dates as people write them into DD/MM/YYYY, by an encoder-decoder with attention",
    goal=">= 99 % exact on dates never seen; attention moves on from step to step (attention.png)",
    minutes=1,
    defaults=Config(),
    load=load,
    make=make,
    report=report,
    sample=sample,
    sample_args=Sample,
)
