import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dqnlab.nets.sequence import Reader, Tagger

B, T, D = 2, 5, 3
X = jnp.asarray(np.random.default_rng(0).normal(size=(B, T, D)), jnp.float32)
MASK = jnp.arange(T)[None] < jnp.array([[3], [5]])
FILLED = jnp.where(MASK[..., None], X, 99.0)


@pytest.mark.parametrize("is_both", [False, True])
def test_a_tagger_gives_each_step_an_output_that_padding_does_not_change(is_both):
    net = hk.without_apply_rng(
        hk.transform(lambda x, mask: Tagger(4, 6, "lstm", is_both)(x, mask, False))
    )
    params = net.init(jax.random.PRNGKey(0), X, MASK)
    outputs = net.apply(params, FILLED, MASK)
    assert outputs.shape == (B, T, 4)
    np.testing.assert_allclose(outputs[0, :3], net.apply(params, X[:1, :3], None)[0], atol=1e-6)
    late = net.apply(params, X.at[1, 4].add(1.0), MASK)
    assert np.any(late[1, 0] != outputs[1, 0]) == is_both  # only then does it see what follows


def test_a_tagger_of_one_output_is_a_sequence_scorer():
    net = hk.without_apply_rng(hk.transform(lambda x: Tagger(1, 512)(x, None, False)))
    x = jnp.zeros((1, 6, 4800))
    params = jax.eval_shape(net.init, jax.random.PRNGKey(0), x)
    assert jax.eval_shape(net.apply, params, x).shape == (1, 6, 1)


def test_a_taggers_dropout_is_off_at_evaluation():
    net = hk.transform(lambda x, train: Tagger(4, 6, dropout=0.5)(x, None, train))
    params = net.init(jax.random.PRNGKey(0), X, False)
    keys = jax.random.split(jax.random.PRNGKey(1))
    for train in (False, True):
        a, b = (net.apply(params, key, X, train) for key in keys)
        assert np.any(a != b) == train


@pytest.mark.parametrize("layer", ["rnn", "gru", "lstm"])
def test_a_reader_sees_the_whole_sequence_and_nothing_of_the_padding(layer):
    net = hk.without_apply_rng(hk.transform(lambda x, mask: Reader(2, 6, layer)(x, mask)))
    params = net.init(jax.random.PRNGKey(0), X, MASK)
    outputs = net.apply(params, FILLED, MASK)
    assert outputs.shape == (B, 2)
    np.testing.assert_allclose(outputs[:1], net.apply(params, X[:1, :3], None), atol=1e-6)
    assert np.any(net.apply(params, FILLED.at[0, 0].add(1.0), MASK)[0] != outputs[0])
