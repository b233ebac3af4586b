import functools
from dataclasses import replace

import jax
import numpy as np
import pytest

import envs
from agents import listing, registry
from agents.agent import Transition
from agents.presets import preset
from agents.settings import Settings
from dqnlab.types import EnvSpec, UserError
from tests.own_games import SHAPES

SPEC = EnvSpec("model", 2, 3, ("a", "b", "c"), (40,), "float32", 1, 1, {}, False)


@pytest.mark.parametrize(
    ("initializer", "bound"),
    [
        ("fan_in_uniform", lambda n_in, n_out: n_in**-0.5),
        ("he_uniform", lambda n_in, n_out: (6 / n_in) ** 0.5),
        ("glorot_uniform", lambda n_in, n_out: (6 / (n_in + n_out)) ** 0.5),
        ("dopamine_uniform", lambda n_in, n_out: 3**0.25 * n_in**-0.5),
    ],
)
def test_initializers_fill_their_range_and_only_natures_has_biases(initializer, bound):
    settings = Settings(initializer=initializer, hidden=64, torso="mlp")
    params, _ = registry.make("dqn", settings, SPEC).init(jax.random.PRNGKey(0))
    assert len(params) == 3
    for arrays in params.values():
        limit = bound(*arrays["w"].shape)
        assert 0.9 * limit < np.abs(arrays["w"]).max() <= limit
        assert np.any(arrays["b"]) == (initializer == "fan_in_uniform")


def test_an_untrained_network_by_he_tells_frames_of_pong_apart():
    env = envs.make("Pong", 8, "machado2018", training=True)
    rng = np.random.default_rng(0)
    state, step = env.reset(0)
    played = [step.obs]
    for _ in range(159):
        state, step = env.step(state, rng.integers(0, 6, 8, np.int32))
        played.append(step.obs)
    env.close()
    frames = np.concatenate([np.stack(played[i : i + 4], -1) for i in range(0, 160, 4)])

    def spread(initializer):
        """The standard deviation, over frames, of Q-values: they say little where it is small."""
        settings = Settings(initializer=initializer, centre_frames=True, precision="float32")
        agent = registry.make("dqn", settings, env.spec)
        params, net_state = agent.init(jax.random.PRNGKey(0))
        key = jax.random.PRNGKey(1)
        q, _ = agent.q_values(params, net_state, key, frames, (), False)
        return float(q.std(axis=0).mean())

    assert spread("he_uniform") > 30 * spread("fan_in_uniform")


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
    for width in (1, 0.5):
        params, _ = shapes(torso="auto", torso_width=width)
        assert params["q_head/~_dense/value_hidden"]["w"].shape == (3136 * width, 512)


@pytest.mark.parametrize("name", [*SHAPES])
@pytest.mark.parametrize("torso", ["auto", "nature", "auto_impala"])
def test_images_of_36_pixels_have_a_conv_net_over_all_their_channels(name, torso):
    spec = envs.make(f"tests.own_games:{name}-v0", 1).spec
    make = functools.partial(registry.make, "dqn", Settings(torso=torso, hidden=8), spec)
    if name == "SmallColour" and torso == "nature":
        with pytest.raises(UserError, match=r"images of at least 36x36; .* shows 9x10x3"):
            make()
        return
    params, _ = jax.eval_shape(make().init, jax.random.PRNGKey(0))
    kernels = [arrays["w"].shape for name, arrays in params.items() if "conv" in name]
    if name == "SmallColour":
        assert not kernels
    else:
        assert kernels[0][2] == (12 if "Colour" in name else 4)


@pytest.mark.slow
def test_a_colour_agent_learns_on_augmented_images_too():
    env = envs.make("tests.own_games:Colour-v0", 2)
    settings = Settings(hidden=8, torso_width=1 / 16, augmentation_pad=2, precision="float32")
    agent = registry.make("dqn", settings, env.spec)
    params, net_state = agent.init(jax.random.PRNGKey(0))
    rng = np.random.default_rng(0)
    s_tm1, s_t = rng.integers(0, 256, (2, 3, 40, 44, 3, 4), np.uint8)
    batch = Transition(s_tm1, np.zeros(3, int), np.ones(3), np.zeros(3), s_t)
    out = agent.loss(params, params, net_state, jax.random.PRNGKey(1), batch)
    assert np.isfinite(out.loss).all()
