"""Which sentences of a section share words with its lead: the data flow of a summariser."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import spearmanr

from dqnlab import batches, fit, objective, optim, preprocess, train
from dqnlab.nets.sequence import Tagger
from dqnlab.objective import Loss
from dqnlab.types import Array
from scripts.tasks import embeddings, prose, task
from scripts.tasks.task import Splits, Task, Trained

LEAD = 2  # sentences that a section begins with


@dataclasses.dataclass(frozen=True)
class Config(task.Config):
    """See task.Config."""

    epochs: int = 60
    batch_size: int = 16
    learning_rate: float = 2e-3
    optimizer: str = "rmsprop"
    patience: int | None = 10
    hidden: int = 64
    """LSTM units."""
    dropout: float = 0.2
    """Share of inputs and outputs of the LSTM dropped, the same for a whole section."""
    longest: int = 40
    """Sentences of a section that are read; the rest is cut off."""
    vector_epochs: int = 3
    """Epochs of the skip-gram that makes the word vectors."""


def score(sentence: list[str], lead: list[str], common: set[str]) -> float:
    """The share of a sentence's words, common ones aside, that the lead has too."""
    content = set(sentence) - common
    return len(content & set(lead)) / max(1, len(content))


def load(config: Config, seed: int) -> Splits:
    """Sections of five or more sentences: 80 % to learn from, 10 % validation, 10 % test.

    x: float32[N, T, 2 D], of each sentence the mean of its words' vectors, and that times the
    lead's: what both have in common; standardised on the training part. y: each sentence's score;
    the lead itself has none.
    """
    documents = [[prose.words(s) for s in prose.sentences(each)] for each in prose.documents()]
    sections = [each[: config.longest] for each in documents if len(each) >= 5]
    counts = Counter(word for each in sections for sentence in each for word in sentence)
    common = {word for word, _ in counts.most_common(60)}
    table = {w: v for w, v in _word_vectors(config, seed).items() if w not in common}
    rows = [_section(section, table, common) for section in sections]
    x, y, luhn = (
        preprocess.pad_and_mask(each, config.longest)[0] for each in zip(*rows, strict=True)
    )
    mask = np.arange(config.longest)[None] < np.array([[len(section)] for section in sections])
    scored = mask & (np.arange(config.longest) >= LEAD)[None]
    data = {"x": {"x": x, "mask": mask}, "y": y, "scored": scored, "luhn": luhn}
    order = np.random.default_rng(seed).permutation(len(sections))
    test, validation, rest = np.split(order, [len(order) // 10, len(order) // 5])
    scale = preprocess.standardizer(x[rest][mask[rest]])
    x[mask] = scale(x[mask])
    return Splits(*(batches.take(data, part) for part in (rest, validation, test)), {})


def _section(
    section: list[list[str]], table: dict[str, np.ndarray], common: set[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The vectors, scores and Luhn's scores of a section's sentences."""
    lead = [word for sentence in section[:LEAD] for word in sentence]
    x = np.stack([_mean_vector(sentence, table) for sentence in section])
    both = np.concatenate([x, x * _mean_vector(lead, table)], axis=1)
    return both, np.float32([score(each, lead, common) for each in section]), _luhn(section, common)


def _mean_vector(sentence: list[str], table: dict[str, np.ndarray]) -> np.ndarray:
    rows = [table[word] for word in sentence if word in table]
    return np.mean(rows, axis=0) if rows else np.zeros_like(next(iter(table.values())))


def _luhn(section: list[list[str]], common: set[str]) -> np.ndarray:
    """Luhn 1958: a sentence matters by the words that its section repeats."""
    counts = Counter(word for sentence in section for word in set(sentence) - common)
    means = [np.mean([counts[w] for w in set(s) - common] or [0]) for s in section]
    return np.float32(means)


def _word_vectors(config: Config, seed: int) -> dict[str, np.ndarray]:
    made = dataclasses.replace(embeddings.TASK.defaults, epochs=config.vector_epochs)
    splits = embeddings.load(made, seed)
    net, loss = embeddings.make(made, splits.info)
    optimizer = optim.make(made.optimizer, made.learning_rate)
    key = jax.random.fold_in(jax.random.PRNGKey(seed), fit.INIT)
    params, net_state = net.init(key, jax.tree.map(lambda a: a[:1], splits.train["x"]), True)
    fitted = fit.fit(
        train.init(params, net_state, optimizer),
        train.make_update(objective.for_training(loss), optimizer),
        splits.train,
        epochs=made.epochs,
        batch_size=made.batch_size,
        seed=seed,
    )
    return dict(zip(splits.info["words"], embeddings.vectors(fitted.state.params), strict=True))


def make(config: Config, info: dict[str, Any]) -> tuple[hk.TransformedWithState, Loss]:
    """A score for each sentence, from it and those before; mean absolute error over sentences."""
    net = hk.transform_with_state(
        lambda x, is_training: jax.nn.sigmoid(
            Tagger(1, config.hidden, dropout=config.dropout)(x["x"], x["mask"], is_training)
        )[..., 0]
    )

    def criterion(scores: Array, batch: Any) -> tuple[Array, dict[str, Array]]:
        errors = jnp.where(batch["scored"], jnp.abs(scores - batch["y"]), 0.0)
        return errors.sum() / batch["scored"].sum(), {}

    return net, objective.supervised(net, criterion)


def report(trained: Trained, splits: Splits, folder: Path) -> dict[str, Any]:
    """Mean absolute error and rank correlation over test sentences, beside two baselines."""
    scored, y = splits.test["scored"], splits.test["y"]
    scores, truth, luhn = trained.predict(splits.test["x"])[scored], y[scored], splits.test["luhn"]
    median = np.median(splits.train["y"][splits.train["scored"]])
    return {
        "mae": float(np.mean(np.abs(scores - truth))),
        "mae_of_the_median": float(np.mean(np.abs(median - truth))),
        "rank_correlation": float(spearmanr(scores, truth).statistic),
        "rank_correlation_of_luhn": float(spearmanr(luhn[scored], truth).statistic),
        "sections": len(splits.train["y"]),
        "test_sentences": len(truth),
    }


TASK = Task(
    about="how much of a sentence its section's lead says, by an LSTM over sentence vectors",
    goal="lower mean absolute error than the median, higher rank correlation than Luhn's 1958 rule",
    minutes=3,
    defaults=Config(),
    load=load,
    make=make,
    report=report,
)
