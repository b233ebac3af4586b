"""The embedding of quantile fractions that implicit quantile networks use."""

import haiku as hk
import jax
import jax.numpy as jnp

from dqnlab.types import Array


class CosineEmbedding(hk.Module):
    """ReLU(Σᵢ cos(π i τ) wᵢⱼ + bⱼ) over num_cosines i from `first` on (IQN, 1806.06923, eq. 4).

    In the paper the first i is 0, whose cosine is always 1.
    """

    def __init__(
        self, output_size: int, num_cosines: int = 64, first: int = 0, name: str | None = None
    ):
        super().__init__(name=name)
        self._output_size = output_size
        self._num_cosines = num_cosines
        self._first = first

    def __call__(self, taus: Array) -> Array:
        """Fractions in [0, 1]: [...] -> [..., output_size]."""
        last = self._first + self._num_cosines
        frequencies = jnp.pi * jnp.arange(self._first, last, dtype=taus.dtype)
        # An outer product, where broadcasting would need to know the rank.
        angles = jnp.tensordot(taus, frequencies, axes=0)
        return jax.nn.relu(hk.Linear(self._output_size)(jnp.cos(angles)))
