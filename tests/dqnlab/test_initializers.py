import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dqnlab import initializers
from dqnlab.types import UserError


def draw(activation, shape):
    init = initializers.make(activation)
    function = hk.transform(lambda: init(shape, jnp.float32))
    return np.asarray(function.apply({}, jax.random.PRNGKey(0)))


@pytest.mark.parametrize(("activation", "factor"), [("tanh", 1), ("linear", 1), ("sigmoid", 4)])
def test_glorot_is_uniform_within_its_bound_and_the_factor_4_is_the_sigmoids(activation, factor):
    w = draw(activation, (300, 500))
    bound = factor * np.sqrt(6 / 800)
    assert 0.99 * bound < np.abs(w).max() <= bound
    np.testing.assert_allclose(w.var(), bound**2 / 3, rtol=0.02)


def test_he_has_twice_the_inverse_of_the_fan_in_as_variance():
    np.testing.assert_allclose(draw("relu", (400, 300)).var(), 2 / 400, rtol=0.02)


def test_the_recurrent_matrix_is_orthogonal():
    w = draw("recurrent", (64, 64))
    np.testing.assert_allclose(w.T @ w, np.eye(64), atol=1e-5)


def test_the_matched_one_keeps_the_signal_through_ten_layers_and_small_weights_do_not():
    x0 = np.random.default_rng(0).normal(size=(200, 100)).astype(np.float32)
    spread = {}
    for name, activation in (("relu", jax.nn.relu), ("tanh", jnp.tanh)):
        for size in ("matched", "small"):
            x = x0
            for layer in range(10):
                key = jax.random.PRNGKey(layer)
                if size == "small":
                    w = 0.01 * jax.random.normal(key, (100, 100))
                else:
                    init = initializers.make(name)
                    w = hk.transform(lambda init=init: init((100, 100), jnp.float32)).apply({}, key)
                x = activation(x @ w)
            spread[name, size] = float(jnp.std(x))
    assert spread["relu", "matched"] > 0.3
    assert spread["tanh", "matched"] > 0.1
    assert max(spread["relu", "small"], spread["tanh", "small"]) < 1e-6


def test_an_unknown_activation_is_refused():
    with pytest.raises(UserError, match="'gelu'; allowed: linear"):
        initializers.make("gelu")
