"""Torsos: from an observation to features. Heads, for Q-values or classes, go on top."""

import math
from collections.abc import Sequence

import haiku as hk
import jax
import jax.numpy as jnp

from dqnlab.layers.conv import Conv2D
from dqnlab.layers.dense import Dense
from dqnlab.types import Array


def fan_in_uniform(fan_in: int) -> hk.initializers.Initializer:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)), for weights and biases alike.

    Torch 7's default and so the initialisation of the published DQN; DQN Zoo keeps it.
    """
    bound = 1.0 / math.sqrt(fan_in)
    return hk.initializers.RandomUniform(-bound, bound)


def unit_scale(obs: Array, dtype: jnp.dtype) -> Array:
    """Images uint8 0..255 become `dtype` 0..1; anything else is only cast."""
    if obs.dtype == jnp.uint8:
        return obs.astype(dtype) * jnp.asarray(1 / 255, dtype)
    return obs.astype(dtype)


class NatureTorso(hk.Module):
    """The three convolutions of Nature DQN (Mnih et al. 2015): 32 8x8/4, 64 4x4/2, 64 3x3/1.

    `width` multiplies the channels; 1 is as published.

    Takes [B, H, W, C] with H, W >= 36, uint8 (divided by 255) or float; [B, 84, 84, C] gives
    [B, 3136], or [B, 7744] with padding "SAME" (Dopamine). The dense layer of 512 units belongs
    to the head, which may need two of them.

    `centred` takes each frame's background off first (ours, see `Conv2D`; docs/agents.md).
    Such a torso has another name: weights learnt with it mean nothing without it.
    """

    def __init__(
        self,
        dtype: jnp.dtype = jnp.float32,
        padding: str = "VALID",
        centred: bool = False,
        width: float = 1,
        name: str | None = None,
    ):
        super().__init__(name=name or ("centred_nature_torso" if centred else "nature_torso"))
        self._dtype = dtype
        self._padding = padding
        self._centred = centred
        self._width = width

    def __call__(self, obs: Array) -> Array:
        """[B, H, W, C] -> [B, features]; ValueError for frames under 36 x 36."""
        if obs.ndim != 4 or min(obs.shape[1:3]) < 36:
            raise ValueError(f"the Nature torso takes [B, H>=36, W>=36, C], not {obs.shape}")
        x, centred = obs, self._centred
        for channels, kernel, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
            init = fan_in_uniform(kernel * kernel * x.shape[-1])
            conv = Conv2D(
                round(self._width * channels),
                kernel,
                stride,
                padding=self._padding,
                w_init=init,
                b_init=init,
                dtype=self._dtype,
                scale=1 / 255 if x.dtype == jnp.uint8 else 1.0,
                centred=centred,
            )
            x, centred = jax.nn.relu(conv(x)), False
        return x.reshape(x.shape[0], -1)


class MLP(hk.Module):
    """Dense layers with ReLU after each one, over the flattened observation.

    For vectors and for images too small for the Nature torso (Catch is 10 x 5).
    """

    def __init__(
        self,
        sizes: Sequence[int] = (256,),
        dtype: jnp.dtype = jnp.float32,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._sizes = sizes
        self._dtype = dtype

    def __call__(self, obs: Array) -> Array:
        """[B, ...] -> [B, sizes[-1]]."""
        x = unit_scale(obs, self._dtype).reshape(obs.shape[0], -1)
        for size in self._sizes:
            init = fan_in_uniform(x.shape[-1])
            x = jax.nn.relu(Dense(size, self._dtype, w_init=init, b_init=init)(x))
        return x
