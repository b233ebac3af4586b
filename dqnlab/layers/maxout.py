"""A dense layer whose activation is learnt: the maximum of several linear maps."""

import haiku as hk

from dqnlab.types import Array


class Maxout(hk.Module):
    """y_i = max_k (W_ik x + b_ik) (Goodfellow et al. 2013, 1302.4389)."""

    def __init__(self, output_size: int, num_pieces: int = 2, name: str | None = None):
        super().__init__(name=name)
        self._output_size = output_size
        self._num_pieces = num_pieces

    def __call__(self, x: Array) -> Array:
        """[B, D] -> [B, output_size]."""
        pieces: Array = hk.Linear(self._output_size * self._num_pieces)(x)
        return pieces.reshape(x.shape[0], self._output_size, self._num_pieces).max(axis=-1)
