"""One table of properties that every agent has with every replay it can use.

A new agent gets a row in CATCH: what it needs beside SHARED to learn Catch in a minute.
"""

import itertools
import time
from collections import Counter
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from agents import evaluation, feed_forward, listing, registry, runner
from agents.agent import Transition
from agents.limits import check
from agents.presets import PRESETS, preset, presets_of
from agents.settings import Settings
from dqnlab.types import UserError
from tests.agents.running import Run, assert_equal, compilations, saved_and_loaded, start

SHARED: dict[str, Any] = {
    "num_envs": 8,
    "learning_starts": 400,
    "update_period": 4,
    "target_update_period": 200,
    "replay_capacity": 8_000,
    "epsilon_decay_steps": 2_000,
    "learning_rate": 1e-3,
    "hidden": 64,
    "torso": "mlp",
    "precision": "float32",
    "num_atoms": 21,
    "v_max": 2.0,
    "num_quantiles": 21,
    "num_action_taus": 8,
    "importance_exponent_steps": 10_000,
}
CATCH: dict[str, dict[str, Any]] = {
    "dqn": {},
    "double_dqn": {},
    "dueling": {},
    "prioritized": {},
    "noisy": {},
    "c51": {},
    "qr_dqn": {},
    "iqn": {},
    "m_dqn": {},
    "m_iqn": {},
    "rainbow": {},
    "rainbow_dopamine": {},
    "btr": {},
    "der": {},
    "drq_eps": {"augmentation_pad": 1},  # 4 pixels are most of a board of 10 x 5
    "pqn": {"num_envs": 16, "rollout_steps": 16, "batch_size": 64, "epsilon_decay_steps": 5_000},
    "r2d2": {"sequence_length": 8, "sequence_period": 4, "burn_in": 2, "update_period": 8},
}
CELLS = [(name, kind) for name in CATCH for kind in registry.AGENTS[name].replays]
DEFAULT = [("dqn", "uniform"), ("m_dqn", "prioritized"), ("pqn", "rollout")]  # the cheapest
ROWS = 50  # to a launch; always the same, so that one compilation serves all tests of a cell

FEED_FORWARD = [name for name, entry in registry.AGENTS.items() if "uniform" in entry.replays]


def small(name: str, **changes: Any) -> Settings:
    settings = replace(preset(name, "laptop"), **(SHARED | CATCH[name] | changes))
    check(settings)
    return settings


class Cell(NamedTuple):
    """An agent with a replay, compiled for Catch."""

    name: str
    settings: Settings
    run: Run
    beginning: Any  # of the games
    started: float  # CPU seconds of this process before all that

    def begin(self, seed: int) -> Run:
        self.run.driver.restore(self.beginning)
        return self.run._replace(state=jax.jit(self.run.runner.init)(np.uint32(seed)))


def cells() -> list[Any]:
    return [
        pytest.param(cell, id="-".join(cell), marks=() if cell in DEFAULT else pytest.mark.slow)
        for cell in CELLS
    ]


@pytest.fixture(scope="module", params=cells())
def cell(request):
    name, kind = request.param
    started = time.process_time()
    settings = small(name, replay=kind)
    run = start(name, settings, envs.make("catch", settings.num_envs))
    return Cell(name, settings, run, jax.tree.map(np.array, run.driver.snapshot()), started)


def test_learns_catch_from_pixels_within_a_minute_and_compiles_once(cell):
    run, env = cell.begin(0), envs.make("catch", cell.settings.num_envs)
    agent = registry.make(cell.name, cell.settings, env.spec)
    per_launch = ROWS * cell.settings.num_envs
    compiled: Counter[str] = Counter()
    for steps in itertools.count(per_launch, per_launch):
        seconds = time.process_time() - cell.started
        # Seconds of both cores: half of what a minute on two cores is.
        assert seconds < 60, f"before step {steps}: return {run.driver.tracker.mean(50)}"
        with compilations() as now:
            run = run.advance(ROWS)
        compiled += now
        if (run.driver.tracker.mean(50) or -1) < 0.6:
            continue
        train = run.state.train
        episodes = evaluation.evaluate(
            agent, train.params, train.net_state, env, episodes=64, epsilon=0.0, seed=1
        )
        score = evaluation.summary(episodes)["mean"]
        if score >= 0.9:
            break
    what = f"{cell.name} {cell.settings.replay}"
    print(f"{what}: {score:.2f} in {seconds:.1f} CPU seconds, {steps} steps")
    assert compiled["program"] == 1
    assert int(run.state.bad_update) == runner.NEVER


