"""Additive attention (Bahdanau, Cho & Bengio, 1409.0473)."""

import haiku as hk
import jax
import jax.numpy as jnp

from dqnlab.layers.recurrent import time_distributed
from dqnlab.types import Array


class AdditiveAttention(hk.Module):
    """Which positions of a memory matter to a query: softmax over s of v . tanh(W q + U m_s + b).

    `project` multiplies the memory by U once; each step of a decoder then calls `attend`.
    """

    def __init__(self, size: int, name: str | None = None):
        super().__init__(name=name)
        self._size = size

    def project(self, memory: Array) -> Array:
        """[S, B, M] -> [S, B, size]."""
        return time_distributed(hk.Linear(self._size, name="memory"), memory)

    def attend(
        self, query: Array, memory: Array, projected: Array, mask: Array | None = None
    ) -> tuple[Array, Array]:
        """The weighted mean of the memory, and the weights.

        Args:
          query: [B, Q].
          memory: [S, B, M], and `projected` what `project` made of it.
          mask: bool[S, B], False where the memory is padding: its weight is exactly 0. Each column
            needs one True.

        Returns: context [B, M] and weights [S, B], which sum to 1 over S.
        """
        from_query = hk.Linear(self._size, with_bias=False, name="query")(query)
        hidden = jnp.tanh(projected + jnp.broadcast_to(from_query, projected.shape))
        v = hk.get_parameter(
            "v", (self._size,), init=hk.initializers.TruncatedNormal(self._size**-0.5)
        )
        scores = hidden @ v
        if mask is not None:
            scores = jnp.where(mask, scores, -jnp.inf)
        weights = jax.nn.softmax(scores, axis=0)
        return jnp.einsum("sb,sbm->bm", weights, memory), weights

    def __call__(
        self, query: Array, memory: Array, mask: Array | None = None
    ) -> tuple[Array, Array]:
        """`attend` for a single query: (context [B, M], weights [S, B])."""
        return self.attend(query, memory, self.project(memory), mask)
