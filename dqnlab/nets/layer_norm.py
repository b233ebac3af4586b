"""A Q-network that LayerNorm keeps stable without a target network."""

from collections.abc import Sequence

import haiku as hk
import jax
import jax.numpy as jnp

from dqnlab.layers.conv import Conv2D
from dqnlab.layers.dense import Dense
from dqnlab.nets.torso import unit_scale
from dqnlab.types import Array

NATURE = ((32, 8, 4), (64, 4, 2), (64, 3, 1))  # channels, kernel, stride (Mnih et al. 2015)


class LayerNormQNetwork(hk.Module):
    """PQN's network (2407.04811): LayerNorm over the channels after every convolution and layer.

    With `convolutions` and one hidden layer it is the one of the authors' Atari runs
    (purejaxql/pqn_atari.py); without, an MLP for vectors and small images. He-normal weights.
    """

    def __init__(
        self,
        num_actions: int,
        convolutions: Sequence[tuple[int, int, int]] = NATURE,
        hidden: Sequence[int] = (512,),
        dtype: jnp.dtype = jnp.float32,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._num_actions = num_actions
        self._convolutions = convolutions
        self._hidden = hidden
        self._dtype = dtype

    def __call__(self, obs: Array) -> Array:
        """[B, ...], uint8 (divided by 255) or float -> float32[B, A]."""
        he_normal = hk.initializers.VarianceScaling(2.0, "fan_in", "truncated_normal")
        x = obs if self._convolutions else unit_scale(obs, self._dtype)
        for channels, kernel, stride in self._convolutions:
            scale = 1 / 255 if x.dtype == jnp.uint8 else 1.0
            conv = Conv2D(
                channels, kernel, stride, "VALID", w_init=he_normal, dtype=self._dtype, scale=scale
            )
            x = _normalize(conv(x), self._dtype)
        x = x.reshape(x.shape[0], -1)
        for size in self._hidden:
            x = _normalize(Dense(size, self._dtype, w_init=he_normal)(x), self._dtype)
        return Dense(self._num_actions, self._dtype, name="q")(x)


# A function: layers made by a method that is called twice would share their weights.
def _normalize(x: Array, dtype: jnp.dtype) -> Array:
    # Statistics in float32, for bfloat16 has 8 bits; eps as in Flax, which the authors use.
    norm = hk.LayerNorm(axis=-1, create_scale=True, create_offset=True, eps=1e-6)
    return jax.nn.relu(norm(x.astype(jnp.float32))).astype(dtype)