def test_a_run_is_a_function_of_its_seed(cell):
    one, same, other = (
        jax.tree.map(np.array, cell.begin(seed).advance(ROWS).advance(ROWS).state.train.params)
        for seed in (1, 1, 2)
    )
    assert_equal(one, same)
    with pytest.raises(AssertionError):
        assert_equal(one, other)


def test_a_run_that_is_saved_and_loaded_goes_on_bit_for_bit(cell):
    env = envs.make("catch", cell.settings.num_envs)
    whole = cell.begin(3).advance(ROWS).advance(ROWS)
    assert int(whole.state.train.step) > 0
    loaded = saved_and_loaded(whole, cell.name, cell.settings, env)
    assert_equal(whole.advance(ROWS).state, loaded.advance(ROWS).state)


def test_every_agent_has_its_row():
    assert set(CATCH) == set(registry.AGENTS) >= set(PRESETS)


@pytest.mark.parametrize("name", registry.AGENTS)
def test_q_values_are_float32_for_each_action_and_parameters_float32_in_any_precision(name):
    for settings in presets_of(name).values():
        settings = replace(settings, precision="bfloat16")
        agent = registry.make(name, settings, listing.ATARI)

        def q_values(key, obs, agent=agent):
            params, net_state = agent.init(key)
            q, core = agent.q_values(params, net_state, key, obs, agent.core(5), False)
            return params, q, core

        obs = jax.ShapeDtypeStruct((5, 84, 84, 4), np.uint8)
        params, q, core = jax.eval_shape(q_values, jax.random.PRNGKey(0), obs)
        assert q.shape == (5, 18)
        assert q.dtype == jnp.float32
        assert jax.tree.structure(core) == jax.tree.structure(agent.core(5))
        assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("float32")}


def batch_of(spec, size: int, reward: float) -> Transition:
    rng = np.random.default_rng(0)
    obs = rng.integers(0, 256, (2, size, *spec.obs_shape, spec.stack), np.uint8)
    return Transition(
        s_tm1=jnp.asarray(obs[0]),
        a_tm1=jnp.asarray(rng.integers(0, spec.num_actions, size), jnp.int32),
        r_t=jnp.asarray(rng.choice([-reward, reward], size), jnp.float32),
        discount_t=jnp.asarray(rng.choice([0.0, 0.9], size), jnp.float32),
        s_t=jnp.asarray(obs[1]),
    )


# One of each loss; the others differ in their networks only.
LOSSES = ("dqn", "m_dqn", "c51", "qr_dqn", "iqn", "m_iqn")


@pytest.mark.parametrize(
    "name",
    [pytest.param(x, marks=() if x in LOSSES else pytest.mark.slow) for x in FEED_FORWARD],
)
def test_extreme_rewards_leave_loss_priority_and_gradient_finite(name):
    spec = envs.make("catch", 2).spec
    agent = registry.make(name, small(name, hidden=8), spec)

    def loss(params, target_params, net_state, key, batch):
        out = agent.loss(params, target_params, net_state, key, batch)
        return out.loss.mean(), out

    grad = jax.jit(jax.grad(loss, has_aux=True))
    for reward in (0.0, 1e6):
        params, net_state = agent.init(jax.random.PRNGKey(0))
        gradient, out = grad(
            params, params, net_state, jax.random.PRNGKey(1), batch_of(spec, 16, reward)
        )
        assert out.loss.shape == out.priority.shape == (16,)
        assert (np.asarray(out.priority) >= 0).all()
        assert all(np.isfinite(x).all() for x in jax.tree.leaves((gradient, out)))
        assert any(np.any(x) for x in jax.tree.leaves(gradient))
        assert jax.tree.structure(out.net_state) == jax.tree.structure(net_state)


