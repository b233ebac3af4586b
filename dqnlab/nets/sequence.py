"""Nets over sequences of vectors: an output for each step, or one for the whole sequence."""

from typing import Any

import haiku as hk
import jax.numpy as jnp

from dqnlab.layers import recurrent
from dqnlab.layers.bidirectional import Bidirectional
from dqnlab.layers.gru import GRU
from dqnlab.layers.lstm import LSTM
from dqnlab.layers.rnn import RNN
from dqnlab.types import Array

LAYERS: dict[str, Any] = {"rnn": RNN, "gru": GRU, "lstm": LSTM}


class Tagger(hk.Module):
    """A recurrent layer and the same dense layer at every step (many to many, aligned).

    With one output it is a scorer of each element of a sequence.
    """

    def __init__(
        self,
        num_outputs: int,
        hidden: int,
        layer: str = "lstm",
        bidirectional: bool = False,
        dropout: float = 0.0,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._num_outputs = num_outputs
        self._hidden = hidden
        self._layer = LAYERS[layer]
        self._bidirectional = bidirectional
        self._dropout = dropout

    def __call__(self, x: Array, mask: Array | None, is_training: bool) -> Array:
        """x [B, T, D] and bool[B, T], False where it is padding -> float32[B, T, K]."""
        x = x.swapaxes(0, 1)
        core = self._layer(self._hidden, name="core")
        if self._bidirectional:
            core = Bidirectional(lambda name: self._layer(self._hidden, name=name), name="core")
        if is_training and self._dropout:
            x = recurrent.input_dropout(self._dropout, x)
        x, _ = core(x, mask=None if mask is None else mask.T)
        if is_training and self._dropout:
            x = recurrent.input_dropout(self._dropout, x)
        outputs = recurrent.time_distributed(hk.Linear(self._num_outputs), x)
        return outputs.swapaxes(0, 1)


class Reader(hk.Module):
    """A recurrent layer and a dense one on its last output (many to one): classes or a number."""

    def __init__(
        self,
        num_outputs: int,
        hidden: int,
        layer: str = "lstm",
        name: str | None = None,
        **made: Any,
    ):
        super().__init__(name=name)
        self._num_outputs = num_outputs
        self._core = LAYERS[layer](hidden, name="core", **made)

    def __call__(self, x: Array, mask: Array | None = None) -> Array:
        """x [B, T, D] and bool[B, T], False where it is padding -> float32[B, K]."""
        outputs, _ = self._core(x.swapaxes(0, 1), mask=None if mask is None else mask.T)
        # Over padding at the end the state, and so the output, stays what it was.
        return jnp.asarray(hk.Linear(self._num_outputs)(outputs[-1]))
