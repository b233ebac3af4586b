"""The plain recurrent layer (Elman 1990)."""

from typing import Unpack

import haiku as hk
import jax.numpy as jnp
from jax import nn

from dqnlab.layers import recurrent
from dqnlab.types import Array


def zero_state(batch_size: int, hidden_size: int) -> Array:
    """What a sequence starts with: float32[B, H]."""
    return jnp.zeros((batch_size, hidden_size), jnp.float32)


class RNN(hk.Module):
    """h_t = act(x_t W + h_{t-1} U + b), act being tanh or ReLU.

    U starts orthogonal. Haiku's VanillaRNN has ReLU and a second bias.
    """

    def __init__(
        self,
        hidden_size: int,
        dtype: jnp.dtype = jnp.float32,
        hidden_dtype: jnp.dtype = jnp.float32,
        activation: str = "tanh",
        w_hidden_init: hk.initializers.Initializer = recurrent.orthogonal,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._hidden_size = hidden_size
        self._dtypes = recurrent.Dtypes(dtype, hidden_dtype)
        self._cell = {"tanh": _TANH, "relu": _RELU}[activation]
        self._w_hidden_init = w_hidden_init

    def __call__(
        self, x: Array, state: Array | None = None, **options: Unpack[recurrent.Options]
    ) -> tuple[Array, Array]:
        """x [T, B, D] -> (float32[T, B, H], the last hidden state); see `recurrent.Options`."""
        return recurrent.run(
            self._cell, self._hidden_size, x, state, self._dtypes, self._w_hidden_init, options
        )


def _tanh_step(products: recurrent.Products, state: Array, inputs: recurrent.Blocks) -> Array:
    return jnp.tanh(inputs[0] + products[0](state))


def _relu_step(products: recurrent.Products, state: Array, inputs: recurrent.Blocks) -> Array:
    return nn.relu(inputs[0] + products[0](state))


_TANH = recurrent.Cell(_tanh_step, (1,), zero_state)
_RELU = recurrent.Cell(_relu_step, (1,), zero_state)
