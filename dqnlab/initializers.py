"""First weights that suit the activation behind them; Haiku's and jax's under one call."""

from collections.abc import Sequence

import haiku as hk
import jax
import jax.numpy as jnp

from dqnlab.types import Array, UserError

# Variance of the weights by that of Glorot's 2 / (fan_in + fan_out).
_GLOROT_GAINS = {"linear": 1.0, "tanh": 1.0, "sigmoid": 16.0}


def make(activation: str) -> hk.initializers.Initializer:
    """An initialiser for the weights before an activation.

    linear, tanh  Glorot and Bengio 2010: U(-r, r), r = sqrt(6 / (fan_in + fan_out)).
    sigmoid       the logistic one: 4 r. It has a quarter of tanh's slope at 0, and only it wants
                  the factor that is often printed for both.
    relu          He et al. 2015 (1502.01852): normal of variance 2 / fan_in.
    recurrent     orthogonal, for the matrix that multiplies the hidden state.

    Raises UserError for another name.
    """
    if activation == "relu":
        return hk.initializers.VarianceScaling(2.0, "fan_in", "truncated_normal")
    if activation == "recurrent":
        return _orthogonal
    if activation not in _GLOROT_GAINS:
        allowed = ", ".join([*_GLOROT_GAINS, "relu", "recurrent"])
        raise UserError(f"no initialiser for activation {activation!r}; allowed: {allowed}")
    return hk.initializers.VarianceScaling(_GLOROT_GAINS[activation], "fan_avg", "uniform")


def _orthogonal(shape: Sequence[int], dtype: jnp.dtype) -> Array:
    # Haiku's multiplies arrays of unequal rank, which the tests forbid.
    return jax.nn.initializers.orthogonal()(hk.next_rng_key(), tuple(shape), dtype)
