"""A dense layer that explores by itself: noisy networks."""

import math
from collections.abc import Sequence

import haiku as hk
import jax
import jax.numpy as jnp

from dqnlab.layers.cast import cast
from dqnlab.layers.dense import product
from dqnlab.types import Array


class NoisyLinear(hk.Module):
    """y = (w + w_sigma ∘ ε_w) x + b + b_sigma ∘ ε_b with factorised Gaussian noise (1706.10295).

    One noise serves the whole batch; each call with noise draws another. The mean parameters
    `w` and `b` have the names and shapes of `hk.Linear`. `dtype` is that of the product, as in
    `Dense`: parameters, noise and output are float32. `limit` truncates the Gaussian noise, in
    standard deviations.
    """

    def __init__(
        self,
        output_size: int,
        sigma0: float = 0.5,
        dtype: jnp.dtype = jnp.float32,
        limit: float | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._output_size = output_size
        self._sigma0 = sigma0
        self._dtype = dtype
        self._limit = limit

    def __call__(self, x: Array, is_noisy: bool) -> Array:
        """[B, P] -> float32[B, Q]; consumes a random key only where `is_noisy`."""
        p, q = x.shape[-1], self._output_size
        bound = 1.0 / math.sqrt(p)

        def mean(shape: Sequence[int], dtype: jnp.dtype) -> Array:
            return jax.random.uniform(hk.next_rng_key(), shape, dtype, -bound, bound)

        sigma = hk.initializers.Constant(self._sigma0 * bound)
        w = hk.get_parameter("w", (p, q), jnp.float32, init=mean)
        b = hk.get_parameter("b", (q,), jnp.float32, init=mean)
        w_sigma = hk.get_parameter("w_sigma", (p, q), jnp.float32, init=sigma)
        b_sigma = hk.get_parameter("b_sigma", (q,), jnp.float32, init=sigma)
        if is_noisy:
            key_p, key_q = jax.random.split(hk.next_rng_key())
            noise_p = scaled_noise(key_p, p, self._limit)
            noise_q = scaled_noise(key_q, q, self._limit)
            w = w + w_sigma * jnp.outer(noise_p, noise_q)  # eq. 10
            b = b + b_sigma * noise_q  # eq. 11
        y = product(cast(x, self._dtype), w)
        return y + jnp.broadcast_to(b, y.shape)


def scaled_noise(key: Array, size: int, limit: float | None = None) -> Array:
    """f(ε) = sign(ε) √|ε| of Gaussian ε (1706.10295, section 3), |ε| < limit -> float32[size]."""
    if limit is None:
        noise = jax.random.normal(key, (size,))
    else:
        noise = jax.random.truncated_normal(key, -limit, limit, (size,))
    return jnp.sign(noise) * jnp.sqrt(jnp.abs(noise))
