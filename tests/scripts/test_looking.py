"""One game of catch, watched: what was seen, valued and done, and the pictures of it."""

import jax
import numpy as np
import pytest

import envs
from agents import registry
from agents.policy import Policy
from agents.settings import Settings
from scripts import looking


@pytest.fixture(scope="module")
def trained() -> Policy:
    settings = Settings(num_envs=1, hidden=16, torso="mlp", precision="float32")
    spec = envs.make("catch", 1).spec
    agent = registry.make("dqn", settings, spec)
    params, net_state = agent.init(jax.random.PRNGKey(3))
    return Policy(agent, params, net_state, settings, spec, 0)


def test_a_watched_game_is_whole_and_greedy_and_its_values_are_those_of_its_frames(trained):
    game = looking.play(trained, None, epsilon=0.0, seed=1)
    assert game.is_whole
    assert len(game.actions) == 9  # the ball falls 9 rows
    assert abs(game.rewards.sum()) == 1
    np.testing.assert_array_equal(game.actions, game.q.argmax(axis=1))
    np.testing.assert_allclose(trained.q_values(game.stacks), game.q, rtol=1e-5, atol=1e-6)
    cut = looking.play(trained, None, epsilon=0.0, seed=1, limit=4)
    assert not cut.is_whole
    np.testing.assert_array_equal(cut.actions, game.actions[:4])


def test_moments_are_where_the_best_action_stands_out_in_each_quarter(trained):
    q = np.zeros((8, 3), np.float32)
    for step, gap in ((1, 5.0), (2, 1.0), (5, 2.0), (7, 9.0)):
        q[step, 0] = gap
    game = looking.play(trained, None, epsilon=0.0, seed=1)
    assert looking.moments(game._replace(q=q), 4) == [1, 2, 5, 7]
    assert looking.moments(game._replace(q=q[:2]), 4) == [0, 1]


def test_the_longest_bar_is_the_best_action_also_below_zero(trained):
    game = looking.play(trained, None, epsilon=0.0, seed=1)
    game = game._replace(q=np.tile(np.array([-3.0, -1.0, -2.0], np.float32), (9, 1)))
    bars = looking.draw_moment(game, trained, 0).axes[2].patches
    assert int(np.argmax([bar.get_width() for bar in bars])) == 1
    assert min(bar.get_width() for bar in bars) > 0
