from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from agents import registry
from agents.settings import Settings

STEADY = Settings(learning_rate=0.01, optimizer_epsilon=1e-12, max_grad_norm=None)


def step_sizes(settings, num_updates):
    """What Adam takes off a weight whose gradient is always 1: the learning rate."""
    optimizer = registry.make_optimizer(settings)
    weight, sizes = jnp.zeros(()), []
    state = optimizer.init(weight)
    for _ in range(num_updates):
        update, state = optimizer.update(jnp.ones(()), state, weight)
        sizes.append(-float(update))
    return sizes


@pytest.mark.parametrize(
    "periods",
    [
        {"num_envs": 8, "update_period": 4},
        {"num_envs": 2, "update_period": 4},
        {"replay": "rollout", "rollout_steps": 4, "num_envs": 4, "epochs": 2, "batch_size": 8},
    ],
)
def test_the_learning_rate_stays_falls_linearly_over_agent_steps_and_stays(periods):
    made = replace(
        STEADY,
        learning_starts=40,
        learning_rate_final=0.002,
        learning_rate_decay_starts=48,
        learning_rate_decay_steps=16,
        **periods,
    )
    expected = [0.01, 0.01, 0.01, 0.008, 0.006, 0.004, 0.002, 0.002, 0.002]
    np.testing.assert_allclose(step_sizes(made, 9), expected, rtol=1e-4)


def test_without_a_final_rate_it_stays_what_it_is():
    np.testing.assert_allclose(step_sizes(STEADY, 5), [0.01] * 5, rtol=1e-4)


@pytest.mark.parametrize("final", [None, 0.005])
def test_the_learning_rate_rises_from_the_first_update_on(final):
    made = replace(
        STEADY,
        learning_starts=40,
        learning_rate_warmup_steps=16,
        learning_rate_final=final,
        learning_rate_decay_starts=64,
        learning_rate_decay_steps=0,
        num_envs=8,
        update_period=4,
    )
    last = 0.01 if final is None else final
    expected = [0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01, 0.01, last, last]
    np.testing.assert_allclose(step_sizes(made, 9), expected, rtol=1e-4)


def test_a_decay_over_no_steps_is_over_after_one_update():
    made = replace(
        STEADY,
        learning_rate_final=0.002,
        learning_rate_decay_starts=0,
        learning_rate_decay_steps=0,
    )
    np.testing.assert_allclose(step_sizes(made, 3), [0.01, 0.002, 0.002], rtol=1e-4)
