"""A dense layer that computes in bfloat16 where asked to, and keeps everything else float32."""

import haiku as hk
import jax
import jax.numpy as jnp
from jax import lax

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


@jax.custom_vjp
def product(x: Array, w: Array) -> Array:
    """x [B, D] of the compute type, w float32 [D, N] -> float32 [B, N]."""
    return _product_fwd(x, w)[0]


def _product_fwd(x: Array, w: Array) -> tuple[Array, tuple[Array, Array]]:
    w = cast(w, x.dtype)
    return _dot(x, w, 1, 0), (x, w)


def _product_bwd(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, w = saved
    g = cast(g, x.dtype)
    return _dot(g, w, 1, 1).astype(x.dtype), _dot(x, g, 0, 0)


product.defvjp(_product_fwd, _product_bwd)


def _dot(a: Array, b: Array, axis_a: int, axis_b: int) -> Array:
    dims = (((axis_a,), (axis_b,)), ((), ()))
    return lax.dot_general(a, b, dims, preferred_element_type=jnp.float32)
