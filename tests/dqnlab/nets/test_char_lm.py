import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dqnlab.nets import char_lm
from dqnlab.nets.char_lm import CharLM

V, H, LAYERS, T = 7, 6, 2, 4
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, V, (2, 2 * T)), jnp.int32)


def make():
    return CharLM(V, 5, H, LAYERS, dropout=0.5, hidden_dropout=0.5)


NET = hk.transform(lambda tokens, state, is_training: make()(tokens, state, is_training))
PARAMS = jax.jit(NET.init, static_argnums=3)(jax.random.PRNGKey(0), TOKENS, None, False)


@jax.jit
def step(tokens, state):
    return NET.apply(PARAMS, None, tokens, state, False)


def test_the_next_characters_probabilities_sum_to_one_and_see_only_the_past():
    logits, _ = step(TOKENS, None)
    assert logits.shape == (2, 2 * T, V)
    np.testing.assert_allclose(jax.nn.softmax(logits).sum(axis=-1), 1.0, rtol=1e-5)
    other, _ = step(TOKENS.at[:, 5].add(1), None)
    np.testing.assert_array_equal(other[:, :5], logits[:, :5])
    assert np.all(np.any(other[:, 5] != logits[:, 5], axis=-1))


def test_dropout_is_off_at_evaluation_and_on_in_training():
    def logits(seed, is_training):
        return NET.apply(PARAMS, jax.random.PRNGKey(seed), TOKENS, None, is_training)[0]

    np.testing.assert_array_equal(logits(0, False), logits(1, False))
    assert np.any(logits(0, True) != logits(1, True))


def test_chunks_visited_in_order_are_one_text():
    chunks = TOKENS[0].reshape(2, T)
    net = hk.transform_with_state(
        lambda tokens, chunk, train: char_lm.chunk_logits(
            CharLM(V, 5, H, LAYERS), 2, (LAYERS, H), tokens, chunk, train
        )
    )
    params, memory = net.init(jax.random.PRNGKey(0), chunks[:1], jnp.array([0]), True)
    assert jax.tree.structure(params) == jax.tree.structure(PARAMS)
    whole, _ = step(TOKENS[:1], None)
    for k in range(2):
        row = jnp.array([k])
        logits, memory = net.apply(PARAMS, memory, None, chunks[k : k + 1], row, True)
        np.testing.assert_allclose(logits[0], whole[0, k * T : (k + 1) * T], atol=1e-5)
    # What follows the text starts from its end; reading there leaves the memory as it is.
    after, same = net.apply(PARAMS, memory, None, TOKENS[1:, :T], jnp.array([2]), False)
    joined, _ = step(jnp.concatenate([TOKENS[:1], TOKENS[1:, :T]], axis=1), None)
    np.testing.assert_allclose(after[0], joined[0, 2 * T :], atol=1e-5)
    np.testing.assert_array_equal(same["~"]["ends"], memory["~"]["ends"])


def test_temperature_zero_generates_the_likeliest_characters():
    prime = TOKENS[0, :3]
    tokens = char_lm.generate(
        step, jax.random.PRNGKey(0), prime, char_lm.zero_state(1, H, LAYERS), 6, 0.0
    )
    text = list(prime)
    for _ in range(6):
        text.append(jnp.argmax(step(jnp.array([text]), None)[0][0, -1]))
    np.testing.assert_array_equal(tokens, text[3:])


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_temperature_divides_the_logits_that_are_drawn_from(temperature):
    state, prime = char_lm.zero_state(1, H, LAYERS), TOKENS[0, :3]
    keys = jax.random.split(jax.random.PRNGKey(0), 4000)
    draw = jax.jit(
        jax.vmap(lambda key: char_lm.generate(step, key, prime, state, 1, temperature)[0])
    )
    share = np.bincount(draw(keys), minlength=V) / len(keys)
    expected = jax.nn.softmax(step(prime[None], state)[0][0, -1] / temperature)
    np.testing.assert_allclose(share, expected, atol=0.03)
