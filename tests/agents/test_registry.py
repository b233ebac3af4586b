from dataclasses import replace

import jax
import pytest

from agents import listing, registry, schedules
from agents.presets import preset, presets_of
from agents.settings import REPLAYS, Settings
from dqnlab.types import UserError


def test_an_unknown_agent_is_refused_with_the_nearest():
    for call in (
        lambda: registry.check_name("ranbow"),
        lambda: registry.make("ranbow", Settings(), listing.ATARI),
    ):
        with pytest.raises(UserError, match=r"agent 'ranbow' is unknown; did you mean rainbow\?"):
            call()


@pytest.mark.parametrize("name", registry.AGENTS)
def test_each_preset_has_a_replay_that_its_agent_can_use(name):
    for settings in presets_of(name).values():
        assert settings.replay in registry.AGENTS[name].replays
        assert settings.replay in REPLAYS


def test_clipped_weighted_errors_are_refused_where_no_loss_has_one_error_each():
    settings = replace(preset("c51", "laptop"), clip_weighted_errors=True)
    with pytest.raises(UserError, match="c51 has no single TD error to clip"):
        registry.make("c51", settings, listing.ATARI)


@pytest.mark.parametrize("name", registry.AGENTS)
def test_each_replay_of_an_agent_hands_its_loss_what_it_learns_from(name):
    for kind in registry.AGENTS[name].replays:
        settings = schedules.in_steps(replace(preset(name, "laptop"), replay=kind), 1_500_000)
        spec = replace(listing.ATARI, num_envs=settings.num_envs)
        agent, replay = registry.make(name, settings, spec), registry.make_replay(settings, spec)

        def learn(key, agent=agent, replay=replay):
            params, net_state = agent.init(key)
            target = params if agent.has_target else ()
            sample = replay.sample(replay.init(), key)
            return sample, agent.loss(params, target, net_state, key, sample.batch)

        sample, out = jax.eval_shape(learn, jax.random.PRNGKey(0))
        size = (settings.batch_size,)
        assert sample.weights.shape == out.loss.shape == out.priority.shape == size, kind


def test_the_list_names_every_agent_with_its_presets_and_sizes():
    lines = listing.table().splitlines()
    for name, entry in registry.AGENTS.items():
        at = next(i for i, line in enumerate(lines) if line.split()[:1] == [name])
        assert entry.summary in lines[at]
        assert entry.paper in lines[at + 1]
        assert all(f" {kind} (" in lines[at + 2] for kind in presets_of(name))
    assert "nature (1,693,362 parameters)" in listing.table()
