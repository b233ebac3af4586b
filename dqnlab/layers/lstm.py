"""An LSTM over whole sequences, which forgets where a new episode begins."""

from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
from jax import lax

from dqnlab.layers.dense import Dense
from dqnlab.types import Array


class LSTMState(NamedTuple):
    """What an LSTM remembers between two steps."""

    hidden: Array  # float32[B, H]
    cell: Array  # float32[B, H]


def zero_state(batch_size: int, hidden_size: int) -> LSTMState:
    """What every episode starts with."""
    return LSTMState(*(jnp.zeros((batch_size, hidden_size), jnp.float32) for _ in range(2)))


class LSTM(hk.Module):
    """The equations and initialisation of `hk.LSTM`, for sequences of many short episodes.

    All inputs are multiplied by their weights in one product before the loop over time, which is
    left with a product of [B, H] and [H, 4H] a step. That one is always float32: small, and its
    gradient is a sum over time, which bfloat16 would round at every step.
    """

    def __init__(self, hidden_size: int, dtype: jnp.dtype = jnp.float32, name: str | None = None):
        super().__init__(name=name)
        self._hidden_size = hidden_size
        self._dtype = dtype

    def __call__(self, x: Array, first: Array, state: LSTMState) -> tuple[Array, LSTMState]:
        """Run over x [T, B, D] -> (float32[T, B, H], the state after the last step).

        Where first, bool[T, B], the state before that step is zero.
        """
        (steps, batch, size), gates = x.shape, 4 * self._hidden_size
        init = hk.initializers.TruncatedNormal((size + self._hidden_size) ** -0.5)
        flat = x.reshape(steps * batch, size)
        from_input = Dense(gates, self._dtype, w_init=init, name="input")(flat)
        w = hk.get_parameter("w_hidden", (self._hidden_size, gates), jnp.float32, init=init)

        def step(state: LSTMState, inputs: tuple[Array, Array]) -> tuple[LSTMState, Array]:
            from_x, is_kept = inputs
            hidden, cell = (x * jnp.broadcast_to(is_kept[:, None], x.shape) for x in state)
            i, g, f, o = jnp.split(from_x + hidden @ w, 4, axis=-1)
            cell = jax.nn.sigmoid(f + 1.0) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
            hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
            return LSTMState(hidden, cell), hidden

        inputs = (from_input.reshape(steps, batch, gates), 1.0 - first.astype(jnp.float32))
        state, hidden = lax.scan(step, state, inputs)
        return hidden, state
