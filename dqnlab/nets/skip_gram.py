"""Word vectors: skip-gram with negative sampling (1310.4546)."""

from collections.abc import Sequence

import haiku as hk
import jax.numpy as jnp
import numpy as np

from dqnlab.types import Array


class SkipGram(hk.Module):
    """Two tables of vectors; the logit of a pair is the dot product of a row of each.

    Parameters: `skip_gram/center` and `skip_gram/context`, each `embeddings` [V, D]. The first are
    the word vectors.
    """

    def __init__(self, vocabulary: int, size: int, name: str | None = None):
        super().__init__(name=name)
        self._vocabulary = vocabulary
        self._size = size

    def __call__(self, center: Array, words: Array) -> Array:
        """int32[B] and int32[B, K] -> float32[B, K]: logits that these words stood near it."""
        init = hk.initializers.RandomUniform(-0.5 / self._size, 0.5 / self._size)
        context = hk.Embed(self._vocabulary, self._size, w_init=init, name="context")
        centers = hk.Embed(self._vocabulary, self._size, w_init=init, name="center")
        return jnp.einsum("bd,bkd->bk", centers(center), context(words))


def pairs(words: Sequence[int] | np.ndarray, window: int) -> np.ndarray:
    """int32[P, 2]: each word with each of the `window` words before and after it, in order."""
    words = np.asarray(words, np.int32)
    places = np.arange(len(words))[:, None]
    offsets = np.array([k for k in range(-window, window + 1) if k])
    near = places + offsets
    is_inside = (near >= 0) & (near < len(words))
    center = np.broadcast_to(words[:, None], near.shape)[is_inside]
    return np.stack([center, words[near[is_inside]]], axis=1)
