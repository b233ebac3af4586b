"""Two recurrent layers over one sequence, from both ends (Schuster & Paliwal 1997)."""

from collections.abc import Callable
from typing import Any, Unpack

import haiku as hk
import jax.numpy as jnp

from dqnlab.layers import recurrent
from dqnlab.types import Array


class Bidirectional(hk.Module):
    """Joins the outputs of a layer that reads forward and of another that reads backward.

    `Bidirectional(lambda name: LSTM(64, name=name))` has the layers `forward` and `backward`.
    """

    def __init__(self, make: Callable[[str], Callable[..., Any]], name: str | None = None):
        super().__init__(name=name)
        self._make = make

    def __call__(
        self, x: Array, state: Any = None, **options: Unpack[recurrent.Options]
    ) -> tuple[Array, Any]:
        """x [T, B, D] -> (float32[T, B, 2 H], (state at the end, backward's state at the start)).

        With a mask, the padding at the end does not reach the layer that starts there.
        """
        before, after = (None, None) if state is None else state
        backward_options: recurrent.Options = {**options, "reverse": True}
        forward, before = self._make("forward")(x, before, **options)
        backward, after = self._make("backward")(x, after, **backward_options)
        return jnp.concatenate([forward, backward], axis=-1), (before, after)
