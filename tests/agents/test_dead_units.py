"""The metric that says how many hidden units a network has lost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from agents import dead_units, registry
from tests.agents.running import start
from tests.agents.test_agents import small


def changed(state, layer, function):
    """The state with the weights of one layer changed."""
    params = {
        name: function(arrays) if name.endswith(layer) else arrays
        for name, arrays in state.train.params.items()
    }
    return state._replace(train=state.train._replace(params=params))


def kill(units):
    """Weights 0 and a negative bias: these units are 0 for every input."""

    def function(arrays):
        w, b = arrays["w"].at[:, units].set(0.0), arrays["b"].at[units].set(-1.0)
        return {**arrays, "w": w, "b": b}

    return function


def test_units_that_nothing_turns_on_are_counted():
    env = envs.make("catch", 8)
    run = start("dqn", small("dqn"), env).advance(50)
    share = dead_units.make(registry.make("dqn", small("dqn"), env.spec), env.spec)
    alive = float(share(run.state))
    assert 0.0 <= alive < 0.5
    silent = changed(run.state, "q_hidden", kill(slice(None)))
    assert float(share(silent)) == 1.0
    plain = jax.tree.map(jnp.copy, run.state)
    loud = changed(plain, "q_hidden", lambda p: {**p, "b": jnp.full_like(p["b"], 100.0)})
    assert float(share(loud)) == 0.0
    assert float(share(changed(loud, "q_hidden", kill(slice(0, 16))))) == pytest.approx(16 / 64)
    assert share._cache_size() == 1


@pytest.mark.parametrize("name", ["pqn", "iqn", "r2d2", "rainbow"])
def test_every_kind_of_head_has_hidden_units(name):
    env = envs.make("catch", small(name).num_envs)
    run = start(name, small(name), env).advance(50)
    value = float(dead_units.make(registry.make(name, small(name), env.spec), env.spec)(run.state))
    assert 0.0 <= value <= 1.0
    assert not np.isnan(value)
