import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from dqnlab.layers.attention import AdditiveAttention

S, B, M, Q, A = 5, 2, 3, 4, 6
RNG = np.random.default_rng(0)
MEMORY = jnp.asarray(RNG.normal(size=(S, B, M)), jnp.float32)
QUERY = jnp.asarray(RNG.normal(size=(B, Q)), jnp.float32)
NET = hk.without_apply_rng(
    hk.transform(lambda query, memory, mask=None: AdditiveAttention(A)(query, memory, mask))
)
PARAMS = jax.tree.map(
    lambda w: w + 0.1, NET.init(jax.random.PRNGKey(0), QUERY, MEMORY)
)  # no bias is zero


def by_hand(query, memory):
    p = {name: jax.tree.map(np.float64, value) for name, value in PARAMS.items()}
    w, v = p["additive_attention/~attend/query"]["w"], p["additive_attention"]["v"]
    u, b = (p["additive_attention/~project/memory"][k] for k in "wb")
    scores = np.array([v @ np.tanh(w.T @ query + u.T @ each + b) for each in memory])
    weights = np.exp(scores) / np.exp(scores).sum()
    return sum(a * each for a, each in zip(weights, memory, strict=True)), weights


def test_attention_is_the_written_equation():
    context, weights = NET.apply(PARAMS, QUERY, MEMORY)
    for i in range(B):
        expected, alpha = by_hand(np.float64(QUERY[i]), np.float64(MEMORY[:, i]))
        np.testing.assert_allclose(weights[:, i], alpha, atol=1e-5)
        np.testing.assert_allclose(context[i], expected, atol=1e-5)


def test_padding_has_no_weight_and_changes_nothing_not_even_gradients():
    mask = jnp.arange(S)[:, None] < jnp.array([[3, 5]])
    context, weights = NET.apply(PARAMS, QUERY, MEMORY, mask)
    assert not np.any(weights[3:, 0])
    np.testing.assert_allclose(weights.sum(axis=0), 1.0, rtol=1e-5)
    alone, _ = NET.apply(PARAMS, QUERY[:1], MEMORY[:3, :1])
    np.testing.assert_allclose(context[:1], alone, atol=1e-6)
    to_memory = jax.grad(lambda m: NET.apply(PARAMS, QUERY, m, mask)[0].sum())(MEMORY)
    assert np.all(np.isfinite(to_memory))
    assert not np.any(to_memory[3:, 0])


def test_its_gradient_is_that_of_finite_differences():
    def value(memory):
        return jnp.sum(jnp.sin(NET.apply(PARAMS, QUERY, memory)[0]))

    gradient = jax.grad(value)(MEMORY)
    for d in np.float32(RNG.normal(size=(5, S, B, M))):
        numeric = (value(MEMORY + 1e-2 * d) - value(MEMORY - 1e-2 * d)) / 2e-2
        np.testing.assert_allclose(jnp.vdot(gradient, d), numeric, rtol=1e-2, atol=1e-3)
