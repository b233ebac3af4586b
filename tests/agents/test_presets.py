import inspect
from dataclasses import fields, replace

import pytest

from agents import dqn, pqn, registry
from agents.limits import check
from agents.presets import PRESETS, preset
from agents.registry import Entry
from agents.settings import Settings
from dqnlab.types import UserError

ALL = [(agent, name) for agent, presets in PRESETS.items() for name in presets]


@pytest.mark.parametrize(("agent", "name"), ALL)
def test_every_preset_is_possible(agent, name):
    check(preset(agent, name))


def test_every_agent_has_a_laptop_preset_with_a_replay_that_fits():
    for agent, presets in PRESETS.items():
        assert presets["laptop"].replay_capacity <= 250_000, agent


def test_every_setting_says_what_it_is():
    text = inspect.getsource(Settings)
    for field in fields(Settings):
        _, after = text.split(f"\n    {field.name}: ", 1)
        assert after.split("\n")[1].startswith('    """'), field.name


def test_an_agent_without_presets_has_the_shared_laptop(monkeypatch):
    monkeypatch.setitem(registry.AGENTS, "mine", Entry(dqn.make, "-", "a row and no presets"))
    assert preset("mine", "laptop") == preset("dqn", "laptop")
    with pytest.raises(UserError, match=r"preset of mine 'zoo' is unknown.*Allowed: laptop"):
        preset("mine", "zoo")


def test_an_agent_without_presets_that_cannot_use_the_shared_one_says_so(monkeypatch):
    entry = Entry(pqn.make, "-", "a row and no presets", ("rollout",))
    monkeypatch.setitem(registry.AGENTS, "mine", entry)
    with pytest.raises(UserError, match=r"agent 'mine' has no presets, .* learns from rollout: g"):
        preset("mine", "laptop")


@pytest.mark.parametrize(
    ("agent", "name", "numbers"),
    [  # what presets had wrong once; the sources are in agents/published.py
        ("rainbow", "dopamine", {"epsilon_initial": 0.0, "epsilon_final": 0.0}),
        ("der", "dopamine", {"epsilon_initial": 0.0, "epsilon_final": 0.0}),
        ("qr_dqn", "dopamine", {"importance_exponent": 0.0, "importance_exponent_final": 0.0}),
        ("rainbow_dopamine", "dopamine", {"importance_exponent": 0.5, "epsilon_final": 0.01}),
        ("prioritized", "zoo", {"clip_weighted_errors": True, "huber_delta": 1.0}),
        ("rainbow", "zoo", {"noisy_limit": 2.0}),
        ("iqn", "zoo", {"first_cosine": 1}),
        ("iqn", "dopamine", {"first_cosine": 1}),
        ("m_iqn", "paper", {"first_cosine": 1}),
        ("btr", "paper", {"first_cosine": 0}),
        (
            "r2d2",
            "paper",
            {
                "importance_exponent": 0.0,
                "importance_exponent_final": 0.0,
                "priority_exponent": 0.9,
                "max_grad_norm": 40.0,
            },
        ),
    ],
)
def test_published_presets_have_the_numbers_of_their_source(agent, name, numbers):
    settings = preset(agent, name)
    assert {key: getattr(settings, key) for key in numbers} == numbers


def test_laptop_presets_have_none_of_the_sources_peculiarities():
    for agent, presets in PRESETS.items():
        laptop = presets["laptop"]
        found = (laptop.first_cosine, laptop.noisy_limit, laptop.clip_weighted_errors)
        assert found == (0, None, False), agent


