"""LayerNorm and the ReLU behind it, as one layer."""

import functools

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dqnlab import native
from dqnlab.layers.cast import cast
from dqnlab.types import Array


class NormalizedReLU(hk.Module):
    """ReLU of `hk.LayerNorm` over the last axis: its parameters (scale, offset) and names.

    Statistics in float32, for bfloat16 has 8 bits; `dtype` is the output's. Where `dqnlab.native`
    has kernels for it a bfloat16 output has first derivatives only.
    """

    def __init__(self, dtype: jnp.dtype, epsilon: float = 1e-6, name: str = "layer_norm"):
        super().__init__(name=name)
        self._dtype = jnp.dtype(dtype)
        self._epsilon = epsilon

    def __call__(self, x: Array) -> Array:
        """[..., C] -> [..., C] in `dtype`."""
        size = x.shape[-1:]
        scale = hk.get_parameter("scale", size, jnp.float32, init=jnp.ones)
        offset = hk.get_parameter("offset", size, jnp.float32, init=jnp.zeros)
        plain = functools.partial(_plain, epsilon=self._epsilon, dtype=self._dtype)
        x, scale, offset = (each.astype(jnp.float32) for each in (x, scale, offset))
        is_whole = size[0] % 16 == 0 and all(isinstance(n, int) for n in x.shape)
        if not (self._dtype == jnp.bfloat16 and is_whole and native.has(self._dtype)):
            return plain(x, scale, offset)
        by_kernel = functools.partial(_by_kernel, self._epsilon)
        y: Array = lax.platform_dependent(x, scale, offset, cpu=by_kernel, default=plain)
        return y


def _plain(x: Array, scale: Array, offset: Array, epsilon: float, dtype: jnp.dtype) -> Array:
    scale, offset = jnp.broadcast_to(scale, x.shape), jnp.broadcast_to(offset, x.shape)
    mean = jnp.mean(x, axis=-1, keepdims=True)
    factor = scale * lax.rsqrt(jnp.var(x, axis=-1, keepdims=True) + epsilon)
    return cast(jax.nn.relu(factor * (x - mean) + offset), dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _by_kernel(epsilon: float, x: Array, scale: Array, offset: Array) -> Array:
    result = jax.ShapeDtypeStruct(x.shape, jnp.bfloat16)
    operands = x, scale, offset
    y: Array = native.call("layer_norm_forward", result, *operands, epsilon=np.float32(epsilon))
    return y


def _fwd(
    epsilon: float, x: Array, scale: Array, offset: Array
) -> tuple[Array, tuple[Array, Array, Array]]:
    return _by_kernel(epsilon, x, scale, offset), (x, scale, offset)


def _bwd(epsilon: float, saved: tuple[Array, Array, Array], g: Array) -> tuple[Array, Array, Array]:
    x, scale, offset = saved
    results = (
        jax.ShapeDtypeStruct(x.shape, jnp.float32),
        jax.ShapeDtypeStruct((2, *scale.shape), jnp.float32),
    )
    operands = x, scale, offset, g
    dx, d = native.call("layer_norm_gradient", results, *operands, epsilon=np.float32(epsilon))
    return dx, d[0], d[1]


_by_kernel.defvjp(_fwd, _bwd)
