"""2-D convolution that is fast on CPU too: computed as platform and shape want it."""

import functools
import math
from collections.abc import Sequence

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dqnlab.layers.cast import cast
from dqnlab.layers.conv_native import conv2d_native, is_served
from dqnlab.layers.conv_plain import conv2d_plain
from dqnlab.layers.conv_products import conv2d_products

Padding = str | Sequence[int | tuple[int, int]]
Window = int | Sequence[int]
Pair = tuple[int, int]
Pads = tuple[Pair, Pair]

LOWERINGS = ("auto", "native", "products", "plain", "convolution")


class Conv2D(hk.Module):
    """`hk.Conv2D` for NHWC: its parameters (w [kh, kw, C_in, C_out], b), defaults and output.

    Computes in the input's dtype with float32 accumulation. `lowering="convolution"` alone has
    `jax.jvp` as well; the others have reverse-mode derivatives (`jax.grad`, also twice).

    Args:
      output_channels: C_out.
      kernel_shape, stride: one number or (height, width).
      padding: "VALID", "SAME" or (height, width), each one number or (before, after).
      with_bias, w_init, b_init: as in `hk.Conv2D`.
      scale: the input is multiplied by this.
      centred: subtract each channel's background (the median of every fourth row of its own image)
        before convolving, so that a filter answers 0 to a uniform background. The background counts
        as a constant: gradients into the input pass it by. Needs "VALID" padding, since padding
        adds zeros after the subtraction would have happened.
      lowering: "native" (`dqnlab.native`, where there is a kernel), "products", "plain" (stride 1
        only), "convolution"; "auto" by platform and shape.
    """

    def __init__(
        self,
        output_channels: int,
        kernel_shape: Window,
        stride: Window = 1,
        padding: Padding = "SAME",
        with_bias: bool = True,
        w_init: hk.initializers.Initializer | None = None,
        b_init: hk.initializers.Initializer | None = None,
        lowering: str = "auto",
        dtype: jnp.dtype | None = None,
        scale: float = 1.0,
        centred: bool = False,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.output_channels = output_channels
        self.kernel_shape = _pair(kernel_shape)
        self.stride = _pair(stride)
        self.padding = padding
        self.with_bias = with_bias
        self.w_init = w_init
        self.b_init = b_init or jnp.zeros
        self.lowering = lowering
        self.dtype = dtype
        self.scale = scale
        self.centred = centred
        if centred and not (with_bias and padding == "VALID"):
            raise ValueError("a centred convolution has a bias and padding='VALID'")

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C_in] (or without B) -> [B, H', W', C_out] in x's dtype."""
        if x.ndim == 3:
            return self(x[None])[0]
        shape = (*self.kernel_shape, x.shape[-1], self.output_channels)
        stddev = 1.0 / np.sqrt(np.prod(shape[:-1]))
        w_init = self.w_init or hk.initializers.TruncatedNormal(stddev)
        dtype = x.dtype if self.dtype is None else self.dtype
        param_dtype = x.dtype if self.dtype is None else jnp.float32
        w = hk.get_parameter("w", shape, param_dtype, init=w_init)
        # A scale on the kernel costs nothing; on the input, a pass over the whole batch.
        w = w if self.scale == 1 else w * self.scale
        y = conv2d(x, w, self.stride, self.padding, self.lowering, dtype)
        if self.with_bias:
            b = hk.get_parameter("b", (self.output_channels,), param_dtype, init=self.b_init)
            b = b.astype(y.dtype)
            if self.centred:  # as part of the bias: the input itself stays bytes
                background = lax.stop_gradient(_background(x)).astype(y.dtype)
                b = (b[None] - background @ w.sum((0, 1)))[:, None, None]
            y = y + jnp.broadcast_to(b, y.shape)
        return cast(y, dtype)


