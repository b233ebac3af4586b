"""2-D convolution that is fast on CPU too: matrix products there, the primitive elsewhere.

XLA:CPU runs a convolution's gradient inside a loop (`lax.scan`) 20 to 50 times slower than
outside, and no bfloat16 convolution on the matrix units (AMX). Matrix products have neither
problem, so on CPU the layer is made of them:

1. Space-to-depth removes a stride: a k x k / s convolution is k/s x k/s / 1 over s*s*C channels.
2. Forward, 2 x 2 kernel: one product of the input with all 4 taps, then the 4 shifted slices are
   added. No patches are built: they would be 4 times the input. Larger kernels: patches along x,
   the same along y.
3. Gradient of the input: one product with all taps, shifted and added in float32.
4. Gradient of the weights: the small output gradient is transposed and shifted, not the input.
"""

import functools
from collections.abc import Callable, Sequence

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dqnlab.layers.cast import cast

Padding = str | Sequence[int | tuple[int, int]]
Window = int | Sequence[int]
Pair = tuple[int, int]


class Conv2D(hk.Module):
    """`hk.Conv2D` for NHWC: its parameters (w [kh, kw, C_in, C_out], b), defaults and output.

    Computes in the input's dtype with float32 accumulation. The products have reverse-mode
    derivatives only (`jax.grad`, also twice); `lowering="convolution"` has `jax.jvp` as well.

    Args:
      output_channels: C_out.
      kernel_shape, stride: one number or (height, width).
      padding: "VALID", "SAME" or (height, width), each one number or (before, after).
      with_bias, w_init, b_init: as in `hk.Conv2D`.
      lowering: "auto" (by platform), "products" or "convolution".
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
            y = y + jnp.broadcast_to(b.astype(y.dtype), y.shape)
        return cast(y, dtype)


def conv2d(
    x: jax.Array,
    w: jax.Array,
    stride: Window = 1,
    padding: Padding = "VALID",
    lowering: str = "auto",
    dtype: jnp.dtype | None = None,
) -> jax.Array:
    """x [B, H, W, C], w [kh, kw, C, N] -> float32 [B, H', W', N]; options as in `Conv2D`."""
    if lowering not in ("auto", "products", "convolution"):
        raise ValueError(f"lowering={lowering!r}: must be 'auto', 'products' or 'convolution'")
    strides = _pair(stride)
    pads = _pads(padding, x.shape[1:3], w.shape[:2], strides)
    dtype = x.dtype if dtype is None else jnp.dtype(dtype)
    products = functools.partial(_products, strides=strides, pads=pads, dtype=dtype)
    convolution = functools.partial(_convolution, strides=strides, pads=pads, dtype=dtype)
    if lowering == "products":
        return products(x, w)
    if lowering == "convolution":
        return convolution(x, w)
    y: jax.Array = lax.platform_dependent(x, w, cpu=products, default=convolution)
    return y


def _convolution(
    x: jax.Array, w: jax.Array, strides: Pair, pads: list[Pair], dtype: jnp.dtype
) -> jax.Array:
    y = lax.conv_general_dilated(
        x.astype(dtype), w.astype(dtype), strides, pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return y.astype(jnp.float32)


def _products(
    x: jax.Array, w: jax.Array, strides: Pair, pads: list[Pair], dtype: jnp.dtype
) -> jax.Array:
    # The kernel is filled with zeros to a multiple of the stride, the image padded or cropped
    # to what it then covers.
    geometry = zip(x.shape[1:3], w.shape[:2], strides, pads, strict=True)
    size = [(h + sum(p) - k) // s + 1 for h, k, s, p in geometry]
    taps = [-(-k // s) for k, s in zip(w.shape[:2], strides, strict=True)]
    need = [(n + t - 1) * s for n, t, s in zip(size, taps, strides, strict=True)]
    after = [n - h - p[0] for n, h, p in zip(need, x.shape[1:3], pads, strict=True)]
    zero = jnp.zeros((), x.dtype)
    edges = [(p[0], a, 0) for p, a in zip(pads, after, strict=True)]
    x = lax.pad(x, zero, [(0, 0, 0), *edges, (0, 0, 0)])
    fill = [(0, t * s - k) for t, s, k in zip(taps, strides, w.shape[:2], strict=True)]
    w = jnp.pad(w, (*fill, (0, 0), (0, 0)))
    if strides != (1, 1):
        x, w = space_to_depth(x, strides), _kernel_to_depth(w, strides)
    return _unit_stride(cast(x, dtype), w)  # bytes are moved as bytes and converted afterwards


def _kernel_to_depth(w: jax.Array, strides: tuple[int, int]) -> jax.Array:
    """[kh, kw, C, N] -> [kh/s, kw/s, s*s*C, N]."""
    (sy, sx), (kh, kw, c, n) = strides, w.shape
    w = w.reshape(kh // sy, sy, kw // sx, sx, c, n).transpose(0, 2, 1, 3, 4, 5)
    return w.reshape(kh // sy, kw // sx, sy * sx * c, n)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def space_to_depth(x: jax.Array, strides: tuple[int, int]) -> jax.Array:
    """[B, H, W, C] -> [B, H/s, W/s, s*s*C]; H and W are multiples of the strides."""
    (sy, sx), (b, h, w, c) = strides, x.shape
    # Four bytes at a time: a quarter of the elements. XLA cannot size a bitcast of symbolic shape.
    if x.dtype == jnp.uint8 and c % 4 == 0 and isinstance(b, int):
        words = lax.bitcast_convert_type(x.reshape(b, h, w, c // 4, 4), jnp.uint32)
        moved = lax.bitcast_convert_type(space_to_depth(words, strides), jnp.uint8)
        return moved.reshape(b, h // sy, w // sx, sy * sx * c)

    def to_depth(x: jax.Array) -> jax.Array:
        x = x.reshape(b, h // sy, sy, w // sx, sx, c).transpose(0, 1, 3, 2, 4, 5)
        return x.reshape(b, h // sy, w // sx, sy * sx * c)

    return _move(to_depth, x)


def _space_to_depth_fwd(x: jax.Array, strides: tuple[int, int]) -> tuple[jax.Array, None]:
    return space_to_depth(x, strides), None


def _space_to_depth_bwd(strides: tuple[int, int], _: None, g: jax.Array) -> tuple[jax.Array]:
    (sy, sx), (b, h, w, d) = strides, g.shape
    c = d // (sy * sx)

    def to_space(g: jax.Array) -> jax.Array:
        g = g.reshape(b, h, w, sy, sx, c).transpose(0, 1, 3, 2, 4, 5)
        return g.reshape(b, h * sy, w * sx, c)

    return (_move(to_space, g),)


space_to_depth.defvjp(_space_to_depth_fwd, _space_to_depth_bwd)


@jax.custom_vjp
def _unit_stride(x: jax.Array, w: jax.Array) -> jax.Array:
    """Stride 1, no padding: x [B, H, W, C], w [kh, kw, C, N] -> float32 [B, H-kh+1, W-kw+1, N]."""
    (b, height, width, c), (kh, kw, _, n) = x.shape, w.shape
    h_out, w_out = height - kh + 1, width - kw + 1
    w = cast(w, x.dtype)
    if kh * kw <= 4:
        w = w.transpose(2, 0, 1, 3).reshape(c, -1)
        z = _dot(x.reshape(-1, c), w, 1, 0).reshape(b, height, width, kh, kw, n)
        y = [z[:, i : i + h_out, j : j + w_out, i, j] for i in range(kh) for j in range(kw)]
    else:
        taps = range(kw)
        rows = _move(lambda x: lax.concatenate([x[:, :, j : j + w_out] for j in taps], 3), x)
        w = w.transpose(1, 2, 0, 3).reshape(kw * c, -1)
        z = _dot(rows.reshape(-1, kw * c), w, 1, 0).reshape(b, height, w_out, kh, n)
        y = [z[:, i : i + h_out, :, i] for i in range(kh)]
    return functools.reduce(jnp.add, y)


def _unit_stride_fwd(x: jax.Array, w: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _unit_stride(x, w), (x, w)


def _unit_stride_bwd(
    saved: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, w = saved
    (b, height, width, c), (kh, kw, _, n), (_, h_out, w_out, _) = x.shape, w.shape, g.shape
    taps = [(i, j) for i in range(kh) for j in range(kw)]
    edges = [((i, height - h_out - i, 0), (j, width - w_out - j, 0)) for i, j in taps]
    g = cast(g, x.dtype)

    # Input: padded and added in float32, as the product leaves it.
    dz = _dot(g.reshape(-1, n), cast(w, x.dtype).reshape(-1, n), 1, 1)
    dz = dz.reshape(b, h_out, w_out, kh * kw, c)
    keep = (0, 0, 0)
    dx = [lax.pad(dz[..., t, :], 0.0, (keep, *edge, keep)) for t, edge in enumerate(edges)]

    # Weights: [kh*kw*N, B*H*W] times [B*H*W, C], both laid out as the CPU's kernels want them.
    # The barriers keep XLA from merging the transposes into the product, which turns it round
    # and makes it 3 to 7 times slower.
    def shift(g: jax.Array) -> jax.Array:
        gt = _barrier(g.reshape(-1, n).T).reshape(n, b, h_out, w_out)
        zero = jnp.zeros((), gt.dtype)
        padded = [lax.pad(gt, zero, (keep, keep, *edge)) for edge in edges]
        return lax.concatenate(padded, 0).reshape(kh * kw * n, -1)

    dw = _barrier(_dot(_move(shift, g), x.reshape(-1, c), 1, 0))
    dw = dw.reshape(kh, kw, n, c).transpose(0, 1, 3, 2)
    return cast(functools.reduce(jnp.add, dx), x.dtype), dw.astype(w.dtype)


_unit_stride.defvjp(_unit_stride_fwd, _unit_stride_bwd)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _move(f: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """f(x) for an f that only moves elements. bfloat16 travels as its bits: XLA:CPU would convert
    to float32 and back, slowly. A bitcast has no gradient, f has its transpose.
    """
    if x.dtype != jnp.bfloat16:
        return f(x)
    return lax.bitcast_convert_type(f(lax.bitcast_convert_type(x, jnp.uint16)), x.dtype)


def _move_fwd(f: Callable[[jax.Array], jax.Array], x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return _move(f, x), x


def _move_bwd(f: Callable[[jax.Array], jax.Array], x: jax.Array, g: jax.Array) -> tuple[jax.Array]:
    return tuple(jax.linear_transpose(f, x)(g))


_move.defvjp(_move_fwd, _move_bwd)


def _barrier(x: jax.Array) -> jax.Array:
    y: jax.Array = lax.optimization_barrier(x)
    return y


def _dot(a: jax.Array, b: jax.Array, axis_a: int, axis_b: int) -> jax.Array:
    return lax.dot_general(
        a, b, (((axis_a,), (axis_b,)), ((), ())), preferred_element_type=jnp.float32
    )


def _pair(value: Window) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2:
        raise ValueError(f"{value!r}: one number or (height, width) expected")
    return pair


def _pads(
    padding: Padding, size: Sequence[int], kernel: Sequence[int], strides: tuple[int, int]
) -> list[tuple[int, int]]:
    if isinstance(padding, str):
        if padding not in ("SAME", "VALID"):
            raise ValueError(f"padding={padding!r}: 'SAME', 'VALID' or (height, width) expected")
        return [(int(a), int(b)) for a, b in lax.padtype_to_pads(size, kernel, strides, padding)]
    if len(padding) != 2:
        raise ValueError(f"padding={padding!r}: two entries expected, (height, width)")
    return [(p, p) if isinstance(p, int) else (p[0], p[1]) for p in padding]
