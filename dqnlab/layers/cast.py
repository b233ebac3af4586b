"""Casting to the compute type, fast on CPU too."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from dqnlab.types import Array


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def cast(x: Array, dtype: jnp.dtype) -> Array:
    """`x.astype(dtype)` for numbers, several times faster to bfloat16 inside a loop on CPU.

    XLA:CPU converts float32 to bfloat16 element by element there (3.5 ms for 1.6 M weights in a
    DQN update). Rounding to nearest even in integer arithmetic gives the same numbers in 0.6;
    infinities and the NaNs that arithmetic makes stay what they are.
    """
    if jnp.dtype(dtype) != jnp.bfloat16 or x.dtype == jnp.bfloat16:
        return x.astype(dtype)
    if x.dtype == jnp.uint8:
        # 2^23 + x is exact in float32 and its low bits are x: no conversion instruction at all.
        x = lax.bitcast_convert_type(x.astype(jnp.uint32) | jnp.uint32(0x4B000000), jnp.float32)
        bits = lax.bitcast_convert_type(x - 8388608.0, jnp.uint32)  # 8 bits or fewer: exact
    else:
        bits = lax.bitcast_convert_type(x.astype(jnp.float32), jnp.uint32)
        bits = bits + jnp.uint32(0x7FFF) + ((bits >> 16) & 1)
    return lax.bitcast_convert_type((bits >> 16).astype(jnp.uint16), jnp.bfloat16)


def _cast_fwd(x: Array, dtype: jnp.dtype) -> tuple[Array, Array]:
    return cast(x, dtype), jnp.zeros((0,), x.dtype)


def _cast_bwd(dtype: jnp.dtype, like: Array, g: Array) -> tuple[Array | None]:
    if not jnp.issubdtype(like.dtype, jnp.floating):
        return (None,)
    return (g.astype(like.dtype),)


cast.defvjp(_cast_fwd, _cast_bwd)
