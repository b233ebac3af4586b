import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dqnlab.layers.cast import cast
from dqnlab.layers.dense import Dense


def test_float32_becomes_the_same_bfloat16_as_astype():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 200_000, dtype=np.uint32)
    x = bits.view(np.float32)
    x = x[np.isfinite(x)]
    x = np.concatenate([x, [0.0, -0.0, np.inf, -np.inf, 3.3895e38, 1e-40, 1.00390625, 1.01171875]])
    x = x.astype(np.float32)
    expected = np.asarray(jnp.asarray(x).astype(jnp.bfloat16)).view(np.uint16)
    got = np.asarray(jax.jit(lambda v: cast(v, jnp.bfloat16))(x)).view(np.uint16)
    is_subnormal = np.abs(x) < np.finfo(np.float32).tiny  # XLA's own conversion may flush these
    np.testing.assert_array_equal(got[~is_subnormal], expected[~is_subnormal])
    assert np.isnan(np.asarray(cast(jnp.float32(np.nan), jnp.bfloat16), np.float32))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_bytes_become_the_numbers_they_are(dtype):
    x = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(cast(x, dtype), np.float32), x.astype(np.float32))


def test_the_gradient_of_a_cast_is_a_cast():
    grad = jax.grad(lambda x: cast(x, jnp.bfloat16).astype(jnp.float32).sum())(jnp.ones(3))
    np.testing.assert_array_equal(grad, np.ones(3, np.float32))


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-6), (jnp.bfloat16, 3e-2)])
def test_dense_and_its_gradients_are_those_of_a_matrix_product(dtype, tolerance):
    net = hk.without_apply_rng(hk.transform(lambda x: Dense(7, dtype)(x)))
    x = jax.random.normal(jax.random.PRNGKey(0), (5, 11))
    params = net.init(jax.random.PRNGKey(1), x)
    assert params["dense"]["w"].dtype == jnp.float32

    def loss(apply):
        return lambda params, x: jnp.sum(jnp.sin(apply(params, x)))

    def plain(params, x):
        y = x @ params["dense"]["w"]
        return y + jnp.broadcast_to(params["dense"]["b"], y.shape)

    assert net.apply(params, x).dtype == jnp.float32
    np.testing.assert_allclose(net.apply(params, x), plain(params, x), atol=tolerance)
    ours = jax.grad(loss(net.apply), argnums=(0, 1))(params, x)
    theirs = jax.grad(loss(plain), argnums=(0, 1))(params, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=3 * tolerance), ours, theirs)
