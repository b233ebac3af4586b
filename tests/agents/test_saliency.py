"""Saliency of Q-values, for agents with and without memory, noise and distributions."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import registry, saliency
from agents.presets import preset
from dqnlab.types import UserError
from envs.catch import make_catch

SPEC = make_catch(2).spec
FRAMES = np.random.default_rng(0).integers(0, 256, (2, 10, 5, 1), np.uint8)
ACTIONS = np.array([0, 2], np.int32)


def small(name):
    settings = dataclasses.replace(preset(name, "laptop"), hidden=8, num_action_taus=4)
    agent = registry.make(name, settings, SPEC)
    return agent, *jax.jit(agent.init)(jax.random.PRNGKey(0))


@pytest.mark.parametrize(
    ("name", "method"),
    [(name, "gradient") for name in ("dqn", "c51", "noisy", "iqn", "r2d2")]
    + [(name, "perturbation") for name in ("dqn", "r2d2")],
)
def test_every_kind_of_agent_has_a_heat_of_each_frame(name, method):
    agent, params, net_state = small(name)
    heat_of = saliency.make(agent, method)
    core = agent.core(2)
    heat = heat_of(params, net_state, FRAMES, core, ACTIONS)
    assert heat.shape == (2, 10, 5)
    np.testing.assert_allclose(heat.max(axis=(1, 2)), 1, rtol=1e-6)
    swapped = heat_of(params, net_state, FRAMES[::-1], core, ACTIONS[::-1])
    if name != "iqn":  # draws other quantile fractions for each place in the batch
        np.testing.assert_allclose(heat[::-1], swapped, atol=0.02)


def test_a_pixel_without_weight_is_dark_and_the_action_matters():
    agent, params, net_state = small("dqn")
    w = params["mlp/~/dense"]["w"] if "mlp/~/dense" in params else params["mlp/dense"]["w"]
    blind = jnp.zeros_like(w).at[7].set(w[7])  # sees row 1, column 2 only
    params = jax.tree.map(lambda x: blind if x is w else x, params)
    frames = np.full((2, 10, 5, 1), 128, np.uint8)
    raw = jax.jacrev(
        lambda x: agent.q_values(params, net_state, jax.random.PRNGKey(0), x, (), False)[0][0]
    )(jnp.asarray(frames, jnp.float32) / 255)
    seen = np.flatnonzero(np.asarray(raw[0, 0]).reshape(-1))
    assert seen.tolist() == [7]
    heat = saliency.make(agent)(params, net_state, frames, (), ACTIONS)
    assert np.unravel_index(heat[0].argmax(), (10, 5)) == (1, 2)


def test_an_unknown_method_and_vectors_are_refused():
    agent, params, net_state = small("dqn")
    with pytest.raises(UserError, match="gradient, perturbation"):
        saliency.make(agent, "magic")
    with pytest.raises(UserError, match="needs images"):
        saliency.make(agent)(params, net_state, np.zeros((2, 4, 4), np.float32), (), ACTIONS)
