"""Spectral normalisation of any layer's weights."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import haiku as hk
import jax.numpy as jnp

from dqnlab.types import Array


def spectral_norm(is_training: bool) -> AbstractContextManager[None]:
    """A context in which the `w` of every layer is divided by its largest singular value.

    A convolution counts as the matrix [H W C_in, C_out]. The value is estimated by power iteration
    (1802.05957, algorithm 1): each call refines the estimate by one step, and keeps it in the net
    state where `is_training`. Gradients pass through the division, not through the iteration.
    """

    def normalize(
        next_getter: Callable[[Array], Array], w: Array, context: hk.GetterContext
    ) -> Array:
        w = next_getter(w)
        if context.name != "w":
            return w
        # Haiku's default eps of 1e-4 is a floor under squared norms: too high for small weights.
        norm = hk.SpectralNorm(eps=1e-12, name="spectral_norm")
        # `init` creates the whole state: one that grew later would compile everything again. In
        # float32 always, for bfloat16 has too few digits to converge.
        is_updated = is_training or hk.running_init()
        return norm(w.astype(jnp.float32), update_stats=is_updated).astype(w.dtype)

    context: AbstractContextManager[None] = hk.custom_getter(normalize)
    return context