@pytest.mark.parametrize(
    ("agent", "name", "says"),
    [
        ("dqn", "lapttop", "preset of dqn 'lapttop' is unknown; did you mean laptop?"),
        ("dqn", "zoo", "Allowed: laptop, nature, dopamine"),
        ("rainbw", "laptop", "agent 'rainbw' is unknown; did you mean rainbow?"),
    ],
)
def test_an_unknown_preset_is_refused_with_the_nearest(agent, name, says):
    with pytest.raises(UserError, match=says.replace("?", r"\?")):
        preset(agent, name)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"n_step": -1}, "n_step is -1; it must be an integer of at least 1"),
        ({"num_envs": 0}, "num_envs is 0; it must be an integer of at least 1"),
        ({"num_atoms": 1}, "num_atoms is 1; it must be an integer of at least 2"),
        ({"v_max": 0.0}, "v_max is 0.0; it must be a finite number above 0"),
        ({"v_max": float("nan")}, "v_max is nan; it must be a finite number above 0"),
        ({"num_quantiles": 0}, "num_quantiles is 0; it must be an integer of at least 1"),
        ({"num_taus": 0}, "num_taus is 0"),
        ({"noisy_sigma": -0.5}, "noisy_sigma is -0.5; it must be None or a number above 0"),
        ({"noisy_limit": 0.0}, "noisy_limit is 0.0; it must be None or a number above 0"),
        ({"first_cosine": -1}, "first_cosine is -1; it must be an integer of at least 0"),
        (
            {"clip_weighted_errors": True, "huber_delta": None},
            "clip_weighted_errors is True; it must be off where huber_delta is None",
        ),
        ({"munchausen_tau": 0.0}, "munchausen_tau is 0.0"),
        ({"munchausen_l0": 1.0}, "munchausen_l0 is 1.0; it must be a finite number, at most 0"),
        ({"munchausen_policy": "both"}, "munchausen_policy is both; it must be one of target, on"),
        ({"munchausen_alpha": 0.9, "double": True}, "double is True; it must be off with Munch"),
        ({"discount": 1.5}, "discount is 1.5; it must be between 0 and 1"),
        ({"epsilon_initial": -0.1}, "epsilon_initial is -0.1; it must be between 0 and 1"),
        ({"epsilon_off_steps": -1}, "epsilon_off_steps is -1; it must be a whole number"),
        ({"replay": "priority"}, "replay is priority; it must be one of uniform, prioritized"),
        ({"priority_exponent": 2.0}, "priority_exponent is 2.0; it must be between 0 and 1"),
        ({"importance_exponent_steps": -1}, "importance_exponent_steps is -1"),
        ({"torso": "resnet"}, "torso is resnet; it must be one of auto, auto_impala"),
        ({"torso_width": 0}, "torso_width is 0; it must be a multiple of 1/16, above 0"),
        ({"torso_width": 0.3}, "torso_width is 0.3"),
        ({"torso_width": float("inf")}, "torso_width is inf"),
        ({"pool_size": 0}, "pool_size is 0; it must be None or an integer of at least 1"),
        ({"torso_padding": "full"}, "torso_padding is full; it must be one of valid, same"),
        ({"torso_padding": "same", "layer_norm": True}, "torso_padding is same; it must be valid"),
        (
            {"torso_padding": "same", "centre_frames": True},
            "torso_padding is same; it must be valid",
        ),
        ({"initializer": "zeros"}, "initializer is zeros; it must be one of fan_in_uniform, he"),
        ({"augmentation_pad": -4}, "augmentation_pad is -4; it must be an integer of at least 0"),
        ({"huber_delta": 0.0}, "huber_delta is 0.0; it must be None or a number above 0"),
        (
            {"learning_rate_final": 0.001},
            "learning_rate_final is 0.001; it must be None or at most",
        ),
        ({"learning_rate_final": 0.0}, "learning_rate_final is 0.0; it must be None or a number"),
        ({"learning_rate_decay_steps": -1}, "learning_rate_decay_steps is -1"),
        ({"learning_rate": float("inf")}, "learning_rate is inf; it must be a finite number"),
        ({"batch_size": 9, "replay_capacity": 8}, "batch_size is 9; it must be at most replay_c"),
        ({"target_update_period": 6}, r"must be a multiple of update_period \(4\)"),
    ],
)
def test_impossible_settings_are_refused(change, says):
    with pytest.raises(UserError, match=says):
        check(replace(Settings(), **change))
