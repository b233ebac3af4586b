import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from dqnlab.layers.locally_connected import LocallyConnected2D


def layer(*args, **kwargs):
    return hk.without_apply_rng(hk.transform(lambda x: LocallyConnected2D(*args, **kwargs)(x)))


def by_loops(x, w, b, stride):
    out = np.zeros((len(x), *b.shape))
    kh, kw = w.shape[2:4]
    for h in range(b.shape[0]):
        for v in range(b.shape[1]):
            top, left = h * stride[0], v * stride[1]
            patch = x[:, top : top + kh, left : left + kw]
            out[:, h, v] = np.tensordot(patch, w[h, v], 3) + b[h, v]
    return out


@pytest.mark.parametrize(
    ("kernel", "stride"), [((3, 3), (1, 1)), ((2, 3), (2, 1)), ((4, 2), (3, 2))]
)
def test_it_is_the_definition_written_as_loops(kernel, stride):
    x = np.random.default_rng(0).normal(size=(2, 8, 7, 3)).astype(np.float32)
    net = layer(5, kernel, stride)
    params = net.init(jax.random.PRNGKey(0), x)
    (own,) = params.values()
    own["b"] = jax.random.normal(jax.random.PRNGKey(1), own["b"].shape)
    expected = by_loops(x, np.asarray(own["w"]), np.asarray(own["b"]), stride)
    np.testing.assert_allclose(jax.jit(net.apply)(params, x), expected, atol=1e-4)


def test_equal_filters_everywhere_make_it_a_convolution():
    x = jax.random.normal(jax.random.PRNGKey(0), (2, 9, 9, 2))
    conv = hk.without_apply_rng(hk.transform(lambda x: hk.Conv2D(4, 3, padding="VALID")(x)))
    shared = conv.init(jax.random.PRNGKey(1), x)
    net = layer(4, 3)
    (name,) = net.init(jax.random.PRNGKey(2), x)
    w = jnp.broadcast_to(shared["conv2_d"]["w"], (7, 7, 3, 3, 2, 4))
    params = {name: {"w": w, "b": jnp.zeros((7, 7, 4))}}
    np.testing.assert_allclose(net.apply(params, x), conv.apply(shared, x), atol=1e-5)


def test_parameters_grow_with_the_image_where_a_convolutions_do_not():
    def count(size):
        params = layer(4, 3).init(jax.random.PRNGKey(0), jnp.zeros((1, size, size, 2)))
        return hk.data_structures.tree_size(params)

    assert count(5) == 3 * 3 * (3 * 3 * 2 * 4 + 4)
    assert count(9) == 7 * 7 * (3 * 3 * 2 * 4 + 4)


def test_gradients_are_those_of_finite_differences():
    x = jax.random.normal(jax.random.PRNGKey(0), (2, 5, 4, 2))
    net = layer(3, (2, 3), (2, 1))
    params = net.init(jax.random.PRNGKey(1), x)
    check_grads(net.apply, (params, x), 1, ["rev"], atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("shape", [(1, 2, 9, 1), (9, 9, 1)])
def test_images_that_do_not_fit_are_an_error(shape):
    with pytest.raises(ValueError, match="3x3 kernel takes"):
        layer(1, 3).init(jax.random.PRNGKey(0), jnp.zeros(shape))
