"""Word vectors from English prose: words are alike that stand near the same words."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from dqnlab import objective
from dqnlab.nets import skip_gram
from dqnlab.objective import Loss
from dqnlab.types import Array, UserError
from scripts.tasks import prose, task
from scripts.tasks.task import Splits, Task, Trained

QUERIES = "list string integer function class raises returns open first true".split()


@dataclasses.dataclass(frozen=True)
class Config(task.Config):
    """See task.Config."""

    epochs: int = 8
    batch_size: int = 1024
    learning_rate: float = 1e-2
    schedule: str = "cosine"
    size: int = 64
    """Numbers of a word's vector."""
    window: int = 4
    """Neighbours on each side."""
    negatives: int = 8
    """Random words against each neighbour, drawn by frequency to the power 0.75."""
    least: int = 10
    """Words that occur less often are left out."""
    keep: float = 1e-3
    """A word of frequency f is kept with probability sqrt(keep / f), at most 1 (1310.4546)."""


def load(config: Config, seed: int) -> Splits:
    """Pairs of neighbours; every twentieth document is of the test part."""
    documents = [prose.words(each) for each in prose.documents()]
    counts = Counter(word for each in documents for word in each)
    known = [word for word, count in counts.most_common() if count >= config.least]
    if len(known) < 100:
        raise UserError(f"--least {config.least} leaves {len(known)} words; at least 100")
    index, rng = {word: k for k, word in enumerate(known)}, np.random.default_rng(seed)
    frequency = np.array([counts[word] for word in known]) / sum(counts[w] for w in known)
    kept = np.minimum(1.0, np.sqrt(config.keep / frequency))
    found: list[list[np.ndarray]] = [[], []]
    for number, document in enumerate(documents):
        numbers = np.array([index[word] for word in document if word in index], np.int32)
        numbers = numbers[rng.random(len(numbers)) < kept[numbers]]
        found[number % 20 == 0].append(skip_gram.pairs(numbers, config.window))
    info = {"words": known, "frequency": frequency.tolist()}
    parts = [_with_negatives(np.concatenate(each), frequency, config, rng) for each in found]
    return Splits(parts[0], None, parts[1], info)


def _with_negatives(
    pairs: np.ndarray, frequency: np.ndarray, config: Config, rng: np.random.Generator
) -> dict[str, Any]:
    shape = (len(pairs), config.negatives)
    others = np.searchsorted(_cumulative(frequency), rng.random(shape)).astype(np.int32)
    words = np.concatenate([pairs[:, 1:], others], axis=1)
    y = np.zeros(words.shape, np.float32)
    y[:, 0] = 1
    return {"x": {"center": pairs[:, 0], "words": words}, "y": y}


def _cumulative(frequency: Any) -> np.ndarray:
    powers = np.cumsum(np.asarray(frequency) ** 0.75)
    return powers[:-1] / powers[-1]


def make(config: Config, info: dict[str, Any]) -> tuple[hk.TransformedWithState, Loss]:
    """Logits of a neighbour and of random words, which are others at each visit in training."""
    cumulative = jnp.asarray(_cumulative(info["frequency"]), jnp.float32)
    net = hk.transform_with_state(
        lambda x, is_training: skip_gram.SkipGram(len(info["words"]), config.size)(**x)
    )

    def redraw(key: Array, batch: Any) -> Any:
        words = batch["x"]["words"]
        others = jnp.searchsorted(cumulative, jax.random.uniform(key, words[:, 1:].shape))
        words = words.at[:, 1:].set(others.astype(jnp.int32))
        return {**batch, "x": {**batch["x"], "words": words}}

    def criterion(logits: Array, batch: Any) -> tuple[Array, dict[str, Array]]:
        each = optax.sigmoid_binary_cross_entropy(logits, batch["y"]).sum(axis=1)
        return each.mean(), {"ranked": (logits[:, :1] > logits[:, 1:]).mean()}

    return net, objective.supervised(net, criterion, redraw)


def vectors(params: Any) -> np.ndarray:
    """float32[V, D], each of length 1."""
    table = np.asarray(params["skip_gram/center"]["embeddings"])
    return table / np.linalg.norm(table, axis=1, keepdims=True)


def nearest(table: np.ndarray, known: list[str], word: str, count: int) -> list[str]:
    """The words with the largest cosine; UserError for a word that is not known."""
    if word not in known:
        raise UserError(f"{word!r} is none of the {len(known)} words, such as {known[100:110]}")
    order = np.argsort(-table @ table[known.index(word)])
    return [known[k] for k in order[1 : count + 1]]


def report(trained: Trained, splits: Splits, folder: Path) -> dict[str, Any]:
    """How often a neighbour outranks a random word; how often a plural is near its singular."""
    logits, x = trained.predict(splits.test["x"], 4096), splits.test["x"]
    frequency = np.asarray(splits.info["frequency"])[x["words"]]
    table, known = vectors(trained.params), splits.info["words"]
    plurals = [word for word in known if len(word) > 2 and f"{word}s" in known]
    found = [f"{word}s" in nearest(table, known, word, 10) for word in plurals]
    lines = [f"{word}: {' '.join(nearest(table, known, word, 8))}" for word in QUERIES]
    (folder / "neighbours.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _draw(table[:150], known[:150], folder / "words.png")
    return {
        "ranked_percent": 100 * float(np.mean(logits[:, :1] > logits[:, 1:])),
        "ranked_by_frequency_percent": 100 * float(np.mean(frequency[:, :1] > frequency[:, 1:])),
        "plural_in_nearest_10_percent": 100 * float(np.mean(found)),
        "plural_by_chance_percent": 1000 / (len(known) - 1),
        "words": len(known),
        "pairs": len(splits.train["y"]),
    }


def _draw(table: np.ndarray, known: list[str], path: Path) -> None:
    centred = table - table.mean(axis=0)
    plane = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    figure, axis = plt.subplots(figsize=(11, 9), layout="constrained")
    axis.scatter(*plane.T, s=3)
    for word, (x, y) in zip(known, plane, strict=True):
        axis.annotate(word, (x, y), fontsize=7)
    axis.set(xlabel="first principal component", ylabel="second")
    figure.savefig(path, dpi=100)
    plt.close(figure)


TASK = Task(
    about="word vectors by skip-gram with negative sampling, from Python's own English",
    goal="neighbours in unseen documents outrank random words more often than frequency does",
    minutes=2,
    defaults=Config(),
    load=load,
    make=make,
    report=report,
)
