"""Torsos and a head with LayerNorm before every ReLU, stable without a target network.

PQN's Q-network (2407.04811, purejaxql/pqn_atari.py) is LayerNormNature and LayerNormHead: the
layers of Nature DQN, normalised over the channels, with he-normal weights and zero biases.
"""

from collections.abc import Sequence

import haiku as hk
import jax.numpy as jnp

from dqnlab.layers.conv import Conv2D
from dqnlab.layers.dense import Dense
from dqnlab.layers.normalized_relu import NormalizedReLU
from dqnlab.nets.torso import unit_scale
from dqnlab.types import Array


class LayerNormNature(hk.Module):
    """The three convolutions of Nature DQN: [B, H, W, C] with H, W >= 36 -> [B, F].

    `width` multiplies the channels; 1 is as published.
    """

    def __init__(self, dtype: jnp.dtype = jnp.float32, width: float = 1, name: str | None = None):
        super().__init__(name=name)
        self._dtype = dtype
        self._width = width

    def __call__(self, obs: Array) -> Array:
        """uint8 (divided by 255) or float [B, H, W, C] -> [B, F]."""
        x = obs
        for channels, kernel, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
            conv = Conv2D(
                round(self._width * channels),
                kernel,
                stride,
                padding="VALID",
                w_init=_HE_NORMAL,
                dtype=self._dtype,
                scale=1 / 255 if x.dtype == jnp.uint8 else 1.0,
            )
            x = NormalizedReLU(self._dtype)(conv(x))
        return x.reshape(x.shape[0], -1)


class LayerNormMLP(hk.Module):
    """Dense layers over the flattened observation: [B, ...] -> [B, sizes[-1]]."""

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
        """uint8 (divided by 255) or float [B, ...] -> [B, sizes[-1]]."""
        x = unit_scale(obs, self._dtype).reshape(obs.shape[0], -1)
        for size in self._sizes:
            x = NormalizedReLU(self._dtype)(Dense(size, self._dtype, w_init=_HE_NORMAL)(x))
        return x


class LayerNormHead(hk.Module):
    """One hidden layer, then a Q-value for each action: [B, F] -> float32[B, A]."""

    def __init__(
        self,
        num_actions: int,
        hidden: int = 512,
        dtype: jnp.dtype = jnp.float32,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._num_actions = num_actions
        self._hidden = hidden
        self._dtype = dtype

    def __call__(self, features: Array) -> Array:
        """[B, F] -> float32[B, A]."""
        x = LayerNormMLP((self._hidden,), self._dtype)(features)
        return Dense(self._num_actions, self._dtype, name="q")(x)


_HE_NORMAL = hk.initializers.VarianceScaling(2.0, "fan_in", "truncated_normal")
