"""The gated recurrent unit (1406.1078), with Haiku's equations."""

from typing import Unpack

import haiku as hk
import jax.numpy as jnp
from jax import nn

from dqnlab.layers import recurrent, rnn
from dqnlab.types import Array


class GRU(hk.Module):
    """h_t = (1 - z) h_{t-1} + z a, where z, r = sigmoid(.) and a = tanh(W x_t + U (r h_{t-1}) + b).

    This is Haiku's sense of the update gate, the opposite of the usual z h_{t-1} + (1 - z) a: with
    weights from a library of the other sense, negate the columns and the bias of z. The columns
    are z, r, a. U starts orthogonal, gate by gate.
    """

    def __init__(
        self,
        hidden_size: int,
        dtype: jnp.dtype = jnp.float32,
        hidden_dtype: jnp.dtype = jnp.float32,
        w_hidden_init: hk.initializers.Initializer = recurrent.orthogonal,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._hidden_size = hidden_size
        self._dtypes = recurrent.Dtypes(dtype, hidden_dtype)
        self._w_hidden_init = w_hidden_init

    def __call__(
        self, x: Array, state: Array | None = None, **options: Unpack[recurrent.Options]
    ) -> tuple[Array, Array]:
        """x [T, B, D] -> (float32[T, B, H], the last hidden state); see `recurrent.Options`."""
        return recurrent.run(
            _CELL, self._hidden_size, x, state, self._dtypes, self._w_hidden_init, options
        )


def _step(products: recurrent.Products, state: Array, inputs: recurrent.Blocks) -> Array:
    gates = nn.sigmoid(inputs[0] + products[0](state))
    z, r = jnp.split(gates, 2, axis=-1)
    candidate = jnp.tanh(inputs[1] + products[1](r * state))
    return (1.0 - z) * state + z * candidate


_CELL = recurrent.Cell(_step, (2, 1), rnn.zero_state)
