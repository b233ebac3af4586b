"""Heads: from features to one or more outputs for each action."""

import haiku as hk
import jax
import jax.numpy as jnp

from dqnlab.layers.dense import Dense
from dqnlab.layers.noisy import NoisyLinear
from dqnlab.nets.torso import fan_in_uniform
from dqnlab.types import Array


class QHead(hk.Module):
    """One hidden layer, then `num_outputs` for each action; optionally in two dueling streams.

    Dueling (arXiv:1511.06581, eq. 9): q = v + a - mean_a(a), each stream with its own hidden
    layer. `num_outputs` is 1 for Q-values, the number of atoms or quantiles for distributions.
    `noisy_sigma` makes both layers noisy (arXiv:1706.10295), `noisy_limit` truncates their noise.
    """

    def __init__(
        self,
        num_actions: int,
        num_outputs: int = 1,
        *,
        hidden: int = 512,
        dueling: bool = False,
        noisy_sigma: float | None = None,
        noisy_limit: float | None = None,
        dtype: jnp.dtype = jnp.float32,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._num_actions = num_actions
        self._num_outputs = num_outputs
        self._hidden = hidden
        self._dueling = dueling
        self._noisy_sigma = noisy_sigma
        self._noisy_limit = noisy_limit
        self._dtype = dtype

    def __call__(self, features: Array, is_noisy: bool = False) -> Array:
        """[B, F] -> float32[B, A, num_outputs]; `is_noisy` matters to noisy layers only."""
        name = "advantage" if self._dueling else "q"
        advantage = self._stream(features, self._num_actions, name, is_noisy)
        if not self._dueling:
            return advantage
        value = self._stream(features, 1, "value", is_noisy)
        return value + advantage - advantage.mean(axis=1, keepdims=True)

    def _stream(self, features: Array, rows: int, name: str, is_noisy: bool) -> Array:
        x = jax.nn.relu(self._dense(self._hidden, features, f"{name}_hidden", is_noisy))
        x = self._dense(rows * self._num_outputs, x, name, is_noisy)
        return x.reshape(-1, rows, self._num_outputs)

    def _dense(self, size: int, x: Array, name: str, is_noisy: bool) -> Array:
        if self._noisy_sigma is not None:
            sigma, limit = self._noisy_sigma, self._noisy_limit
            return NoisyLinear(size, sigma, self._dtype, limit, name=name)(x, is_noisy)
        init = fan_in_uniform(x.shape[-1])
        return Dense(size, self._dtype, w_init=init, b_init=init, name=name)(x)
