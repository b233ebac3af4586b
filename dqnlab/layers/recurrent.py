"""What recurrent layers share: a whole sequence in one scan, its masks, dropout and weights.

Every layer is called as `(x, state) -> (y, state)` on x [T, B, D], time first. The inputs of all
steps are multiplied by their weights in one product before the loop, and the gradient of the
recurrent weights is one product after it: the loop is left with [B, H] @ [H, n H] a step.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypedDict

import haiku as hk
import jax
import jax.numpy as jnp
from jax import lax

from dqnlab.layers import dense
from dqnlab.layers.cast import cast
from dqnlab.layers.dense import Dense
from dqnlab.types import Array, PyTree

Blocks = tuple[Array, ...]
Products = tuple[Callable[[Array], Array], ...]
State = Any  # a pytree of float32[B, H] whose first leaf is the hidden state and the output


class Options(TypedDict, total=False):
    """What each call of a recurrent layer understands beside x and the state."""

    first: Array | None  # bool[T, B]: the state before this step is zero (an episode begins)
    mask: Array | None  # bool[T, B]: False is padding, over which the state is carried unchanged
    hidden_dropout: Array | None  # [B, H] from `dropout_mask`, on what the recurrent weights see
    reverse: bool  # from the last step to the first


class Dtypes(NamedTuple):
    """Compute types of a layer's products; sums, states and parameters are float32."""

    input: jnp.dtype = jnp.float32  # of x, for all steps at once
    hidden: jnp.dtype = jnp.float32  # of the hidden state: rounded again at each step


class Cell(NamedTuple):
    """A step's equations.

    `step(products, state, inputs)` gives the next state. `inputs[k]` and `products[k](h)` are the
    k-th block of pre-activations from x and from some hidden values h; the step adds them.
    """

    step: Callable[[Products, State, Blocks], State]
    gates: tuple[int, ...]  # how many times H columns each block has
    zero_state: Callable[[int, int], State]  # (B, H) -> what a sequence starts with


def run(
    cell: Cell,
    hidden_size: int,
    x: Array,
    state: State | None,
    dtypes: Dtypes,
    w_hidden_init: hk.initializers.Initializer | None,
    options: Options,
    b_init: hk.initializers.Initializer | None = None,
) -> tuple[Array, State]:
    """The body of a recurrent layer, called inside its module: x [T, B, D] -> float32[T, B, H].

    Makes the parameters `input/w` [D, n H], `input/b` and `w_hidden` [H, n H].
    """
    batch, size = x.shape[1:]
    columns = sum(cell.gates) * hidden_size
    init = hk.initializers.TruncatedNormal((size + hidden_size) ** -0.5)
    to_gates = Dense(columns, dtypes.input, w_init=init, b_init=b_init, name="input")
    from_x = time_distributed(to_gates, x)
    w = hk.get_parameter("w_hidden", (hidden_size, columns), jnp.float32, w_hidden_init or init)
    edges = [sum(cell.gates[: k + 1]) * hidden_size for k in range(len(cell.gates) - 1)]
    rows = (options.get("first"), options.get("mask"))
    state = cell.zero_state(batch, hidden_size) if state is None else state
    weights, inputs = (tuple(jnp.split(array, edges, axis=-1)) for array in (w, from_x))
    loop = _Loop(cell, dtypes.hidden, options.get("reverse", False))
    return _unroll(loop, weights, inputs, state, rows, options.get("hidden_dropout"))


def time_distributed(layer: Callable[[Array], Array], x: Array) -> Array:
    """The same layer at every step: [T, B, D] -> [T, B, N], or [T, D] -> [T, N], as one batch."""
    return layer(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], -1)


def dropout_mask(rate: float, shape: tuple[int, ...]) -> Array:
    """A mask of 0 and 1 / (1 - rate) that a layer keeps for a whole sequence (1512.05287).

    To be called inside Haiku while training; at evaluation there is no mask. Multiply x [T, B, D]
    by it over all T, or give it as `hidden_dropout`.
    """
    keep = jax.random.bernoulli(hk.next_rng_key(), 1.0 - rate, shape)
    return keep / (1.0 - rate)