def _background(x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, C], each channel's (upper) median over every fourth row.

    Bytes are bisected, with eight comparisons and sums: a sort would cost more than the layer.
    """
    batch, _, width, channels = x.shape
    rows = x[:, ::4]
    middle = rows.shape[1] * width // 2
    if x.dtype != jnp.uint8:
        return jnp.sort(rows.reshape(batch, -1, channels), axis=1)[:, middle]
    rows = rows.reshape(batch, -1, width * channels)
    at_least = rows.shape[1] * width - middle  # so many pixels are as bright as the median

    def next_bit(i: int, found: jax.Array) -> jax.Array:
        tried = found + (128 >> i)
        columns = jnp.tile(tried.astype(jnp.uint8), (1, width))[:, None]
        # Up to 65,535 rows fit 16 bits: XLA:CPU adds 32 columns at once.
        count = (rows >= columns).astype(jnp.uint16).sum(1, dtype=jnp.uint16)
        count = count.reshape(batch, width, channels).astype(jnp.int32).sum(1)
        return jnp.where(count >= at_least, tried, found)

    found: jax.Array = lax.fori_loop(0, 8, next_bit, jnp.zeros((batch, channels), jnp.int32))
    return found


def conv2d(
    x: jax.Array,
    w: jax.Array,
    stride: Window = 1,
    padding: Padding = "VALID",
    lowering: str = "auto",
    dtype: jnp.dtype | None = None,
) -> jax.Array:
    """x [B, H, W, C], w [kh, kw, C, N] -> float32 [B, H', W', N]; options as in `Conv2D`."""
    if lowering not in LOWERINGS:
        raise ValueError(f"lowering={lowering!r}: must be one of {', '.join(LOWERINGS)}")
    strides = _pair(stride)
    pads = _pads(padding, x.shape[1:3], w.shape[:2], strides)
    dtype = x.dtype if dtype is None else jnp.dtype(dtype)
    if lowering == "plain" and strides != (1, 1):
        raise ValueError(f"lowering='plain' has stride 1 only, not {strides}")
    if lowering == "native" and not is_served(x, w.shape, strides, pads, dtype):
        raise ValueError(
            "lowering='native' needs a compiler, float32 or (AMX or AVX512_BF16) bfloat16, one "
            "stride, and channels in multiples of 16 (of the input: or bytes), not "
            f"{x.dtype}{list(x.shape)} as {dtype}, w {list(w.shape)}, strides {strides}"
        )

    def compute(x: jax.Array, w: jax.Array, lowering: str) -> jax.Array:
        if lowering == "native":
            x = x if x.dtype == jnp.uint8 else cast(x, dtype)
            return conv2d_native(x, w, strides[0], pads, dtype)
        if lowering == "products":
            return conv2d_products(x, w, strides, pads, dtype)
        if lowering == "plain":
            return conv2d_plain(cast(x, dtype), w, pads)
        return _convolution(x, w, strides, pads, dtype)

    if lowering != "auto":
        return compute(x, w, lowering)
    on_cpu = _fastest_on_cpu(x, w.shape, strides, pads, dtype)
    y: jax.Array = lax.platform_dependent(
        x,
        w,
        cpu=functools.partial(compute, lowering=on_cpu),
        default=functools.partial(compute, lowering="convolution"),
    )
    return y


def _fastest_on_cpu(
    x: jax.Array, w: Sequence[int], strides: Pair, pads: Pads, dtype: jnp.dtype
) -> str:
    if is_served(x, w, strides, pads, dtype):
        return "native"
    # Products win where space-to-depth makes the channels many, and on small images of many
    # channels in bfloat16 (AMX). Impala's 3 x 3 kernels over large images of few channels would
    # move 12 bytes for each one that they multiply.
    pixels = math.prod(
        n + sum(p) - k + 1 for n, k, p in zip(x.shape[1:3], w[:2], pads, strict=True)
    )
    is_plain = strides == (1, 1) and w[0] * w[1] > 4 and pixels > 100
    return "plain" if is_plain else "products"


def _convolution(
    x: jax.Array, w: jax.Array, strides: Pair, pads: Pads, dtype: jnp.dtype
) -> jax.Array:
    y = lax.conv_general_dilated(
        x.astype(dtype), w.astype(dtype), strides, pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return y.astype(jnp.float32)


def _pair(value: Window) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int | np.integer) else tuple(value)
    if len(pair) != 2:
        raise ValueError(f"{value!r}: one number or (height, width) expected")
    return pair


def _pads(
    padding: Padding, size: Sequence[int], kernel: Sequence[int], strides: tuple[int, int]
) -> Pads:
    if isinstance(padding, str):
        if padding not in ("SAME", "VALID"):
            raise ValueError(f"padding={padding!r}: 'SAME', 'VALID' or (height, width) expected")
        (top, bottom), (left, right) = lax.padtype_to_pads(size, kernel, strides, padding)
        return (int(top), int(bottom)), (int(left), int(right))
    if len(padding) != 2:
        raise ValueError(f"padding={padding!r}: two entries expected, (height, width)")
    rows, columns = ((p, p) if isinstance(p, int | np.integer) else (p[0], p[1]) for p in padding)
    return rows, columns
