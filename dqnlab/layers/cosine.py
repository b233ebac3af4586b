"""The embedding of quantile fractions that implicit quantile networks use."""

import haiku as hk
import jax
import jax.numpy as jnp

from dqnlab.types import Array


class CosineEmbedding(hk.Module):
    """ReLU(Σᵢ cos(π i τ) wᵢⱼ + bⱼ) over i = 0..num_cosines - 1 (IQN, 1806.06923, eq. 4)."""

    def __init__(self, output_size: int, num_cosines: int = 64, name: str | None = None):
        super().__init__(name=name)
        self._output_size = output_size
        self._num_cosines = num_cosines

    def __call__(self, taus: Array) -> Array:
        """Fractions in [0, 1]: [...] -> [..., output_size]."""
        frequencies = jnp.pi * jnp.arange(self._num_cosines, dtype=taus.dtype)
        # An outer product, where broadcasting would need to know the rank.
        angles = jnp.tensordot(taus, frequencies, axes=0)
        return jax.nn.relu(hk.Linear(self._output_size)(jnp.cos(angles)))
