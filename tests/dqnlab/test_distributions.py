import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from dqnlab import distributions
from dqnlab.distributions import Bernoulli, Categorical, Gaussian, GaussianMixture

RNG = np.random.default_rng(0)
MEAN, LOG_VAR = RNG.normal(size=(2, 5, 3)).astype(np.float32)
LOGITS = RNG.normal(size=(5, 3)).astype(np.float32)
VALUE = RNG.normal(size=5).astype(np.float32)


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)


def mixture_density(value):
    densities = scipy.stats.norm.pdf(value[:, None], MEAN, np.exp(LOG_VAR / 2))
    return (softmax(LOGITS) * densities).sum(axis=-1)


def test_bernoulli_is_scipys():
    value = np.array([[0, 1, 0]] * 5)
    expected = scipy.stats.bernoulli.logpmf(value, scipy.special.expit(LOGITS))
    np.testing.assert_allclose(Bernoulli(LOGITS).log_prob(value), expected, rtol=1e-5)


def test_bernoulli_is_finite_at_any_logit():
    log_prob = Bernoulli(jnp.array([-1e4, -1e4, 1e4, 1e4])).log_prob(jnp.array([0.0, 1, 0, 1]))
    np.testing.assert_array_equal(log_prob, [0, -1e4, -1e4, 0])


def test_categorical_is_scipys():
    value = np.array([0, 1, 2, 1, 0])
    expected = [
        scipy.stats.multinomial.logpmf(np.eye(3)[v], 1, p)
        for v, p in zip(value, softmax(LOGITS.astype(float)), strict=True)
    ]
    np.testing.assert_allclose(Categorical(LOGITS).log_prob(value), expected, rtol=1e-5)


def test_gaussian_is_scipys_with_the_log_of_the_variance():
    value = RNG.normal(size=(5, 3)).astype(np.float32)
    expected = scipy.stats.norm.logpdf(value, MEAN, np.sqrt(np.exp(LOG_VAR)))
    np.testing.assert_allclose(Gaussian(MEAN, LOG_VAR).log_prob(value), expected, rtol=1e-4)


def test_mixture_is_the_weighted_sum_of_scipys_densities():
    log_prob = GaussianMixture(LOGITS, MEAN, LOG_VAR).log_prob(VALUE)
    np.testing.assert_allclose(log_prob, np.log(mixture_density(VALUE)), rtol=1e-4)


def test_a_mixture_of_one_is_a_gaussian():
    mixture = GaussianMixture(LOGITS[:, :1], MEAN[:, :1], LOG_VAR[:, :1])
    gaussian = Gaussian(MEAN[:, 0], LOG_VAR[:, 0])
    np.testing.assert_allclose(mixture.log_prob(VALUE), gaussian.log_prob(VALUE), rtol=1e-5)


@pytest.mark.parametrize(
    ("distribution", "cdf"),
    [
        (Gaussian(jnp.float32(1.5), jnp.float32(-1.0)), scipy.stats.norm(1.5, np.exp(-0.5)).cdf),
        (
            GaussianMixture(jnp.log(jnp.array([0.2, 0.8])), jnp.array([-2.0, 1.0]), jnp.zeros(2)),
            lambda x: 0.2 * scipy.stats.norm.cdf(x, -2) + 0.8 * scipy.stats.norm.cdf(x, 1),
        ),
    ],
)
def test_continuous_samples_have_the_density(distribution, cdf):
    samples = jax.vmap(distribution.sample)(jax.random.split(jax.random.PRNGKey(0), 5000))
    assert scipy.stats.kstest(np.asarray(samples), cdf).pvalue > 0.01


@pytest.mark.parametrize(
    ("distribution", "p"),
    [
        (Bernoulli(jnp.float32(-0.7)), [1 - scipy.special.expit(-0.7), scipy.special.expit(-0.7)]),
        (Categorical(jnp.array([0.0, 1.0, -1.0])), softmax(np.array([0.0, 1.0, -1.0]))),
    ],
)
def test_discrete_samples_have_the_probabilities(distribution, p):
    samples = jax.vmap(distribution.sample)(jax.random.split(jax.random.PRNGKey(0), 5000))
    counts = np.bincount(np.asarray(samples).astype(int), minlength=len(p))
    assert scipy.stats.chisquare(counts, 5000 * np.array(p)).pvalue > 0.01


def test_no_value_is_more_probable_than_the_mode():
    for distribution, values in (
        (Bernoulli(LOGITS), [np.zeros((5, 3)), np.ones((5, 3))]),
        (Categorical(LOGITS), [np.full(5, k) for k in range(3)]),
        (Gaussian(MEAN, LOG_VAR), [MEAN - 0.1, MEAN + 0.1]),
    ):
        best = distribution.log_prob(distribution.mode())
        for value in values:
            assert (np.asarray(distribution.log_prob(value)) <= best).all()


def test_the_mode_of_separate_components_is_the_highest_peak():
    # Probable but wide against rare but narrow: 0.8 / 1 < 0.2 / 0.1.
    mixture = GaussianMixture(
        jnp.log(jnp.array([[0.8, 0.2]])),
        jnp.array([[-5.0, 5.0]]),
        jnp.log(jnp.array([[1.0, 0.01]])),
    )
    np.testing.assert_array_equal(mixture.mode(), [5.0])


def test_kl_is_that_of_monte_carlo():
    p, q = Gaussian(jnp.float32(0.3), jnp.float32(-0.5)), Gaussian(jnp.float32(-1), jnp.float32(1))
    samples = jax.vmap(p.sample)(jax.random.split(jax.random.PRNGKey(0), 20_000))
    ratios = np.asarray(p.log_prob(samples) - q.log_prob(samples))
    error = ratios.std() / np.sqrt(len(ratios))
    assert abs(ratios.mean() - distributions.kl_gaussian(p, q)) < 4 * error
    assert distributions.kl_gaussian(p, p) == 0


def test_elbo_is_log_p_of_x_where_the_posterior_is_exact():
    # x = z + noise, both standard normal: z given x is N(x / 2, 1/2), and x is N(0, 2).
    x = jnp.array([[0.4], [-1.7]])
    posterior = Gaussian(x / 2, jnp.full((2, 1), jnp.log(0.5)))

    def bound(key):
        return distributions.elbo(Gaussian(posterior.sample(key), jnp.zeros((2, 1))), x, posterior)

    bounds = jax.vmap(bound)(jax.random.split(jax.random.PRNGKey(0), 20_000))
    expected = scipy.stats.norm.logpdf(np.asarray(x)[:, 0], 0, np.sqrt(2))
    np.testing.assert_allclose(bounds.mean(axis=0), expected, atol=0.02)


def test_nll_sums_over_elements_and_averages_over_examples():
    outputs = Bernoulli(jnp.zeros((4, 2, 3)))
    value, metrics = distributions.nll(outputs, {"y": jnp.ones((4, 2, 3))})
    np.testing.assert_allclose(value, 6 * np.log(2), rtol=1e-6)
    assert metrics["nll"] == value


def test_gradients_of_log_prob_are_those_of_finite_differences():
    mixture = GaussianMixture(jnp.asarray(LOGITS), jnp.asarray(MEAN), jnp.asarray(LOG_VAR))
    jax.test_util.check_grads(
        lambda m: m.log_prob(jnp.asarray(VALUE)), (mixture,), 1, ["rev"], atol=1e-2, rtol=1e-2
    )
