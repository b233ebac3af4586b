"""An encoder-decoder with attention: one sequence of tokens into another (1409.0473)."""

from typing import NamedTuple

import haiku as hk
import jax.numpy as jnp

from dqnlab.layers.attention import AdditiveAttention
from dqnlab.layers.bidirectional import Bidirectional
from dqnlab.layers.gru import GRU
from dqnlab.types import Array


class Memory(NamedTuple):
    """A source as the decoder sees it."""

    states: Array  # [S, B, 2 H]
    projected: Array  # [S, B, H]: the attention's share of them
    mask: Array  # bool[S, B]


class Seq2Seq(hk.Module):
    """A bidirectional GRU reads the source; a GRU writes the target, attending at each step.

    The last state of the backward reader, which has seen all of the source, seeds the decoder
    (1409.0473, appendix A.2.2).
    """

    def __init__(
        self,
        source_vocabulary: int,
        target_vocabulary: int,
        hidden: int = 64,
        embedding: int = 32,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._source = hk.Embed(source_vocabulary, embedding, name="source")
        self._target = hk.Embed(target_vocabulary + 1, embedding, name="target")
        self._encoder = Bidirectional(lambda name: GRU(hidden, name=name), name="encoder")
        self._seed = hk.Linear(hidden, name="seed")
        self._attention = AdditiveAttention(hidden, name="attention")
        self._decoder = hk.GRU(hidden, name="decoder")
        self._logits = hk.Linear(target_vocabulary, name="logits")
        self._begin = target_vocabulary  # a token of its own

    def __call__(self, source: Array, mask: Array, target: Array) -> tuple[Array, Array]:
        """Teacher forcing: each step is told the true token before it.

        Args:
          source: int32[B, S], and `mask` bool[B, S], False where it is padding.
          target: int32[B, T].

        Returns: logits float32[B, T, V] and attention weights float32[B, T, S].
        """
        memory, state = self.encode(source, mask)
        before = jnp.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=self._begin)

        def step(state: Array, token: Array) -> tuple[Array, tuple[Array, Array]]:
            logits, weights, state = self.step(memory, token, state)
            return state, (logits, weights)

        _, (logits, weights) = hk.scan(step, state, before.T)
        return logits.swapaxes(0, 1), weights.transpose(2, 0, 1)

    def greedy(self, source: Array, mask: Array, length: int) -> tuple[Array, Array]:
        """The likeliest token at each step, given those chosen before it.

        Returns: int32[B, length] and attention weights float32[B, length, S].
        """
        memory, state = self.encode(source, mask)

        def step(
            carry: tuple[Array, Array], _: None
        ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
            token, state = carry
            logits, weights, state = self.step(memory, token, state)
            token = jnp.argmax(logits, axis=-1).astype(jnp.int32)
            return (token, state), (token, weights)

        begin = jnp.full(source.shape[:1], self._begin, jnp.int32)
        _, (tokens, weights) = hk.scan(step, (begin, state), None, length)
        return tokens.T, weights.transpose(2, 0, 1)

    def encode(self, source: Array, mask: Array) -> tuple[Memory, Array]:
        """What the decoder attends to, and its first state [B, H]."""
        states, (_, backward) = self._encoder(self._source(source.T), mask=mask.T)
        memory = Memory(states, self._attention.project(states), mask.T)
        return memory, jnp.tanh(self._seed(backward))

    def step(self, memory: Memory, token: Array, state: Array) -> tuple[Array, Array, Array]:
        """One token int32[B] on: (logits [B, V], attention weights [S, B], next state [B, H])."""
        context, weights = self._attention.attend(state, *memory)
        x = jnp.concatenate([self._target(token), context], axis=-1)
        output, state = self._decoder(x, state)
        logits: Array = self._logits(jnp.concatenate([output, context], axis=-1))
        return logits, weights, state
