from dataclasses import replace

import jax
import numpy as np
import pytest

from agents import listing, registry
from agents.presets import preset
from agents.settings import Settings
from dqnlab.types import EnvSpec

SPEC = EnvSpec("model", 2, 3, ("a", "b", "c"), (40,), "float32", 1, 1, {}, False)


@pytest.mark.parametrize(
    ("initializer", "bound"),
    [
        ("fan_in_uniform", lambda n_in, n_out: n_in**-0.5),
        ("glorot_uniform", lambda n_in, n_out: (6 / (n_in + n_out)) ** 0.5),
        ("dopamine_uniform", lambda n_in, n_out: 3**0.25 * n_in**-0.5),
    ],
)
def test_initializers_fill_their_range_and_dopamines_have_no_biases(initializer, bound):
    settings = Settings(initializer=initializer, hidden=64, torso="mlp")
    params, _ = registry.make("dqn", settings, SPEC).init(jax.random.PRNGKey(0))
    assert len(params) == 3
    for arrays in params.values():
        limit = bound(*arrays["w"].shape)
        assert 0.9 * limit < np.abs(arrays["w"]).max() <= limit
        assert np.any(arrays["b"]) == (initializer == "fan_in_uniform")


def test_noisy_layers_keep_their_own_initialisation():
    settings = Settings(initializer="glorot_uniform", noisy_sigma=0.3, hidden=64, torso="mlp")
    params, _ = registry.make("dqn", settings, SPEC).init(jax.random.PRNGKey(0))
    hidden = params["q_head/~_dense/q_hidden"]
    assert 0.9 / 16 < np.abs(hidden["w"]).max() <= 1 / 16  # 256 features of the torso
    np.testing.assert_allclose(hidden["w_sigma"], 0.3 / 16)
    assert np.any(hidden["b"])


def test_spectral_normalisation_and_the_choice_of_torso_follow_the_settings():
    def shapes(**changes):
        settings = replace(preset("btr", "paper"), **changes)
        init = registry.make("btr", settings, listing.ATARI).init
        return jax.eval_shape(init, jax.random.PRNGKey(0))

    params, net_state = shapes()
    assert params["q_head/~_dense/value_hidden"]["w"].shape == (2304, 512)
    assert len(net_state) == 12
    params, net_state = shapes(spectral_norm=False, pool_size=None, torso_width=1)
    assert params["q_head/~_dense/value_hidden"]["w"].shape == (3872, 512)
    assert not net_state
    params, _ = shapes(torso="auto")
    assert params["q_head/~_dense/value_hidden"]["w"].shape == (3136, 512)