@pytest.mark.parametrize("name", ["noisy", "rainbow", "btr", "der"])
def test_noisy_agents_act_with_noise_in_training_and_without_in_evaluation(name):
    spec = envs.make("catch", 2).spec
    agent = registry.make(name, small(name, hidden=8), spec)
    params, net_state = agent.init(jax.random.PRNGKey(0))
    louder = {
        module: {k: 100 * v if k.endswith("_sigma") else v for k, v in arrays.items()}
        for module, arrays in params.items()
    }
    obs, key = batch_of(spec, 4, 1.0).s_t, jax.random.PRNGKey(1)

    def q_values(params, training):
        return agent.q_values(params, net_state, key, obs, (), training)[0]

    np.testing.assert_array_equal(q_values(params, False), q_values(louder, False))
    assert np.abs(q_values(params, True) - q_values(louder, True)).min() > 1e-3


@pytest.mark.slow  # to compile
def test_only_a_gradient_step_moves_the_estimates_of_spectral_normalisation():
    spec = envs.make("catch", 2).spec
    agent = registry.make("btr", small("btr", torso="impala", hidden=8, num_taus=2), spec)
    params, net_state = jax.jit(agent.init)(jax.random.PRNGKey(0))
    assert len(net_state) == 12
    out = jax.jit(agent.loss)(
        params, params, net_state, jax.random.PRNGKey(1), batch_of(spec, 2, 1.0)
    )
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), net_state, out.net_state)
    assert all(any(jax.tree.leaves(estimate)) for estimate in moved.values())


def test_acting_does_not_pay_for_the_quantiles_of_the_loss():
    spec = envs.make("catch", 2).spec

    def flops(num_taus):
        agent = registry.make("iqn", small("iqn", num_taus=num_taus), spec)
        params, net_state = agent.init(jax.random.PRNGKey(0))
        args = (params, net_state, jax.random.PRNGKey(1), batch_of(spec, 4, 1.0).s_t, ())
        compiled = jax.jit(agent.q_values, static_argnums=5).lower(*args, False).compile()
        return compiled.cost_analysis()["flops"]

    assert flops(64) == flops(1)


def test_augmentation_moves_and_brightens_each_image_by_itself():
    images = jnp.zeros((64, 12, 12, 2), jnp.uint8).at[:, 6, 6].set(200)
    key = jax.random.PRNGKey(0)

    def augmented(pad, intensity):
        settings = Settings(augmentation_pad=pad, augmentation_intensity=intensity)
        return np.asarray(feed_forward.augment(settings, key, images))

    np.testing.assert_array_equal(augmented(0, 0.0), images)
    moved = augmented(2, 0.0)
    assert moved.dtype == np.uint8
    np.testing.assert_array_equal(moved[..., 0], moved[..., 1])  # one shift for a whole stack
    places = {tuple(np.argwhere(image[..., 0])[0]) for image in moved}
    assert len(places) > 15
    assert all(abs(y - 6) <= 2 and abs(x - 6) <= 2 for y, x in places)
    bright = augmented(0, 0.05)[:, 6, 6, 0] / (200 / 255)
    assert len(np.unique(bright)) > 55  # those beyond two standard deviations are alike
    assert np.abs(bright - 1).max() <= 0.1 + 1e-6
    assert 0.03 < bright.std() < 0.06


def test_parameter_counts_are_the_papers():
    def count(name, which):
        return listing.num_parameters(registry.make(name, preset(name, which), listing.ATARI))

    # Nature DQN: 8,224 + 32,832 + 36,928 + 3136 * 512 + 512 + 513 * 18.
    assert count("dqn", "nature") == (1_693_362, 0)
    assert count("dqn", "dopamine") == (8_224 + 32_832 + 36_928 + 7_744 * 512 + 512 + 9_234, 0)
    # BTR: 2.91 M without the scales of the noise, of which there is one for each noisy parameter.
    assert count("btr", "paper") == (2_908_851, 2_370_067)


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("c51", {"munchausen_alpha": 0.9}, "munchausen_alpha is 0.9; categorical agents take 0"),
        ("iqn", {"huber_delta": None}, "huber_delta is None; agents with quantiles need"),
        ("qr_dqn", {"huber_delta": None}, "huber_delta is None; agents with quantiles need"),
        ("dqn", {"replay": "rollout"}, "replay is 'rollout'; dqn learns from: uniform, prior"),
        ("dqn", {"torso": "nature"}, r"torso nature needs images of at least 36x36; catch"),
    ],
)
def test_what_an_agent_cannot_do_is_refused(name, changes, says):
    settings = replace(small(name), **changes)
    with pytest.raises(UserError, match=says):
        registry.make(name, settings, envs.make("catch", 8).spec)
