import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dqnlab import Model, summary
from dqnlab.nets.lenet import LeNet


def rows(function, *shape):
    net = hk.transform_with_state(function)
    return summary.layers(net, jax.ShapeDtypeStruct(shape, np.float32))


def test_a_dense_layer_of_512_to_4_has_2052_parameters():
    (row,) = rows(lambda x, is_training: hk.Linear(4)(x), 1, 512)
    assert (row.output, row.parameters) == ("(1, 4)", 2052)
    assert "2,052" in Model(lambda x: hk.Linear(4)(x)).summary(np.zeros((1, 512), np.float32))


def test_two_dense_layers_of_512_to_128_to_4_have_66180():
    layers = rows(lambda x, is_training: hk.nets.MLP([128, 4])(x), 7, 512)
    assert [row.parameters for row in layers] == [65_664, 516]
    assert [row.output for row in layers] == ["(7, 128)", "(7, 4)"]
    assert "66,180" in summary.text(layers)


def test_the_sequence_scorer_has_its_shapes():
    def scorer(x, is_training):  # one article of six sentences
        hidden, _ = hk.dynamic_unroll(hk.LSTM(512), x, hk.LSTM(512).initial_state(None))
        return hk.Linear(1)(hidden)

    layers = {row.name.split("/")[-1]: row for row in rows(scorer, 6, 4800)}
    assert layers["linear_1" if "linear_1" in layers else "linear"].output == "(6, 1)"
    net = hk.transform_with_state(scorer)
    params, _ = jax.eval_shape(
        lambda x: net.init(jax.random.PRNGKey(0), x, True), jax.ShapeDtypeStruct((6, 4800), "f4")
    )
    total = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert total == 4 * 512 * (4800 + 512 + 1) + 513


def test_state_that_is_not_trained_is_counted_apart():
    def net(x, is_training):
        return hk.Linear(2)(hk.BatchNorm(True, True, 0.9)(hk.Linear(3)(x), is_training))

    text = Model(net).summary(np.zeros((5, 4), np.float32))
    assert "(5, 3)" in text
    trainable, fixed = text.splitlines()[-2:]
    assert trainable.split() == ["trainable", str(15 + 6 + 8)]
    # Two averages of three numbers, each with its hidden sum, and a counter.
    assert fixed.split()[:2] == ["not", "trainable"]
    assert int(fixed.split()[-1]) == 2 * (3 + 3 + 1)


def test_lenet_5_on_28_by_28_has_61706_parameters():
    def net(x, is_training):
        return LeNet(10)(x, is_training)

    layers = rows(net, 2, 28, 28, 1)
    assert sum(row.parameters for row in layers) == 61_706
    assert layers[0].output == "(2, 28, 28, 6)"
    assert layers[-1].output == "(2, 10)"


def test_dropout_is_off_at_evaluation_and_on_in_training():
    net = hk.transform_with_state(lambda x, is_training: LeNet(4, dropout=0.5)(x, is_training))
    x = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 16, 16, 1)), jnp.float32)
    params, state = net.init(jax.random.PRNGKey(0), x, True)
    first, again = (net.apply(params, state, jax.random.PRNGKey(s), x, False)[0] for s in (1, 2))
    np.testing.assert_array_equal(first, again)
    first, again = (net.apply(params, state, jax.random.PRNGKey(s), x, True)[0] for s in (1, 2))
    assert np.abs(first - again).max() > 1e-3


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_lenet_takes_bytes_as_fractions_of_255(dtype):
    net = hk.transform_with_state(lambda x, is_training: LeNet(4)(x, is_training))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 1)).astype(np.uint8)
    params, state = net.init(jax.random.PRNGKey(0), jnp.asarray(pixels), True)
    x = pixels if dtype == "uint8" else (pixels / 255).astype(np.float32)
    logits, _ = net.apply(params, state, None, jnp.asarray(x), False)
    expected, _ = net.apply(params, state, None, jnp.asarray(pixels / 255, jnp.float32), False)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
