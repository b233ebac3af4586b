"""2-D convolution on the matrix units of x86 CPUs, by the kernels of `dqnlab.native`."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from dqnlab import native

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]
Geometry = tuple[int, Pair, Pair]  # stride; zeros above and to the left; output's height and width


def is_served(x: jax.Array, w: Sequence[int], strides: Pair, pads: Pads, dtype: jnp.dtype) -> bool:
    """Whether there are kernels for this: bfloat16, whole tiles of channels, one stride."""
    return (
        dtype == jnp.bfloat16
        and (x.dtype == jnp.uint8 or w[2] % 16 == 0)  # bytes have no gradient
        and w[3] % 16 == 0
        and strides[0] == strides[1]
        and min(pads[0][0], pads[1][0]) >= 0
        and all(isinstance(n, int) for n in x.shape)  # not the symbols of a program for export
        and native.has_amx()
    )


def conv2d_amx(x: jax.Array, w: jax.Array, stride: int, pads: Pads) -> jax.Array:
    """x uint8 or bfloat16 [B, H, W, C], w [kh, kw, C, N] -> float32 [B, H', W', N].

    w is rounded to bfloat16, sums are float32. For what `is_served`.
    """
    height, width = (
        (n + sum(p) - k) // stride + 1
        for n, p, k in zip(x.shape[1:3], pads, w.shape[:2], strict=True)
    )
    fill = [(0, -k % stride) for k in w.shape[:2]]  # the kernel's sides: multiples of the stride
    w = jnp.pad(w.astype(jnp.float32), (*fill, (0, 0), (0, 0)))
    return _forward(x, w, (stride, (pads[0][0], pads[1][0]), (height, width)))


# These three are one another's derivatives.


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _forward(x: jax.Array, w: jax.Array, geometry: Geometry) -> jax.Array:
    return _call("forward", (x.shape[0], *geometry[2], w.shape[3]), geometry, x, w)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _input_gradient(
    g: jax.Array, w: jax.Array, geometry: Geometry, shape: tuple[int, ...]
) -> jax.Array:
    return _call("input_gradient", shape, geometry, g.astype(jnp.float32), w)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _weight_gradient(
    x: jax.Array, g: jax.Array, geometry: Geometry, shape: tuple[int, ...]
) -> jax.Array:
    return _call("weight_gradient", shape, geometry, x, g.astype(jnp.float32))


def _forward_bwd(
    geometry: Geometry, saved: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array | None, jax.Array]:
    x, w = saved
    dw = _weight_gradient(x, g, geometry, w.shape)
    return None if x.dtype == jnp.uint8 else _input_gradient(g, w, geometry, x.shape), dw


def _input_gradient_bwd(
    geometry: Geometry, shape: tuple[int, ...], saved: tuple[jax.Array, jax.Array], h: jax.Array
) -> tuple[jax.Array, jax.Array]:
    g, w = saved
    return _forward(h, w, geometry), _weight_gradient(h, g, geometry, w.shape)


def _weight_gradient_bwd(
    geometry: Geometry, shape: tuple[int, ...], saved: tuple[jax.Array, jax.Array], h: jax.Array
) -> tuple[jax.Array | None, jax.Array]:
    x, g = saved
    dx = None if x.dtype == jnp.uint8 else _input_gradient(g, h, geometry, x.shape)
    return dx, _forward(x, h, geometry)


_forward.defvjp(lambda x, w, geometry: (_forward(x, w, geometry), (x, w)), _forward_bwd)
_input_gradient.defvjp(
    lambda g, w, geometry, shape: (_input_gradient(g, w, geometry, shape), (g, w)),
    _input_gradient_bwd,
)
_weight_gradient.defvjp(
    lambda x, g, geometry, shape: (_weight_gradient(x, g, geometry, shape), (x, g)),
    _weight_gradient_bwd,
)


def _call(part: str, shape: tuple[int, ...], geometry: Geometry, *operands: jax.Array) -> jax.Array:
    stride, (top, left), _ = geometry
    dtype = jnp.bfloat16 if part == "input_gradient" else jnp.float32
    result = jax.ShapeDtypeStruct(shape, dtype)
    call = jax.ffi.ffi_call(f"dqnlab_conv_{part}", result, vmap_method="sequential")
    y: jax.Array = call(*operands, stride=np.int64(stride), top=np.int64(top), left=np.int64(left))
    return y
