"""ASGO: steps that go as far along a layer's rare directions as along its common ones."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
import scipy.linalg  # noqa: F401  (the LAPACK that XLA:CPU calls is loaded with it)
import threadpoolctl
from jax import lax
from jax.custom_batching import custom_vmap

from dqnlab.layers import dense
from dqnlab.layers.cast import cast
from dqnlab.types import Array, Params, PyTree

_LARGEST = 1024  # columns; the eigenvalues of more take too long
_WARM_UP = 20  # steps in which each has a root of its own, since the estimates are young
_CLIP = 1.0  # largest root mean square of a step of rate 1


class AsgoState(NamedTuple):
    """Estimates of the gradient's moments, and the root that steps are multiplied by."""

    step: Array  # int32[]
    mean: PyTree  # float32[..., N] for each parameter
    covariance: PyTree  # float32[N, N]
    root: PyTree  # float32[N, N]: covariance^-1/2, some steps old


def asgo(
    learning_rate: float | optax.Schedule, epsilon: float, dtype: jnp.dtype = jnp.float32
) -> optax.GradientTransformation:
    """ASGO (arXiv:2503.20762) for matrices and kernels of convolutions, Adam for the rest.

    The rest are biases, and matrices of fewer than 16 columns (Q-values) or more than 1,024.

    A layer's step is clipped in its root mean square (update clipping, arXiv:1804.04235, section
    6): along a direction that was rare until now an old root goes up to 31 times too far.

    Args:
      epsilon: Adam's.
      dtype: type of the products with and of gradients, float32 or bfloat16; sums are float32.
    """
    _keep_lapack_to_one_thread()
    parts = {
        "asgo": optax.chain(
            scale_by_asgo(dtype=dtype),
            optax.clip_by_block_rms(_CLIP),
            optax.scale_by_learning_rate(learning_rate),
        ),
        "adam": optax.adam(learning_rate, eps=epsilon),
    }

    def label(w: Array) -> str:
        return "asgo" if w.ndim > 1 and 16 <= w.shape[-1] <= _LARGEST else "adam"

    return optax.multi_transform(parts, lambda params: jax.tree.map(label, params))


def scale_by_asgo(
    b1: float = 0.9,
    b2: float = 0.99,
    damping: float = 1e-3,
    period: int = 20,
    dtype: jnp.dtype = jnp.float32,
) -> optax.GradientTransformation:
    """u = m (V + d I)^-1/2 with m the mean of gradients G [D, N] and V that of G^T G / D.

    Adam divides each weight's mean gradient by its root mean square; this does so along the N
    eigenvectors of the columns' second moments, so that what is rare in them moves, too. Kernels
    [h, w, in, out] count as [h w in, out]. Of orders of magnitude as with Adam: a gradient that
    stays the same gives |u| = 1 in the root mean square. V^-1/2 is V's own of up to `period`
    steps ago.

    Args:
      b1, b2: shares of the old kept in m and V at each step; both are unbiased as Adam's.
      damping: d as a multiple of V's mean eigenvalue.
      period: steps from one root to the next; after the first 20, of which each has its own.
      dtype: type of the products with and of gradients.
    """

    def init(params: Params) -> AsgoState:
        squares = jax.tree.map(lambda w: jnp.zeros((w.shape[-1],) * 2, jnp.float32), params)
        mean = jax.tree.map(jnp.zeros_like, params)
        return AsgoState(jnp.zeros((), jnp.int32), mean, squares, squares)

    def update(
        updates: PyTree, state: AsgoState, params: Params | None = None
    ) -> tuple[PyTree, AsgoState]:
        step = state.step + 1
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mean, updates)

        def moments(v: Array, g: Array) -> Array:
            rows = _rows(g)
            return b2 * v + (1 - b2) / rows.shape[0] * dense.gram(rows, dtype)

        covariance = jax.tree.map(moments, state.covariance, updates)
        root = lax.cond(
            _any((state.step < _WARM_UP) | (state.step % period == 0)),
            lambda: jax.tree.map(lambda v: inverse_root(v / (1 - b2**step), damping), covariance),
            lambda: state.root,
        )

        def whitened(m: Array, q: Array) -> Array:
            return dense.product(cast(_rows(m), dtype), q).reshape(m.shape) / (1 - b1**step)

        return jax.tree.map(whitened, mean, root), AsgoState(step, mean, covariance, root)

    return optax.GradientTransformation(init, update)


def inverse_root(v: Array, damping: float) -> Array:
    """(v + damping * mean eigenvalue * I)^-1/2 of a symmetric v [N, N] without negative ones."""
    values, vectors = jnp.linalg.eigh(v)
    values = jnp.maximum(values, 0.0) + damping * jnp.trace(v) / v.shape[0]
    root: Array = (vectors * lax.rsqrt(values + 1e-20)[None]) @ vectors.T
    return root


def _keep_lapack_to_one_thread() -> None:
    # Its threads wait for the next matrix by spinning: 27 of 32 CPU ms for one root of 256 x 256,
    # taken from the cores that learn.
    for library in threadpoolctl.ThreadpoolController().lib_controllers:
        if "scipy.libs" in library.filepath:  # numpy has its own
            library.set_num_threads(1)


def _rows(x: Array) -> Array:
    """[..., N] -> [D, N]."""
    return x.reshape(-1, x.shape[-1])


@custom_vmap
def _any(is_due: Array) -> Array:
    # Runs mapped over their seeds are at the same step: a condition for all of them stays a branch,
    # where one for each would compute both.
    return is_due


@_any.def_vmap
def _any_of_all(axis_size: int, in_batched: list[bool], is_due: Array) -> tuple[Array, bool]:
    del axis_size, in_batched
    return jnp.any(is_due), False
