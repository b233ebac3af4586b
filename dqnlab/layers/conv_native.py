"""2-D convolution by the C++ kernels of `dqnlab.native`, on CPU."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from dqnlab import native

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]
Shape = tuple[int, ...]
Geometry = tuple[int, Pair, Pair]  # stride; zeros above and to the left; output's height and width


def is_served(x: jax.Array, w: Sequence[int], strides: Pair, pads: Pads, dtype: jnp.dtype) -> bool:
    """Whether there are kernels for this: whole vectors of channels, one stride."""
    return (
        (x.dtype == jnp.uint8 or w[2] % 16 == 0)  # bytes have no gradient
        and w[3] % 16 == 0
        and strides[0] == strides[1]
        and min(pads[0][0], pads[1][0]) >= 0
        and all(isinstance(n, int) for n in x.shape)  # not the symbols of a program for export
        and native.has(dtype)
    )


def conv2d_native(
    x: jax.Array, w: jax.Array, stride: int, pads: Pads, dtype: jnp.dtype
) -> jax.Array:
    """x [B, H, W, C] uint8 or `dtype`, w [kh, kw, C, N] -> float32 [B, H', W', N].

    For what `is_served`. Multiplies in `dtype` (w is rounded to it), adds in float32.
    """
    height, width = (
        (n + sum(p) - k) // stride + 1
        for n, p, k in zip(x.shape[1:3], pads, w.shape[:2], strict=True)
    )
    fill = [(0, -k % stride) for k in w.shape[:2]]  # the kernel's sides: multiples of the stride
    w = jnp.pad(w.astype(jnp.float32), (*fill, (0, 0), (0, 0)))
    geometry = stride, (pads[0][0], pads[1][0]), (height, width)
    return _forward(x, w, geometry, jnp.dtype(dtype).name)


# These three are one another's derivatives.


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _forward(x: jax.Array, w: jax.Array, geometry: Geometry, dtype: str) -> jax.Array:
    shape = (x.shape[0], *geometry[2], w.shape[3])
    return _call("forward", dtype, shape, "float32", geometry, x, w)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _input_gradient(
    g: jax.Array, w: jax.Array, geometry: Geometry, dtype: str, shape: Shape
) -> jax.Array:
    return _call("input_gradient", dtype, shape, dtype, geometry, g.astype(jnp.float32), w)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _weight_gradient(
    x: jax.Array, g: jax.Array, geometry: Geometry, dtype: str, shape: Shape
) -> jax.Array:
    return _call("weight_gradient", dtype, shape, "float32", geometry, x, g.astype(jnp.float32))


def _forward_bwd(
    geometry: Geometry, dtype: str, saved: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array | None, jax.Array]:
    x, w = saved
    dx = None if x.dtype == jnp.uint8 else _input_gradient(g, w, geometry, dtype, x.shape)
    return dx, _weight_gradient(x, g, geometry, dtype, w.shape)


def _input_gradient_bwd(
    geometry: Geometry,
    dtype: str,
    shape: Shape,
    saved: tuple[jax.Array, jax.Array],
    h: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    g, w = saved
    dg = _forward(h, w, geometry, dtype).astype(g.dtype)
    return dg, _weight_gradient(h, g, geometry, dtype, w.shape)


def _weight_gradient_bwd(
    geometry: Geometry,
    dtype: str,
    shape: Shape,
    saved: tuple[jax.Array, jax.Array],
    h: jax.Array,
) -> tuple[jax.Array | None, jax.Array]:
    x, g = saved
    dx = None if x.dtype == jnp.uint8 else _input_gradient(g, h, geometry, dtype, x.shape)
    return dx, _forward(x, h, geometry, dtype).astype(g.dtype)


_forward.defvjp(
    lambda x, w, geometry, dtype: (_forward(x, w, geometry, dtype), (x, w)), _forward_bwd
)
_input_gradient.defvjp(
    lambda g, w, geometry, dtype, shape: (
        _input_gradient(g, w, geometry, dtype, shape),
        (g, w),
    ),
    _input_gradient_bwd,
)
_weight_gradient.defvjp(
    lambda x, g, geometry, dtype, shape: (
        _weight_gradient(x, g, geometry, dtype, shape),
        (x, g),
    ),
    _weight_gradient_bwd,
)


def _call(
    part: str, dtype: str, shape: Shape, result: str, geometry: Geometry, *operands: jax.Array
) -> jax.Array:
    stride, (top, left), _ = geometry
    y: jax.Array = native.call(
        f"conv_{dtype}_{part}",
        jax.ShapeDtypeStruct(shape, jnp.dtype(result)),
        *operands,
        stride=np.int64(stride),
        top=np.int64(top),
        left=np.int64(left),
    )
    return y
