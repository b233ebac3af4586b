"""The distributions of returns that distributional agents predict."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from agents import presets, registry


@pytest.mark.parametrize("name", ["c51", "qr_dqn", "iqn", "rainbow", "dqn", "r2d2"])
def test_probabilities_sum_to_one_and_their_mean_is_the_q_value(name):
    spec = envs.make("catch", 1).spec
    settings = dataclasses.replace(presets.preset(name, "laptop"), hidden=16, precision="float32")
    agent = registry.make(name, settings, spec)
    if name in ("dqn", "r2d2"):
        assert agent.returns is None
        return
    params, net_state = agent.init(jax.random.PRNGKey(0))
    key = jax.random.PRNGKey(1)
    obs = jnp.ones((3, *spec.obs_shape, spec.stack), spec.obs_dtype)
    values, probabilities = agent.returns(params, net_state, key, obs)
    assert values.shape == probabilities.shape
    assert values.shape[:2] == (3, spec.num_actions)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1.0, rtol=1e-5)
    mean = (values * probabilities).sum(axis=-1)
    q, _ = agent.q_values(params, net_state, key, obs, (), False)
    # IQN acts upon other random fractions than it is asked about here.
    tolerance = 0.5 * float(np.ptp(values)) if name == "iqn" else 1e-4
    np.testing.assert_allclose(mean, q, atol=tolerance)
