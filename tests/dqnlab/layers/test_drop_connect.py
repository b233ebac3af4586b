import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from dqnlab.layers.drop_connect import DropConnect
from dqnlab.layers.maxout import Maxout

X = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5)), jnp.float32)


def layer(**kwargs):
    net = hk.transform(lambda x, is_training: DropConnect(3, **kwargs)(x, is_training))
    params = net.init(jax.random.PRNGKey(0), X, True)
    return net, params


@pytest.mark.parametrize("is_shared", [False, True])
def test_at_evaluation_it_is_a_linear_layer_and_in_training_its_mean_is_one(is_shared):
    net, params = layer(keep=0.7, is_shared=is_shared)
    w, b = params["drop_connect"]["w"], params["drop_connect"]["b"]
    plain = X @ w + b[None]
    np.testing.assert_allclose(net.apply(params, None, X, False), plain, rtol=1e-5)
    keys = jax.random.split(jax.random.PRNGKey(1), 4000)
    outputs = jax.vmap(lambda key: net.apply(params, key, X, True))(keys)
    assert np.asarray(outputs).std(axis=0).min() > 0.05
    np.testing.assert_allclose(outputs.mean(axis=0), plain, atol=0.06)


def test_single_weights_are_dropped_for_each_example_of_its_own():
    net, params = layer(keep=0.5)
    ones = {"drop_connect": {"w": jnp.ones((5, 3)), "b": jnp.zeros(3)}}
    x = jnp.broadcast_to(jnp.eye(5)[:1], (200, 5))  # y is the first row of the weights
    y = np.asarray(net.apply(ones, jax.random.PRNGKey(2), x, True))
    assert set(np.unique(y)) == {0.0, 2.0}  # dropped, or kept and divided by 0.5
    assert len({tuple(row) for row in y}) == 8  # all combinations: no unit is dropped as a whole
    del params


def test_gradients_agree_with_finite_differences():
    net, params = layer(keep=0.6)
    key = jax.random.PRNGKey(3)
    check_grads(lambda p, x: net.apply(p, key, x, True), (params, X), order=1, modes=["rev"])
    maxout = hk.transform(lambda x: Maxout(3, 4)(x))
    params = maxout.init(key, X)
    check_grads(lambda p, x: maxout.apply(p, None, x), (params, X), order=1, modes=["rev"])


def test_a_keep_out_of_range_is_refused():
    with pytest.raises(ValueError, match="keep is 0"):
        layer(keep=0)


def test_maxout_is_the_maximum_of_its_pieces():
    net = hk.transform(lambda x: Maxout(2, 3)(x))
    params = net.init(jax.random.PRNGKey(0), X)
    pieces = (X @ params["maxout/linear"]["w"]).reshape(4, 2, 3)
    np.testing.assert_allclose(net.apply(params, None, X), pieces.max(axis=-1), rtol=1e-5)
    # |x| and relu are maxout units.
    params = {"maxout/linear": {"w": jnp.array([[1.0, -1.0]]), "b": jnp.zeros(2)}}
    absolute = hk.transform(lambda x: Maxout(1, 2)(x))
    np.testing.assert_array_equal(
        absolute.apply(params, None, jnp.array([[-3.0], [2.0]])), [[3.0], [2.0]]
    )
