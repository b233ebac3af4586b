"""A dense layer of which single weights, not units, are dropped in training."""

import haiku as hk
import jax
import jax.numpy as jnp

from dqnlab.types import Array


class DropConnect(hk.Module):
    """y = (W ∘ m / keep) x + b, m ~ Bernoulli(keep) (Wan et al. 2013); m = keep at evaluation.

    One mask for each example, as in the paper: a [D, N] mask of its own would be too many random
    numbers for large layers, so one is drawn per batch where `is_shared`. The parameters have the
    names and shapes of `hk.Linear`.
    """

    def __init__(
        self,
        output_size: int,
        keep: float = 0.5,
        is_shared: bool = False,
        name: str | None = None,
    ):
        super().__init__(name=name)
        if not 0 < keep <= 1:
            raise ValueError(f"keep is {keep}; it must be in (0, 1]")
        self._output_size = output_size
        self._keep = keep
        self._is_shared = is_shared

    def __call__(self, x: Array, is_training: bool) -> Array:
        """[B, D] -> [B, output_size]; consumes a random key where `is_training` and keep < 1."""
        size = x.shape[-1]
        init = hk.initializers.TruncatedNormal(size**-0.5)
        w = hk.get_parameter("w", (size, self._output_size), x.dtype, init=init)
        b = hk.get_parameter("b", (self._output_size,), x.dtype, init=jnp.zeros)
        if not is_training or self._keep == 1:
            return x @ w + b[None]
        batch = 1 if self._is_shared else x.shape[0]
        mask = jax.random.bernoulli(hk.next_rng_key(), self._keep, (batch, *w.shape))
        dropped = jnp.where(mask, w[None] / self._keep, 0.0)
        if self._is_shared:
            return x @ dropped[0] + b[None]
        return jnp.einsum("bd,bdn->bn", x, dropped) + b[None]
