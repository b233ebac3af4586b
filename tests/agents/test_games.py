"""The same preset on every game: nothing depends on a game's name."""

import dataclasses

import jax
import numpy as np
import pytest

import envs
from agents import driver, registry, runner
from agents.presets import preset
from dqnlab import optim
from envs.names import atari_games

SETTINGS = dataclasses.replace(
    preset("dqn", "laptop"), num_envs=4, learning_starts=160, replay_capacity=800
)


def train_ten_updates(game: str) -> runner.RunState:
    env = envs.make(game, SETTINGS.num_envs)
    try:
        agent = registry.make("dqn", SETTINGS, env.spec)
        replay = registry.make_replay(SETTINGS, env.spec)
        optimizer = optim.make("adam", SETTINGS.learning_rate, SETTINGS.optimizer_epsilon)
        run = runner.make(agent, replay, SETTINGS, env.spec, optimizer)
        games = driver.HostDriver(run, env, run_seed=0, rows_per_iteration=1000)
        state, rows = games.advance(jax.jit(run.init)(0), 49, lambda: False)
        assert rows == 49
        assert games.compilations() == (1, 1)
        return state
    finally:
        env.close()


def test_pong_trains_ten_updates_with_one_compilation_of_act_and_of_learn():
    state = train_ten_updates("Pong")
    assert int(state.train.step) == 10
    assert int(state.bad_update) == runner.NEVER


@pytest.mark.slow
@pytest.mark.parametrize("game", sorted(atari_games()))
def test_every_registered_game_trains_ten_updates(game):
    state = train_ten_updates(game)
    assert int(state.train.step) == 10
    assert np.isfinite(float(state.totals["loss"]))
