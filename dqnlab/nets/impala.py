"""The deep residual torso of IMPALA, with the options of its successors."""

import contextlib

import haiku as hk
import jax
import jax.numpy as jnp

from dqnlab.layers.conv import Conv2D
from dqnlab.layers.pool import adaptive_max_pool, max_pool
from dqnlab.layers.spectral import spectral_norm
from dqnlab.types import Array


class ImpalaTorso(hk.Module):
    """The large network of 1802.01561 (figure 3) up to its dense layer, which belongs to the head.

    Three stacks of 16, 32 and 32 channels, times `width`: convolution 3x3, max-pool 3x3/2, two
    residual blocks of two convolutions. Options:
      use_spectral_norm  on the twelve residual convolutions (BTR, 2411.03820; its estimates are
                         the net state)
      pool_size          adaptive max-pool to pool_size x pool_size (BTR: 6); None leaves 11 x 11
      use_layer_norm     over the channels, before every ReLU; no paper agrees on the place
    Frames of 84 x 84 give 3872 features; with width 2 and pool_size 6, as in BTR, 2304.
    """

    def __init__(
        self,
        width: float = 1,
        *,
        use_spectral_norm: bool = False,
        pool_size: int | None = None,
        use_layer_norm: bool = False,
        dtype: jnp.dtype = jnp.float32,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._width = width
        self._use_spectral_norm = use_spectral_norm
        self._pool_size = pool_size
        self._use_layer_norm = use_layer_norm
        self._dtype = dtype

    def __call__(self, obs: Array, is_training: bool) -> Array:
        """[B, H, W, C], uint8 (divided by 255) or float -> [B, features].

        `is_training` lets the call move the estimates of spectral normalisation.
        """
        x = obs
        for channels in (round(self._width * c) for c in (16, 32, 32)):
            scale = 1 / 255 if x.dtype == jnp.uint8 else 1.0
            x = max_pool(Conv2D(channels, 3, dtype=self._dtype, scale=scale)(x))
            for _ in range(2):
                x = x + _residual(x, is_training, self._use_spectral_norm, self._use_layer_norm)
        x = _relu(x, self._use_layer_norm)
        if self._pool_size is not None:
            x = adaptive_max_pool(x, self._pool_size, self._pool_size)
        return x.reshape(x.shape[0], -1)


# Functions and not methods: Haiku counts names anew in each call of a method, so that layers made
# by a method called twice would share their weights.


def _residual(x: Array, is_training: bool, use_spectral_norm: bool, use_layer_norm: bool) -> Array:
    def conv(x: Array) -> Array:
        return Conv2D(x.shape[-1], 3, dtype=x.dtype, name="residual")(_relu(x, use_layer_norm))

    with spectral_norm(is_training) if use_spectral_norm else contextlib.nullcontext():
        return conv(conv(x))


def _relu(x: Array, use_layer_norm: bool) -> Array:
    if use_layer_norm:
        x = hk.LayerNorm(axis=-1, create_scale=True, create_offset=True)(x)
    return jax.nn.relu(x)
