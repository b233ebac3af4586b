"""Max-pooling: to half the size, and to a fixed number of bins whatever the size."""

import jax
import jax.numpy as jnp
from jax import lax

from dqnlab import native
from dqnlab.types import Array


def max_pool(x: Array) -> Array:
    """Windows of 3 x 3 with stride 2 and padding "SAME": [B, H, W, C] -> [B, H', W', C].

    H' = ceil(H/2), W' = ceil(W/2). Output and gradient are those of `hk.max_pool`, whose gradient
    is a scalar loop on CPU. Of several gradients to one pixel bfloat16 rounds the sum once where
    `dqnlab.native` has it, elsewhere each addition.
    """
    is_served = x.dtype == jnp.bfloat16 and x.shape[3] % 16 == 0 and isinstance(x.shape[0], int)
    if not (is_served and native.has(jnp.bfloat16)):
        return _max_pool(x)
    y: Array = lax.platform_dependent(x, cpu=_native_max_pool, default=_max_pool)
    return y


@jax.custom_vjp
def _native_max_pool(x: Array) -> Array:
    return _native_fwd(x)[0]


def _native_fwd(x: Array) -> tuple[Array, tuple[Array, Array]]:
    batch, height, width, channels = x.shape
    shape = (batch, -(-height // 2), -(-width // 2), channels)
    results = (jax.ShapeDtypeStruct(shape, x.dtype), jax.ShapeDtypeStruct(shape, jnp.uint8))
    y, place = native.call("pool_forward", results, x)
    return y, (place, x)


def _native_bwd(saved: tuple[Array, Array], g: Array) -> tuple[Array]:
    place, x = saved
    return (native.call("pool_gradient", jax.ShapeDtypeStruct(x.shape, x.dtype), g, place),)


_native_max_pool.defvjp(_native_fwd, _native_bwd)


def _max_pool(x: Array) -> Array:
    return _max_of_three(_max_of_three(x, 2), 1)  # columns first: of equal maxima the first row's


def _max_of_three(x: Array, axis: int) -> Array:
    size, outputs = x.shape[axis], -(-x.shape[axis] // 2)
    before = (2 * outputs + 1 - size) // 2
    edges = [(0, 0, 0)] * x.ndim
    edges[axis] = (before, 2 * outputs + 2 - size - before, 0)
    lowest = jnp.array(-jnp.inf, x.dtype)
    pairs = lax.pad(x, lowest, edges).reshape(*x.shape[:axis], outputs + 1, 2, *x.shape[axis + 1 :])
    even, odd = (lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in (0, 1))
    first, third = (lax.slice_in_dim(even, i, i + outputs, axis=axis) for i in (0, 1))
    second = lax.slice_in_dim(odd, 0, outputs, axis=axis)
    return _first_largest(_first_largest(first, second), third)


def _first_largest(a: Array, b: Array) -> Array:
    # Unlike jnp.maximum's, its gradient goes to one of two equals; either's NaN comes out.
    return jnp.where((a >= b) | jnp.isnan(a), a, b)


def adaptive_max_pool(x: Array, height: int, width: int) -> Array:
    """The maximum of each of height x width bins: [B, H, W, C] -> [B, height, width, C].

    Of H rows, bin i takes floor(i H / height) up to, not including, ceil((i + 1) H / height), as
    PyTorch's AdaptiveMaxPool2d does: bins overlap where they do not divide H. Of equal maxima each
    gets its share of the gradient (PyTorch: one gets all).
    """
    # A bin is a rectangle, so rows and columns can be pooled one after the other.
    rows = [x[:, start:end].max(axis=1) for start, end in _bins(x.shape[1], height)]
    x = jnp.stack(rows, axis=1)
    columns = [x[:, :, start:end].max(axis=2) for start, end in _bins(x.shape[2], width)]
    return jnp.stack(columns, axis=2)


def _bins(size: int, num_bins: int) -> list[tuple[int, int]]:
    return [(i * size // num_bins, -(-(i + 1) * size // num_bins)) for i in range(num_bins)]
