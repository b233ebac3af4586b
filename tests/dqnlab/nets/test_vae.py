import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dqnlab.nets import vae
from dqnlab.nets.vae import VAE

X = (jax.random.uniform(jax.random.PRNGKey(0), (6, 784)) > 0.5).astype(jnp.float32)
Y = jnp.arange(6)


def plain(code_size=100):
    return hk.transform(lambda x: VAE(code_size)(x))


def conditional():
    return hk.transform(lambda x, y: VAE(4, (16, 8), num_classes=10)(x, y))


def test_the_published_net_has_its_layers():
    params = jax.eval_shape(plain().init, jax.random.PRNGKey(0), X)
    sizes = [(784, 200), (200, 200), (200, 100), (200, 100), (100, 200), (200, 200), (200, 784)]
    assert sorted(layer["w"].shape for layer in params.values()) == sorted(sizes)


def test_codes_are_drawn_where_there_is_a_key_and_means_where_there_is_none():
    net = hk.transform(lambda x: VAE(4, (16,))(x))
    params = net.init(jax.random.PRNGKey(0), X)
    first, second = (net.apply(params, jax.random.PRNGKey(i), X) for i in range(2))
    np.testing.assert_array_equal(first.posterior.mean, second.posterior.mean)
    assert not np.allclose(first.decoded.logits, second.decoded.logits)
    means = [net.apply(params, None, X).decoded.logits for _ in range(2)]
    np.testing.assert_array_equal(*means)


def test_the_class_changes_what_is_decoded():
    net = conditional()
    params = net.init(jax.random.PRNGKey(0), X, Y)
    assert params["vae/encode0"]["w"].shape == (784 + 10, 16)
    assert params["vae/~decode/decode0"]["w"].shape == (4 + 10, 8)
    logits = [net.apply(params, None, X, Y + i).decoded.logits for i in range(2)]
    assert not np.allclose(*logits)


def test_a_class_that_is_missing_or_too_much_is_an_error():
    with pytest.raises(ValueError, match="y goes with num_classes"):
        hk.transform(lambda x: VAE(4, num_classes=10)(x)).init(jax.random.PRNGKey(0), X)
    with pytest.raises(ValueError, match="y goes with num_classes"):
        hk.transform(lambda x, y: VAE(4)(x, y)).init(jax.random.PRNGKey(0), X, Y)


def test_a_posterior_equal_to_the_prior_costs_nothing_but_the_pixels():
    zeros = vae.Gaussian(jnp.zeros((6, 3)), jnp.zeros((6, 3)))
    outputs = vae.VAEOutput(vae.Bernoulli(jnp.zeros((6, 784))), zeros)
    loss, metrics = vae.negative_elbo(outputs, X)
    np.testing.assert_allclose([loss, metrics["kl"]], [784 * np.log(2), 0], rtol=1e-6)
