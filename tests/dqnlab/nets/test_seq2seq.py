import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from dqnlab.nets.seq2seq import Seq2Seq

B, S, T = 2, 6, 4
RNG = np.random.default_rng(0)
SOURCE = jnp.asarray(RNG.integers(0, 9, (B, S)), jnp.int32)
MASK = jnp.arange(S)[None] < jnp.array([[4], [6]])
TARGET = jnp.asarray(RNG.integers(0, 5, (B, T)), jnp.int32)


def make():
    return Seq2Seq(9, 5, hidden=8, embedding=7)


FORCED = hk.without_apply_rng(hk.transform(lambda *x: make()(*x)))
GREEDY = hk.without_apply_rng(hk.transform(lambda *x: make().greedy(*x, T)))
# Weights large enough that the likeliest token differs from step to step.
PARAMS = jax.tree.map(
    lambda w: 3.0 * w, jax.jit(FORCED.init)(jax.random.PRNGKey(0), SOURCE, MASK, TARGET)
)


def test_greedy_decoding_is_teacher_forcing_with_its_own_choices():
    tokens, looked = jax.jit(GREEDY.apply)(PARAMS, SOURCE, MASK)
    logits, weights = jax.jit(FORCED.apply)(PARAMS, SOURCE, MASK, tokens)
    np.testing.assert_array_equal(jnp.argmax(logits, axis=-1), tokens)
    np.testing.assert_allclose(looked, weights, atol=1e-5)
    assert len(np.unique(tokens)) > 1


def test_attention_sums_to_one_and_the_sources_padding_changes_nothing():
    logits, weights = FORCED.apply(PARAMS, SOURCE, MASK, TARGET)
    assert logits.shape == (B, T, 5)
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0, rtol=1e-5)
    assert not np.any(weights[0, :, 4:])
    other, _ = FORCED.apply(PARAMS, SOURCE.at[0, 4:].set(8), MASK, TARGET)
    np.testing.assert_allclose(other, logits, atol=1e-6)
    short, _ = FORCED.apply(PARAMS, SOURCE[:1, :4], MASK[:1, :4], TARGET[:1])
    np.testing.assert_allclose(short, logits[:1], atol=1e-5)


def test_a_step_is_not_told_its_own_target():
    logits, _ = FORCED.apply(PARAMS, SOURCE, MASK, TARGET)
    other, _ = FORCED.apply(PARAMS, SOURCE, MASK, TARGET.at[:, 2].set((TARGET[:, 2] + 1) % 5))
    np.testing.assert_array_equal(other[:, :3], logits[:, :3])
    assert np.any(other[:, 3] != logits[:, 3])
