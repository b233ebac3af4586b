"""A convolution without weight sharing: each place of the image has filters of its own."""

import haiku as hk
import jax.numpy as jnp
import numpy as np

from dqnlab.types import Array


class LocallyConnected2D(hk.Module):
    """y[h, w, n] = b[h, w, n] + sum over the k x k patch at (h, w) of x w[h, w, patch, n].

    No padding: H' = (H - kh) // sy + 1. Parameters: w [H', W', kh, kw, C, N], b [H', W', N].
    """

    def __init__(
        self,
        output_channels: int,
        kernel_shape: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        w_init: hk.initializers.Initializer | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._output_channels = output_channels
        self._kernel = (
            (kernel_shape,) * 2 if isinstance(kernel_shape, int | np.integer) else kernel_shape
        )
        self._stride = (stride,) * 2 if isinstance(stride, int | np.integer) else stride
        self._w_init = w_init

    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] -> [B, H', W', N]; ValueError where the kernel is larger than the image."""
        (kh, kw), (sy, sx) = self._kernel, self._stride
        if x.ndim != 4 or kh > x.shape[1] or kw > x.shape[2]:
            raise ValueError(f"a {kh}x{kw} kernel takes [B, H>={kh}, W>={kw}, C], not {x.shape}")
        height, width = (x.shape[1] - kh) // sy + 1, (x.shape[2] - kw) // sx + 1
        # One strided slice of the image for each of the kernel's taps.
        slices = [
            x[:, i : i + sy * (height - 1) + 1 : sy, j : j + sx * (width - 1) + 1 : sx]
            for i in range(kh)
            for j in range(kw)
        ]
        patches = jnp.stack(slices, axis=3)  # [B, H', W', taps, C]
        shape = (height, width, kh, kw, x.shape[-1], self._output_channels)
        stddev = (kh * kw * x.shape[-1]) ** -0.5
        w_init = self._w_init or hk.initializers.TruncatedNormal(stddev)
        w = hk.get_parameter("w", shape, x.dtype, init=w_init)
        b = hk.get_parameter("b", (height, width, shape[-1]), x.dtype, init=jnp.zeros)
        y = jnp.einsum("bhwtc,hwtcn->bhwn", patches, w.reshape(height, width, kh * kw, *shape[-2:]))
        return y + b[None]
