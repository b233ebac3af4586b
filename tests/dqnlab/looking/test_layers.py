"""The layers of nets, seen from outside, against the same sums done by hand."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dqnlab.looking import layers
from dqnlab.nets import MLP, NatureTorso, QHead

KEY = jax.random.PRNGKey(0)


def net(x):
    return QHead(3, hidden=7)(MLP((11, 5))(x))[..., 0]


def trained(f, *args):
    pure = hk.without_apply_rng(hk.transform(f))
    params = pure.init(KEY, *args)
    return params, lambda x: pure.apply(params, x, *args[1:])


X = jax.random.normal(KEY, (4, 6))


def test_every_dense_layer_gives_its_product():
    params, forward = trained(net, X)
    found = layers.layers(forward, X)
    owners = layers.with_weights(found, params)
    assert list(owners) == list(params)
    for name, layer in owners.items():
        by_hand = layer.input @ params[name]["w"] + params[name]["b"][None]
        np.testing.assert_allclose(layer.output, by_hand, atol=1e-5)
    first, second = list(owners.values())[:2]
    np.testing.assert_array_equal(first.input, X)
    np.testing.assert_array_equal(second.input, jax.nn.relu(first.output))
    np.testing.assert_array_equal(found["q_head"].output[..., 0], forward(X))


def test_layers_can_be_seen_inside_jit_and_differentiated():
    params, forward = trained(net, X)
    name = list(params)[1]

    def unit(x):
        return layers.layers(forward, x)[name].output[:, 2]

    np.testing.assert_allclose(jax.jit(unit)(X), unit(X), rtol=1e-5)
    slope = jax.jit(jax.grad(lambda x: unit(x).sum()))(X)
    step = 1e-3 * slope
    moved = (unit(X + step) - unit(X - step)).sum() / 2e-3
    np.testing.assert_allclose(moved, jnp.square(slope).sum(), rtol=1e-2)


def test_a_module_that_is_called_twice_is_seen_twice():
    def twice(x):
        layer = hk.Linear(6, name="same")
        return layer(layer(x))

    _, forward = trained(twice, X)
    found = layers.layers(forward, X)
    assert list(found) == ["same", "same#2"]
    np.testing.assert_array_equal(found["same"].output, found["same#2"].input)


def test_modules_inside_a_loop_over_time_are_left_out_and_those_around_it_kept():
    def recurrent(x):
        hidden, _ = hk.dynamic_unroll(hk.VanillaRNN(3), x[:, None], jnp.zeros((1, 3)))
        return hk.Linear(2, name="after")(hidden[:, 0])

    _, forward = trained(recurrent, X)
    found = jax.jit(lambda x: layers.layers(forward, x))(X)
    assert "after" in found
    assert not any("vanilla_rnn" in name for name in found)


def test_a_tuple_counts_as_its_first_array():
    class Step(hk.Module):
        def __call__(self, x):
            hidden = x @ hk.get_parameter("w", (6, 3), init=jnp.ones)
            return (hidden, (hidden, x))

    params, forward = trained(lambda x: Step()(x)[0], X)
    (layer,) = layers.with_weights(layers.layers(forward, X), params).values()
    np.testing.assert_array_equal(layer.output, forward(X))


def test_the_narrowest_layer_is_the_last_hidden_one_of_a_q_network():
    frames = jax.random.uniform(KEY, (2, 36, 36, 4))
    params, forward = trained(lambda x: QHead(3, hidden=7)(NatureTorso()(x))[..., 0], frames)
    found = layers.layers(forward, frames)
    features = layers.narrowest(found, params, batch_size=2)
    (name,) = (name for name in params if name.endswith("q_hidden"))
    hidden = jax.nn.relu(found[name].output)
    np.testing.assert_array_equal(features, hidden)


def test_the_narrowest_layer_is_the_code_of_an_autoencoder():
    def autoencoder(x):
        code = hk.Linear(2, name="code")(jnp.tanh(hk.Linear(4)(x)))
        return hk.Linear(6)(jnp.tanh(hk.Linear(4)(code)))

    params, forward = trained(autoencoder, X)
    found = layers.layers(forward, X)
    features = layers.narrowest(found, params, batch_size=4)
    np.testing.assert_array_equal(features, found["code"].output)


def test_a_net_without_a_hidden_layer_has_no_features():
    params, forward = trained(lambda x: hk.Linear(2)(x), X)
    with pytest.raises(ValueError, match="no hidden layer"):
        layers.narrowest(layers.layers(forward, X), params, batch_size=4)