def input_dropout(rate: float, x: Array) -> Array:
    """x [T, B, D] with the same entries of D dropped at every step of a sequence."""
    return x * jnp.broadcast_to(dropout_mask(rate, x.shape[1:]), x.shape)


def orthogonal(shape: Sequence[int], dtype: Any) -> Array:
    """Initialiser of recurrent weights [H, n H]: each of the n square blocks is orthogonal.

    It is the weights that are orthogonal, so that repeated products keep a vector's length; the
    hidden state simply starts at zero.
    """
    rows, columns = shape
    init = jax.nn.initializers.orthogonal()  # Haiku's needs rank promotion
    keys = hk.next_rng_keys(columns // rows)
    return jnp.concatenate([init(key, (rows, rows), dtype) for key in keys], axis=1)


class _Loop(NamedTuple):
    cell: Cell
    dtype: jnp.dtype
    reverse: bool


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _unroll(
    loop: _Loop,
    weights: Blocks,
    inputs: Blocks,
    state: State,
    rows: tuple[Array | None, Array | None],
    dropout: Array | None,
) -> tuple[Array, State]:
    result, _ = _scan(loop, weights, inputs, state, rows, dropout)
    return result


def _scan(
    loop: _Loop,
    weights: Blocks,
    inputs: Blocks,
    state: State,
    rows: tuple[Array | None, Array | None],
    dropout: Array | None,
) -> tuple[tuple[Array, State], Blocks]:
    """((outputs, last state), what each block of weights was multiplied with at each step)."""

    def body(state: State, row: PyTree) -> tuple[State, tuple[Array, Blocks]]:
        inputs, (first, mask) = row
        if first is not None:
            state = jax.tree.map(lambda x: _select(first, jnp.zeros_like(x), x), state)
        factors: list[Array] = [jnp.zeros(())] * len(weights)

        def product(k: int, hidden: Array) -> Array:
            hidden = hidden if dropout is None else hidden * dropout
            factors[k] = cast(hidden, loop.dtype)
            return dense.product(factors[k], weights[k])

        products = tuple(functools.partial(product, k) for k in range(len(weights)))
        new = loop.cell.step(products, state, inputs)
        if mask is not None:
            new = jax.tree.map(lambda x, old: _select(mask, x, old), new, state)
        return new, (jax.tree.leaves(new)[0], tuple(factors))

    last, (outputs, factors) = lax.scan(body, state, (inputs, rows), reverse=loop.reverse)
    return (outputs, last), factors


def _select(condition: Array, x: Array, y: Array) -> Array:
    return jnp.where(jnp.broadcast_to(condition[:, None], x.shape), x, y)


def _unroll_fwd(
    loop: _Loop, weights: Blocks, inputs: Blocks, state: State, *rest: Any
) -> tuple[tuple[Array, State], PyTree]:
    def scan(inputs: Blocks, state: State) -> tuple[tuple[Array, State], Blocks]:
        return _scan(loop, weights, inputs, state, *rest)

    result, back, factors = jax.vjp(scan, inputs, state, has_aux=True)
    return result, (back, factors)


def _unroll_bwd(loop: _Loop, saved: PyTree, gradient: PyTree) -> tuple[PyTree, ...]:
    # A product is added to its block of inputs, so both have the same gradient. Left to autodiff,
    # each step would add a product of its own to all of the weights' gradient.
    back, factors = saved
    to_inputs, to_state = back(gradient)
    to_weights = tuple(map(_sum_over_time, factors, to_inputs))
    return to_weights, to_inputs, to_state, None, None


def _sum_over_time(factor: Array, to_input: Array) -> Array:
    dims = (((0, 1), (0, 1)), ((), ()))
    to_input = cast(to_input, factor.dtype)
    to_weight: Array = lax.dot_general(factor, to_input, dims, preferred_element_type=jnp.float32)
    return to_weight


_unroll.defvjp(_unroll_fwd, _unroll_bwd)
