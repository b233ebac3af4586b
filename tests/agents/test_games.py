"""The same preset on every game: nothing depends on a game's name.

All agents on all games: `pytest -m slow tests/agents/test_games.py`, about an hour on two cores;
`-k Pong` for one game. What is compiled for a number of actions serves all games that have it.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from agents import driver, listing, registry, runner, schedules
from agents.limits import check
from agents.presets import preset
from agents.settings import Settings
from envs.names import atari_games
from tests.agents.running import compilations

NUM_ENVS, UPDATES, MOST_ROWS = 2, 10, 64
# What a small run needs, the same for all games and, as far as they have it, all agents.
SMALL = {
    "num_envs": NUM_ENVS,
    "batch_size": 8,
    "replay_capacity": 400,
    "learning_starts": 0,
    "update_period": NUM_ENVS,
    "target_update_period": 4 * NUM_ENVS,
    "rollout_steps": 8,
    "burn_in": 2,
    "sequence_length": 4,
    "sequence_period": 4,
}


def settings_of(agent: str) -> Settings:
    settings = dataclasses.replace(preset(agent, "laptop"), **SMALL)
    check(settings)
    return schedules.in_steps(settings, run_steps=1_500_000)


@functools.lru_cache(maxsize=16)  # more than there are numbers of actions: an agent's come together
def make_runner(agent: str, num_actions: int) -> tuple[runner.Runner, runner.RunState]:
    settings = settings_of(agent)
    spec = dataclasses.replace(listing.ATARI, num_envs=NUM_ENVS, num_actions=num_actions)
    optimizer = registry.make_optimizer(settings)
    made = registry.make(agent, settings, spec)
    run = runner.make(made, registry.make_replay(settings, spec), settings, spec, optimizer)
    return run, jax.jit(run.init)(np.uint32(0))


def train(agent: str, game: str) -> runner.RunState:
    env = envs.make(game, NUM_ENVS)
    try:
        run, first_state = make_runner(agent, env.spec.num_actions)
        games = driver.HostDriver(run, env, run_seed=0, seed_period=1000)
        state = jax.tree.map(jnp.copy, first_state)  # the driver donates it
        for _ in range(MOST_ROWS):
            state, _ = games.advance(state, 1, lambda: False)
            if int(state.train.step) >= UPDATES:
                break
        return state
    finally:
        env.close()


def assert_trained(state: runner.RunState) -> None:
    assert int(state.train.step) >= UPDATES
    assert int(state.bad_update) == runner.NEVER
    assert np.isfinite(float(state.totals["loss"]))


def test_pong_trains_ten_updates_with_one_compilation_of_act_and_of_learn():
    make_runner.cache_clear()
    with compilations() as compiled:
        state = train("dqn", "Pong")
    assert_trained(state)
    assert (compiled["act"], compiled["learn"]) == (1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("game", sorted(atari_games()))
@pytest.mark.parametrize("agent", registry.AGENTS)
def test_every_agent_trains_ten_updates_on_every_registered_game(agent, game):
    assert_trained(train(agent, game))
