"""2-D convolution whose gradients XLA:CPU has a fast kernel for, inside a loop too.

XLA takes a convolution's gradients as convolutions with exchanged axes. Its CPU kernel has one
order of the axes; XLA brings others into it in a program's main computation, but not inside a loop
(`lax.scan`), where it falls back to a scalar program: 20 to 200 times slower. Here the axes are
exchanged first, so that all three convolutions are ordinary forward passes.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from dqnlab.layers.cast import cast

Pair = tuple[int, int]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv2d_plain(x: jax.Array, w: jax.Array, pads: tuple[Pair, Pair]) -> jax.Array:
    """Stride 1: x [B, H, W, C], w [kh, kw, C, N], padded by `pads` -> float32 [B, H', W', N].

    Computes in x's dtype.
    """
    return _forward(x, cast(w, x.dtype), pads)


def _conv2d_fwd(
    x: jax.Array, w: jax.Array, pads: tuple[Pair, Pair]
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return conv2d_plain(x, w, pads), (x, w)


def _conv2d_bwd(
    pads: tuple[Pair, Pair], saved: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    (x, w), g = saved, cast(g, saved[0].dtype)
    # The barriers keep XLA from merging the exchange into the convolution again.
    reversed_w = _barrier(jnp.flip(cast(w, x.dtype), (0, 1)).transpose(0, 1, 3, 2))
    (top, bottom), (left, right) = pads
    y, z = w.shape[0] - 1, w.shape[1] - 1
    dx = _forward(g, reversed_w, ((y - top, y - bottom), (z - left, z - right)))

    # The images are summed over, as channels are; the output's gradient is the kernel.
    images, kernel = _barrier(x.transpose(3, 1, 2, 0)), _barrier(g.transpose(1, 2, 0, 3))
    dw = _forward(images, kernel, pads).transpose(1, 2, 0, 3)  # [C, kh, kw, N]
    return cast(dx, x.dtype), dw.astype(w.dtype)


conv2d_plain.defvjp(_conv2d_fwd, _conv2d_bwd)


def _forward(x: jax.Array, w: jax.Array, pads: tuple[Pair, Pair]) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        w,
        (1, 1),
        pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        preferred_element_type=jnp.float32,
    )


def _barrier(x: jax.Array) -> jax.Array:
    y: jax.Array = lax.optimization_barrier(x)
    return y
