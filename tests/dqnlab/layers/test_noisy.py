import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dqnlab.layers.noisy import NoisyLinear, scaled_noise

P, Q = 9, 4


@hk.transform
def net(x, is_noisy):
    return NoisyLinear(Q, sigma0=0.5)(x, is_noisy)


@pytest.fixture
def params():
    return net.init(jax.random.key(0), jnp.zeros((1, P)), True)


X = jax.random.normal(jax.random.key(1), (5, P))


def test_parameters_start_as_in_the_paper(params):
    (p,) = params.values()
    assert {name: value.shape for name, value in p.items()} == {
        "w": (P, Q), "b": (Q,), "w_sigma": (P, Q), "b_sigma": (Q,)
    }  # fmt: skip
    means = jnp.concatenate([p["w"].ravel(), p["b"]])
    assert jnp.abs(means).max() <= 1 / 3  # 1 / sqrt(9)
    assert jnp.abs(means).max() > 0.25
    assert abs(means.mean()) < 0.15
    for sigma in (p["w_sigma"], p["b_sigma"]):
        np.testing.assert_allclose(sigma, 0.5 / 3, rtol=1e-6)


def test_without_noise_it_is_the_linear_layer_of_its_means(params):
    (p,) = params.values()
    out = net.apply(params, None, X, False)  # and needs no key
    np.testing.assert_allclose(out, X @ p["w"] + p["b"][None], rtol=1e-5, atol=1e-6)
    assert jax.tree.structure(params) == jax.tree.structure(
        net.init(jax.random.key(0), jnp.zeros((1, P)), False)
    )


def test_noise_has_the_factorised_form(params):
    (p,) = params.values()
    means = {"w": jnp.zeros((P, Q)), "b": jnp.zeros(Q)}
    only_w = {"noisy_linear": {**p, **means, "b_sigma": jnp.zeros(Q)}}
    only_b = {"noisy_linear": {**p, **means, "w_sigma": jnp.zeros((P, Q))}}
    key, one_hot = jax.random.key(2), jnp.eye(P)
    w_noise = np.asarray(net.apply(only_w, key, one_hot, True)) / (0.5 / 3)
    b_noise = np.asarray(net.apply(only_b, key, one_hot, True)) / (0.5 / 3)
    assert np.linalg.matrix_rank(w_noise, tol=1e-4) == 1  # f(ε_p) f(ε_q)ᵀ
    np.testing.assert_allclose(b_noise, b_noise[:1].repeat(P, 0))  # one noise for the batch
    # Each row of the weight noise is a multiple of the bias noise f(ε_q), eq. 11.
    ratios = w_noise / b_noise
    np.testing.assert_allclose(ratios, ratios[:, :1].repeat(Q, 1), rtol=1e-4)
    together = net.apply(params, key, X, True) - net.apply(params, None, X, False)
    np.testing.assert_allclose(
        together, (X @ w_noise + b_noise[:1]) * (0.5 / 3), rtol=1e-4, atol=1e-5
    )


def test_noise_has_the_moments_of_a_signed_root_of_a_gaussian():
    noise = scaled_noise(jax.random.key(3), 100_000)
    assert abs(noise.mean()) < 0.01
    # E f(ε)² = E |ε| = sqrt(2 / π)
    np.testing.assert_allclose((noise**2).mean(), np.sqrt(2 / np.pi), rtol=0.01)


def test_truncated_noise_stays_within_its_limit(params):
    noise = scaled_noise(jax.random.key(3), 100_000, limit=2.0)
    assert 1.99 < jnp.square(noise).max() <= 2.0  # f(ε)² = |ε|
    assert abs(noise.mean()) < 0.01
    # E |ε| within +-2: 2 (φ(0) - φ(2)) / (Φ(2) - Φ(-2))
    np.testing.assert_allclose((noise**2).mean(), 0.7227, rtol=0.01)
    truncated = hk.transform(lambda x: NoisyLinear(Q, limit=2.0, name="noisy_linear")(x, True))
    key = jax.random.key(7)
    assert not jnp.allclose(truncated.apply(params, key, X), net.apply(params, key, X, True))


def test_the_same_key_gives_the_same_noise_and_another_another(params):
    apply = jax.jit(net.apply, static_argnums=3)
    first = apply(params, jax.random.key(4), X, True)
    np.testing.assert_array_equal(first, apply(params, jax.random.key(4), X, True))
    assert (jnp.abs(first - apply(params, jax.random.key(5), X, True)) > 1e-4).any()


def test_two_layers_draw_different_noise():
    @hk.transform
    def two(x):
        return NoisyLinear(Q)(x, True), NoisyLinear(Q)(x, True)

    params = two.init(jax.random.key(0), X)
    params["noisy_linear_1"] = params["noisy_linear"]
    one, other = two.apply(params, jax.random.key(6), X)
    assert (jnp.abs(one - other) > 1e-4).any()


def test_gradients_reach_means_and_sigmas(params):
    gradients = jax.grad(lambda p: (net.apply(p, jax.random.key(7), X, True) ** 2).sum())(params)
    for gradient in jax.tree.leaves(gradients):
        assert jnp.isfinite(gradient).all()
        assert gradient.any()


def test_in_bfloat16_only_the_product_is_rounded(params):
    @hk.transform
    def low(x):
        return NoisyLinear(Q, dtype=jnp.bfloat16, name="noisy_linear")(x, True)

    def run(net, *args):
        def loss(p):
            y = net.apply(p, jax.random.key(7), X, *args)
            return (y**2).sum(), y

        return jax.grad(loss, has_aux=True)(params)

    actual, expected = run(low), run(net, True)
    assert {leaf.dtype for leaf in jax.tree.leaves(actual)} == {jnp.dtype(jnp.float32)}
    jax.tree.map(
        lambda a, e: np.testing.assert_allclose(a, e, atol=2e-2 * float(jnp.abs(e).max())),
        actual,
        expected,
    )
    assert not np.array_equal(actual[1], expected[1])
