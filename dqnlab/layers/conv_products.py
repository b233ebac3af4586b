"""2-D convolution as matrix products: what the CPU multiplies fastest for Nature DQN's layers.

XLA:CPU runs a convolution's gradient inside a loop (`lax.scan`) 20 to 50 times slower than
outside, and no bfloat16 convolution on the matrix units (AMX). Matrix products have neither
problem, so the layer is made of them:

1. Space-to-depth removes a stride: a k x k / s convolution is k/s x k/s / 1 over s*s*C channels.
2. Forward, 2 x 2 kernel: one product of the input with all 4 taps, then the 4 shifted slices are
   added. No patches are built: they would be 4 times the input. Larger kernels: patches along x,
   the same along y.
3. Gradient of the input: one product with all taps, shifted and added in float32.
4. Gradient of the weights: the small output gradient is transposed and shifted, not the input.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from dqnlab.layers.cast import cast

Pair = tuple[int, int]


def conv2d_products(
    x: jax.Array, w: jax.Array, strides: Pair, pads: Sequence[Pair], dtype: jnp.dtype
) -> jax.Array:
    """x [B, H, W, C], w [kh, kw, C, N], padded by `pads` -> float32 [B, H', W', N]."""
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
