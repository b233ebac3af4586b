"""The fast gradient sign method on logistic regression, where it has a closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dqnlab.looking import adversarial


@pytest.mark.parametrize("epsilon", [0.01, 0.1])
def test_of_logistic_regression_it_lowers_the_margin_by_epsilon_times_the_l1_norm(epsilon):
    rng = np.random.default_rng(0)
    w = jnp.asarray(rng.normal(size=12), jnp.float32)
    x = jnp.asarray(rng.uniform(0.2, 0.8, (5, 12)), jnp.float32)

    def outputs(x):  # two classes whose logits differ by w x
        return jnp.stack([jnp.zeros(len(x)), x @ w], axis=1)

    for choice, side in ((0, -1.0), (1, 1.0)):
        loss = adversarial.doubt(outputs, jnp.full(5, choice))
        moved = adversarial.fast_gradient_sign(loss, x, epsilon)
        # Goodfellow et al. 2015, section 5: the sign of the gradient is -y sign(w).
        np.testing.assert_allclose(moved, x - side * epsilon * jnp.sign(w)[None], atol=1e-6)
        margin = side * (moved @ w)
        np.testing.assert_allclose(margin, side * (x @ w) - epsilon * jnp.abs(w).sum(), rtol=1e-4)
        np.testing.assert_allclose(loss(moved), jax.nn.softplus(-margin), rtol=1e-4)


def test_it_stays_an_image():
    moved = adversarial.fast_gradient_sign(lambda x: x.sum(axis=1), jnp.asarray([[0.95, 0.5]]), 0.1)
    np.testing.assert_allclose(moved, [[1.0, 0.6]])
