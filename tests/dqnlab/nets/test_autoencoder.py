import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from dqnlab.nets import autoencoder
from dqnlab.nets.autoencoder import DenseAutoencoder, FrameAutoencoder, Reconstruction


def dense(sizes, **kwargs):
    return hk.transform(lambda x, t: DenseAutoencoder(sizes, name="net", **kwargs)(x, t))


X = jax.random.normal(jax.random.PRNGKey(0), (5, 12))


@pytest.mark.parametrize("tied", [False, True])
def test_tied_layers_share_their_weights(tied):
    params = dense([8, 3], tied=tied).init(jax.random.PRNGKey(0), X, True)
    down, biases = 12 * 8 + 8 * 3, (8 + 3) + (8 + 12)
    expected = down * (1 if tied else 2) + biases
    assert hk.data_structures.tree_size(params) == expected


def test_a_tied_net_is_its_formula():
    net = dense([8, 3], tied=True)
    params = net.init(jax.random.PRNGKey(0), X, True)
    a, b = params["net/layer0"], params["net/layer1"]
    code = jnp.tanh(jnp.tanh(X @ a["w"]) @ b["w"])
    back = jnp.tanh(code @ b["w"].T) @ a["w"].T
    out = net.apply(params, None, X, False)
    np.testing.assert_allclose(out.code, code, atol=1e-5)
    np.testing.assert_allclose(out.x, back, atol=1e-5)


def test_noise_is_added_in_training_only():
    net = dense([4], noise=0.5)
    params = net.init(jax.random.PRNGKey(0), X, True)
    plain = net.apply(params, None, X, False)
    noisy = net.apply(params, jax.random.PRNGKey(1), X, True)
    assert not np.allclose(plain.code, noisy.code)


@pytest.mark.parametrize("tied", [False, True])
def test_gradients_are_those_of_finite_differences(tied):
    net = dense([4], tied=tied)
    params = net.init(jax.random.PRNGKey(0), X, True)
    check_grads(
        lambda p: net.apply(p, None, X, False).x, (params,), 1, ["rev"], atol=1e-2, rtol=1e-2
    )


def test_sparsity_adds_the_mean_absolute_code():
    outputs = Reconstruction(jnp.zeros((2, 3)), jnp.array([[1.0, -3.0], [0.0, 0.0]]))
    loss, metrics = autoencoder.squared_error(outputs, jnp.ones((2, 3)), sparsity=0.1)
    np.testing.assert_allclose([loss, metrics["mse"], metrics["activity"]], [1.1, 1.0, 1.0])


def test_pretrained_layers_fit_the_stack_and_help_it():
    x = (load_digits().data[:400] / 16).astype(np.float32)
    sizes = (24, 8)
    params = autoencoder.stack_pretrain(x, sizes, epochs=15, batch_size=50, learning_rate=5e-3)
    net = hk.transform(lambda x, t: DenseAutoencoder(sizes)(x, t))
    start = net.init(jax.random.PRNGKey(0), x[:2], True)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, start)

    def error(params):
        return float(autoencoder.squared_error(net.apply(params, None, x, False), x)[0])

    assert error(params) < 0.6 * x.var(axis=0).mean() < 0.6 * error(start)


def test_frames_come_back_in_their_shape():
    net = hk.transform(lambda x: FrameAutoencoder(7)(x))
    frames = jnp.zeros((2, 84, 84, 3), jnp.uint8)
    params = jax.eval_shape(net.init, jax.random.PRNGKey(0), frames)
    out = jax.eval_shape(lambda params: net.apply(params, None, frames), params)
    assert out.x.shape == (2, 84, 84, 3)
    assert out.code.shape == (2, 7)
    assert params["frame_autoencoder/nature_torso/conv2_d"]["w"].shape == (8, 8, 3, 32)


def test_beside_pca_it_starts_as_pca():
    frames = np.random.default_rng(0).integers(0, 255, (40, 84, 84, 1), np.uint8)
    x = frames.reshape(40, -1).astype(np.float32) / 255
    pca = PCA(3).fit(x)
    net = hk.transform(lambda x: FrameAutoencoder(3, beside_pca=True)(x))
    params = net.init(jax.random.PRNGKey(0), frames)
    scale = np.sqrt(pca.explained_variance_)
    params = autoencoder.principal(params, pca.mean_, pca.components_, scale)
    out = net.apply(params, None, frames)
    expected = pca.inverse_transform(pca.transform(x))
    np.testing.assert_allclose(out.x.reshape(40, -1), expected, atol=1e-4)
    np.testing.assert_allclose(out.code.std(axis=0, ddof=1), 1, rtol=1e-3)


def test_other_frames_are_an_error():
    net = hk.transform(lambda x: FrameAutoencoder(7)(x))
    with pytest.raises(ValueError, match="84, 84"):
        net.init(jax.random.PRNGKey(0), jnp.zeros((2, 80, 84, 3)))
