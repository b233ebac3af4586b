"""LeNet: convolution and pooling twice, then dense layers."""

from collections.abc import Sequence

import haiku as hk
import jax
import jax.numpy as jnp

from dqnlab.layers.conv import Conv2D
from dqnlab.layers.dense import Dense
from dqnlab.nets.torso import unit_scale
from dqnlab.types import Array

_HE = hk.initializers.VarianceScaling(2.0, "fan_in", "truncated_normal")


class LeNet(hk.Module):
    """LeNet-5 (LeCun et al. 1998) with ReLU, max-pooling and logits instead of its RBF units.

    Its maps, kernels and dense layers are the defaults: 6 and 16 maps of 5 x 5, 120 and 84 units;
    28 x 28 images with padding "SAME" in the first layer only have 61,706 parameters.
    """

    def __init__(
        self,
        num_classes: int,
        channels: Sequence[int] = (6, 16),
        kernel: int = 5,
        paddings: Sequence[str] = ("SAME", "VALID"),
        hidden: Sequence[int] = (120, 84),
        dropout: float = 0.0,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._num_classes = num_classes
        self._channels = channels
        self._kernel = kernel
        self._paddings = paddings
        self._hidden = hidden
        self._dropout = dropout

    def __call__(self, images: Array, is_training: bool) -> Array:
        """[B, H, W, C], uint8 (divided by 255) or float -> logits [B, num_classes].

        Consumes a random key where `is_training` and dropout (before each dense layer) is above 0.
        """
        x = unit_scale(images, jnp.float32)
        for channels, padding in zip(self._channels, self._paddings, strict=True):
            x = jax.nn.relu(Conv2D(channels, self._kernel, padding=padding, w_init=_HE)(x))
            x = _halve(x)
        x = x.reshape(x.shape[0], -1)
        for size in self._hidden:
            x = jax.nn.relu(Dense(size, w_init=_HE)(self._drop(x, is_training)))
        return Dense(self._num_classes)(self._drop(x, is_training))

    def _drop(self, x: Array, is_training: bool) -> Array:
        if not is_training or not self._dropout:
            return x
        dropped: Array = hk.dropout(hk.next_rng_key(), self._dropout, x)
        return dropped


def _halve(x: Array) -> Array:
    # Max-pooling 2 x 2 as a maximum over a reshaped array: the gradient of the windowed primitive
    # is a scatter, several times slower on CPU.
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))
