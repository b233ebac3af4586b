"""A character language model of any text file."""

import dataclasses
from pathlib import Path
from pydoc_data import topics
from typing import Any

import haiku as hk
import jax
import numpy as np
import optax

from agents.networks import compute_type
from dqnlab import objective, text, witten_bell
from dqnlab.nets import char_lm
from dqnlab.objective import Loss
from dqnlab.types import Array, UserError
from scripts.tasks import task
from scripts.tasks.task import Splits, Task, Trained


@dataclasses.dataclass(frozen=True)
class Config(task.Config):
    """See task.Config."""

    epochs: int = 8
    schedule: str = "cosine"
    learning_rate: float = 4e-3
    max_grad_norm: float | None = 1.0
    batches_per_launch: int = 4
    data: Path | None = None
    """Text file (UTF-8); without one, Python's own help texts (pydoc_data.topics)."""
    chunk: int = 128
    """Characters that gradients go back through; states are carried from chunk to chunk."""
    embedding: int = 64
    """Numbers that stand for a character."""
    hidden: int = 512
    """Units of each LSTM layer."""
    layers: int = 1
    """LSTM layers."""
    dropout: float = 0.2
    """Share of inputs of upper layers and of outputs dropped, the same for a whole chunk."""
    precision: str = "auto"
    """Of matrix products: float32, bfloat16, or auto, by what the machine multiplies fast."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """What to generate."""

    prime: str = "The "
    """The text to go on with."""
    length: int = 500
    """How many characters."""
    temperature: float = 0.7
    """1 draws from the model's distribution, 0 always takes the likeliest character."""
    seed: int = 0
    """Of the draws."""


def load(config: Config, seed: int) -> Splits:
    """The last 5 % of the text are the test part; the seed is not of the split."""
    if config.data is None:
        whole, name = "".join(topics.topics.values()), "pydoc_data.topics"
    else:
        whole, name = text.read(config.data, least=20 * (config.chunk + 1)), config.data.name
    known = text.vocabulary(whole)
    tokens, size = text.encode(whole, known), config.chunk
    chunks = int(0.95 * len(tokens)) // size  # whole ones: the test part begins where they end
    cut = chunks * size
    train = {
        "x": {"tokens": tokens[:cut].reshape(-1, size), "chunk": np.arange(chunks, dtype=np.int32)},
        "y": tokens[1 : cut + 1].reshape(-1, size),
    }
    after = {"tokens": tokens[None, cut:-1], "chunk": np.array([chunks], np.int32)}
    # The n-gram is given the same first character of the test part, which the net sees as input.
    nats = witten_bell.nats_per_character(whole[: cut + 1], whole[cut + 1 :])
    info = {"text": name, "vocabulary": known, "chunks": chunks, "n_gram_nats": nats}
    return Splits(train, None, {"x": after, "y": tokens[None, cut + 1 :]}, info)


def _net(config: Config, info: dict[str, Any]) -> char_lm.CharLM:
    return char_lm.CharLM(
        len(info["vocabulary"]),
        config.embedding,
        config.hidden,
        config.layers,
        config.dropout,
        dtype=compute_type(config.precision),
    )


def make(config: Config, info: dict[str, Any]) -> tuple[hk.TransformedWithState, Loss]:
    """Logits of the next character at each place of a chunk."""

    def forward(x: dict[str, Array], is_training: bool) -> Array:
        sizes = (config.layers, config.hidden)
        return char_lm.chunk_logits(
            _net(config, info), info["chunks"], sizes, x["tokens"], x["chunk"], is_training
        )

    net = hk.transform_with_state(forward)
    return net, objective.supervised(net, objective.classification)


def report(trained: Trained, splits: Splits, folder: Path) -> dict[str, Any]:
    """Nats per character of the test part, read in one go, beside the best n-gram's."""
    logits, targets = trained.predict(splits.test["x"]), splits.test["y"]
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()
    prime = text.decode(splits.test["x"]["tokens"][0, :20], splits.info["vocabulary"])
    (folder / "sample.txt").write_text(sample(trained, Sample(prime)), encoding="utf-8")
    n_gram = min(orders := splits.info["n_gram_nats"])
    return {
        "nats_per_character": float(nats),
        "n_gram_nats": n_gram,
        "n_gram_order": 1 + orders.index(n_gram),
        "n_gram_nats_of_orders": orders,
        "test_characters": targets.size,
    }


def sample(trained: Trained, args: Sample) -> str:
    """The prime and what the net makes of it."""
    if not args.prime or args.length < 1 or args.temperature < 0:
        raise UserError("--prime needs a character, --length at least 1, --temperature at least 0")
    known = trained.info["vocabulary"]
    prime = text.encode(args.prime, known, "--prime")
    step = hk.without_apply_rng(hk.transform(lambda *x: _net(trained.config, trained.info)(*x)))
    tokens = jax.jit(char_lm.generate, static_argnums=(0, 4))(
        lambda tokens, state: step.apply(trained.params, tokens, state, False),
        jax.random.PRNGKey(args.seed),
        prime,
        char_lm.zero_state(1, trained.config.hidden, trained.config.layers),
        args.length,
        args.temperature,
    )
    return args.prime + text.decode(tokens, known)


TASK = Task(
    about="the next character of a text (--data FILE; Python's help texts) by an LSTM",
    goal="fewer nats per character than the best Witten-Bell n-gram on the same split",
    minutes=8,
    defaults=Config(),
    load=load,
    make=make,
    report=report,
    sample=sample,
    sample_args=Sample,
)
