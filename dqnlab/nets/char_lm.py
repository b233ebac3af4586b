"""A character language model: the next character from all before it (Graves, 1308.0850)."""

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
from jax import lax

from dqnlab.layers import lstm, recurrent
from dqnlab.layers.dense import Dense
from dqnlab.types import Array

State = tuple[lstm.LSTMState, ...]


class CharLM(hk.Module):
    """Embedding, LSTM layers, and a logit for each character of the vocabulary.

    Each dropout keeps its mask for the whole chunk: of the inputs of each layer and of the output,
    `dropout`; of what the recurrent weights see, `hidden_dropout` (1512.05287).
    """

    def __init__(
        self,
        vocabulary: int,
        embedding: int = 64,
        hidden: int = 512,
        layers: int = 1,
        dropout: float = 0.0,
        hidden_dropout: float = 0.0,
        dtype: jnp.dtype = jnp.float32,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._vocabulary = vocabulary
        self._embedding = embedding
        self._hidden = hidden
        self._layers = layers
        self._dropout = dropout
        self._hidden_dropout = hidden_dropout
        self._dtype = dtype

    def __call__(
        self, tokens: Array, state: State | None, is_training: bool
    ) -> tuple[Array, State]:
        """int32[B, T] -> (logits float32[B, T, V] of the characters that follow, last state)."""
        batch = tokens.shape[0]
        x = hk.Embed(self._vocabulary, self._embedding)(tokens.T)
        after = []
        for layer in range(self._layers):
            if is_training and self._dropout and layer:
                x = recurrent.input_dropout(self._dropout, x)
            mask = None
            if is_training and self._hidden_dropout:
                mask = recurrent.dropout_mask(self._hidden_dropout, (batch, self._hidden))
            core = lstm.LSTM(self._hidden, self._dtype, self._dtype, recurrent.orthogonal)
            x, last = core(x, None if state is None else state[layer], hidden_dropout=mask)
            after.append(last)
        if is_training and self._dropout:
            x = recurrent.input_dropout(self._dropout, x)
        logits = recurrent.time_distributed(Dense(self._vocabulary, self._dtype, name="logits"), x)
        return logits.swapaxes(0, 1), tuple(after)


def zero_state(batch_size: int, hidden: int, layers: int) -> State:
    """What a text starts with."""
    return tuple(lstm.zero_state(batch_size, hidden) for _ in range(layers))


def chunk_logits(
    net: CharLM, num_chunks: int, sizes: tuple[int, int], tokens: Array, chunk: Array, train: bool
) -> Array:
    """Logits of chunks of one text in any order, each with the state that the chunk before left.

    The states at all ends are the net's Haiku state, written while training: that of a chunk whose
    predecessor has not been visited in this epoch is one epoch old, as in a replay of stored states
    (R2D2). Gradients stop at a chunk's start.

    Args:
      sizes: (layers, hidden units) of `net`.
      tokens: int32[B, T].
      chunk: int32[B], which chunks these are: 0 begins the text, `num_chunks` follows its end.
    """
    layers, hidden = sizes
    ends = hk.get_state("ends", (num_chunks + 1, layers, 2, hidden), init=jnp.zeros)
    start = ends[chunk]
    state = tuple(lstm.LSTMState(start[:, k, 0], start[:, k, 1]) for k in range(layers))
    logits, last = net(tokens, state, train)
    if train:
        rows = jnp.stack([jnp.stack(each, axis=1) for each in last], axis=1)
        hk.set_state("ends", ends.at[chunk + 1].set(lax.stop_gradient(rows)))
    return logits


Step = Callable[[Array, State], tuple[Array, State]]  # int32[B, T] -> (logits [B, T, V], state)


def generate(
    step: Step, key: Array, prime: Array, state: State, length: int, temperature: float | Array
) -> Array:
    """int32[length] that go on after `prime` int32[P], P >= 1; pure, to be jitted.

    Each character is drawn from softmax(logits / temperature): 1 is the model's own distribution,
    below it likely characters grow likelier; 0 takes the likeliest.
    """
    logits, state = step(prime[None], state)

    def draw(carry: tuple[Array, State], key: Array) -> tuple[Any, Array]:
        logits, state = carry
        noise = jax.random.gumbel(key, logits.shape)
        token = jnp.argmax(logits + temperature * noise)
        logits, state = step(token[None, None], state)
        return (logits[0, -1], state), token

    _, tokens = lax.scan(draw, (logits[0, -1], state), jax.random.split(key, length))
    return tokens
