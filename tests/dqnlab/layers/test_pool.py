import math

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dqnlab.layers.pool import adaptive_max_pool, max_pool


def pooled_by_loops(x, height, width):
    """The rule in the documentation of torch.nn.AdaptiveMaxPool2d, bin by bin."""
    (batch, rows, columns, channels) = x.shape
    out = np.empty((batch, height, width, channels), x.dtype)
    for i in range(height):
        for j in range(width):
            top, bottom = math.floor(i * rows / height), math.ceil((i + 1) * rows / height)
            left, right = math.floor(j * columns / width), math.ceil((j + 1) * columns / width)
            out[:, i, j] = x[:, top:bottom, left:right].max((1, 2))
    return out


@pytest.mark.parametrize(
    ("rows", "columns", "height", "width"),
    [(11, 11, 6, 6), (12, 12, 6, 6), (6, 6, 6, 6), (4, 5, 6, 6), (13, 7, 5, 3), (1, 1, 2, 2)],
)
def test_bins_are_those_of_pytorch(rows, columns, height, width):
    x = np.random.default_rng(0).normal(size=(2, rows, columns, 3)).astype(np.float32)
    out = jax.jit(adaptive_max_pool, static_argnums=(1, 2))(x, height, width)
    np.testing.assert_array_equal(out, pooled_by_loops(x, height, width))


def test_a_row_by_hand():
    # 5 columns in 3 bins: [0, 2), [1, 4), [3, 5).
    x = jnp.array([5.0, 1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 5, 1)
    np.testing.assert_array_equal(adaptive_max_pool(x, 1, 3).ravel(), [5.0, 3.0, 4.0])


def test_gradients_go_to_the_maxima():
    x = jnp.array([5.0, 1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 5, 1)
    gradient = jax.grad(lambda x: adaptive_max_pool(x, 1, 3).sum())(x)
    np.testing.assert_array_equal(gradient.ravel(), [1.0, 0.0, 0.0, 1.0, 1.0])


@pytest.mark.parametrize("size", [(84, 42), (21, 11), (6, 5), (1, 2)])
def test_max_pool_and_its_gradient_are_haikus_among_equal_maxima_too(size):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.integers(0, 3, (2, *size, 3)), jnp.float32)
    half = tuple(-(-n // 2) for n in size)
    g = jnp.asarray(rng.integers(-4, 5, (2, *half, 3)), jnp.float32)

    def haikus(x):
        return hk.max_pool(x, (3, 3, 1), (2, 2, 1), padding="SAME")

    expected = _out_and_gradient(haikus, x, g)
    jax.tree.map(np.testing.assert_array_equal, _out_and_gradient(max_pool, x, g), expected)


def _out_and_gradient(pool, x, g):
    @jax.jit
    def both(x, g):
        out, pullback = jax.vjp(pool, x)
        return out, *pullback(g)

    return both(x, g)


def test_not_a_number_comes_out_of_every_window_that_it_is_in():
    x = jnp.zeros((1, 8, 8, 1)).at[0, 4, 4, 0].set(jnp.nan)
    rows, columns = np.isnan(max_pool(x)[0, ..., 0]).nonzero()
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == {
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
    }
