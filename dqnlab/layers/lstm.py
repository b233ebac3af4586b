"""The LSTM (Hochreiter & Schmidhuber 1997), with Haiku's equations, over whole sequences."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Unpack

import haiku as hk
import jax
import jax.numpy as jnp

from dqnlab.layers import recurrent
from dqnlab.types import Array


class LSTMState(NamedTuple):
    """What an LSTM remembers between two steps."""

    hidden: Array  # float32[B, H]
    cell: Array  # float32[B, H]


def zero_state(batch_size: int, hidden_size: int) -> LSTMState:
    """What every sequence and every episode starts with."""
    return LSTMState(*(jnp.zeros((batch_size, hidden_size), jnp.float32) for _ in range(2)))


class LSTM(hk.Module):
    """c_t = sigmoid(f + 1) c_{t-1} + sigmoid(i) tanh(g); h_t = sigmoid(o) tanh(c_t).

    Equations and initialisation of `hk.LSTM`: the 1 beside the forget gate is a constant, not in
    the bias, so that cells remember from the start; with weights from a library without it, take 1
    off the bias of f. The columns are i, g, f, o.
    """

    def __init__(
        self,
        hidden_size: int,
        dtype: jnp.dtype = jnp.float32,
        hidden_dtype: jnp.dtype = jnp.float32,
        w_hidden_init: hk.initializers.Initializer | None = None,
        b_init: hk.initializers.Initializer | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._hidden_size = hidden_size
        self._dtypes = recurrent.Dtypes(dtype, hidden_dtype)
        self._w_hidden_init = w_hidden_init
        self._b_init = b_init

    def __call__(
        self, x: Array, state: LSTMState | None = None, **options: Unpack[recurrent.Options]
    ) -> tuple[Array, LSTMState]:
        """x [T, B, D] -> (float32[T, B, H], the state after the last step).

        `recurrent.Options` says what else a call takes: `first`, `mask` and more.
        """
        inits = self._w_hidden_init, options, self._b_init
        return recurrent.run(_CELL, self._hidden_size, x, state, self._dtypes, *inits)


def chrono(longest: int) -> hk.initializers.Initializer:
    """Biases with which cells remember for 1 to `longest` steps (1804.11188, eq. 16).

    log(u) of the forget gate and its negative of the input gate, u uniform in [1, longest - 1]; the
    forget gate's constant 1 is taken off. With zero biases a cell forgets half in 2 steps.
    """

    def init(shape: Sequence[int], dtype: Any) -> Array:
        size = shape[0] // 4
        remember = jnp.log(
            jax.random.uniform(hk.next_rng_key(), (size,), dtype, 1.0, longest - 1.0)
        )
        zeros = jnp.zeros_like(remember)
        return jnp.concatenate([-remember, zeros, remember - 1.0, zeros])

    return init


def _step(products: recurrent.Products, state: LSTMState, inputs: recurrent.Blocks) -> LSTMState:
    i, g, f, o = jnp.split(inputs[0] + products[0](state.hidden), 4, axis=-1)
    cell = jax.nn.sigmoid(f + 1.0) * state.cell + jax.nn.sigmoid(i) * jnp.tanh(g)
    return LSTMState(jax.nn.sigmoid(o) * jnp.tanh(cell), cell)


_CELL = recurrent.Cell(_step, (4,), zero_state)
