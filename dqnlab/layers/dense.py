"""A dense layer that computes in bfloat16 where asked to, and keeps everything else float32."""

from collections.abc import Callable

import haiku as hk
import jax
import jax.numpy as jnp
from jax import lax

from dqnlab import native
from dqnlab.layers.cast import cast
from dqnlab.types import Array


class Dense(hk.Module):
    """`hk.Linear` with a compute type: parameters, accumulation and output stay float32.

    hk.Linear under a mixed-precision policy casts the kernel outside the product, so its
    gradient is rounded to bfloat16 and cast back: two more passes over 1.6 M weights per update.
    """

    def __init__(
        self,
        output_size: int,
        dtype: jnp.dtype = jnp.float32,
        w_init: hk.initializers.Initializer | None = None,
        b_init: hk.initializers.Initializer | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._output_size = output_size
        self._dtype = dtype
        self._w_init = w_init
        self._b_init = b_init

    def __call__(self, x: Array) -> Array:
        """[B, D] -> float32[B, output_size]."""
        size = x.shape[-1]
        w_init = self._w_init or hk.initializers.TruncatedNormal(size**-0.5)
        w = hk.get_parameter("w", (size, self._output_size), jnp.float32, init=w_init)
        b = hk.get_parameter("b", (self._output_size,), jnp.float32, init=self._b_init or jnp.zeros)
        y = product(cast(x, self._dtype), w)
        return y + jnp.broadcast_to(b, y.shape)


def product(x: Array, w: Array) -> Array:
    """x [B, D] of the compute type, w [D, N] of any float type -> float32 [B, N].

    Rounds w to the compute type, also inside the kernels: these take float32 only.
    """
    if not _is_served(x, w):
        return _product(x, w)
    w = w.astype(jnp.float32)
    y: Array = lax.platform_dependent(x, w, cpu=_native_product, default=_product)
    return y


def gram(x: Array, dtype: jnp.dtype) -> Array:
    """x^T x of x [D, N], rounded to the compute type -> float32 [N, N]. No gradient."""

    def plain(x: Array) -> Array:
        rounded = cast(x, dtype)
        return _dot(rounded, rounded, 0, 0)

    def by_kernel(x: Array) -> Array:
        result = jax.ShapeDtypeStruct((x.shape[1],) * 2, jnp.float32)
        y: Array = native.call("dense_gram", result, x.astype(jnp.float32))
        return y

    if dtype != jnp.bfloat16 or x.shape[1] % 32 or not native.has(dtype):
        return plain(x)
    y: Array = lax.platform_dependent(x, cpu=by_kernel, default=plain)
    return y


def _is_served(x: Array, w: Array) -> bool:
    # Whole tiles; a batch of symbolic size belongs to a program for export.
    is_whole = x.shape[1] % 32 == 0 and w.shape[1] % 32 == 0 and isinstance(x.shape[0], int)
    return x.dtype == jnp.bfloat16 and is_whole and native.has(jnp.bfloat16)


@jax.custom_vjp
def _product(x: Array, w: Array) -> Array:
    return _dot(x, cast(w, x.dtype), 1, 0)


def _product_fwd(x: Array, w: Array) -> tuple[Array, tuple[Array, Array]]:
    w = cast(w, x.dtype)
    return _dot(x, w, 1, 0), (x, w)


def _product_bwd(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, w = saved
    g = cast(g, x.dtype)
    return _dot(g, w, 1, 1).astype(x.dtype), _dot(x, g, 0, 0)


_product.defvjp(_product_fwd, _product_bwd)


def _dot(a: Array, b: Array, axis_a: int, axis_b: int) -> Array:
    dims = (((axis_a,), (axis_b,)), ((), ()))
    return lax.dot_general(a, b, dims, preferred_element_type=jnp.float32)


# By the kernels of `dqnlab.native`, which round w as they read it. One another's derivatives.


@jax.custom_vjp
def _native_product(x: Array, w: Array) -> Array:
    return _call("forward", (x.shape[0], w.shape[1]), x, w)


@jax.custom_vjp
def _native_input_gradient(g: Array, w: Array) -> Array:
    return cast(_call("input_gradient", (g.shape[0], w.shape[0]), g, w), jnp.bfloat16)


@jax.custom_vjp
def _native_weight_gradient(x: Array, g: Array) -> Array:
    return _call("weight_gradient", (x.shape[1], g.shape[1]), x, g)


def _call(part: str, shape: tuple[int, ...], a: Array, b: Array) -> Array:
    result = jax.ShapeDtypeStruct(shape, jnp.float32)
    y: Array = native.call(f"dense_{part}", result, a, b)
    return y


def _keep(f: Callable[[Array, Array], Array]) -> Callable[..., tuple[Array, tuple[Array, Array]]]:
    return lambda a, b: (f(a, b), (a, b))


_native_product.defvjp(
    _keep(_native_product),
    lambda saved, g: (_native_input_gradient(g, saved[1]), _native_weight_gradient(saved[0], g)),
)
_native_input_gradient.defvjp(
    _keep(_native_input_gradient),
    lambda saved, h: (_native_product(h, saved[1]), _native_weight_gradient(h, saved[0])),
)
_native_weight_gradient.defvjp(
    _keep(_native_weight_gradient),
    lambda saved, h: (_native_input_gradient(saved[1], h), _native_product(saved[0], h)),
)
