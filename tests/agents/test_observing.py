"""A saved agent asked about one observation, about many, and about games that go on."""

import jax
import numpy as np
import pytest

import envs
from agents import evaluation, registry
from agents.policy import Policy
from agents.settings import Settings
from dqnlab.types import Env, UserError

TINY = Settings(hidden=16, num_envs=2, precision="float32", replay_capacity=100)


def policy_for(env: Env, agent_name: str = "dqn", settings: Settings = TINY) -> Policy:
    agent = registry.make(agent_name, settings, env.spec)
    params, net_state = agent.init(jax.random.PRNGKey(0))
    return Policy(agent, params, net_state, settings, env.spec, 0)


@pytest.mark.parametrize("game", ["CartPole-v1", "catch", "tests.own_games:Stacked-v0"])
def test_what_the_games_give_is_taken_at_once_or_singly(game):
    env = envs.make(game, 3)
    policy = policy_for(env)
    _, timestep = env.reset(0)
    obs = np.asarray(timestep.obs)
    q = policy.q_values(obs[..., None])
    assert q.shape == (3, env.spec.num_actions)
    for same in (obs, timestep):
        np.testing.assert_array_equal(policy.q_values(same), q)
    for one in (obs[1], obs[1][..., None]):
        np.testing.assert_allclose(policy.q_values(one), q[1], rtol=1e-5)
        assert policy.act(one).shape == ()
    np.testing.assert_array_equal(policy.act(timestep), np.argmax(q, axis=1))


def test_numbers_of_every_type_are_taken_and_those_that_are_none_refused():
    policy = policy_for(envs.make("CartPole-v1", 1))
    q = policy.q_values(np.array([1, 0, -1, 2], np.float32))
    for same in (np.array([1, 0, -1, 2.0]), np.array([1, 0, -1, 2], ">i4"), [1, 0, -1, 2]):
        np.testing.assert_array_equal(policy.q_values(same), q)
    for bad in ([1, 0, np.nan, 2], [1e300, 0, 0, 0]):
        with pytest.raises(UserError, match="not finite in float32"):
            policy.q_values(bad)
    for bad in (["a", "b", "c", "d"], [1j, 0, 0, 0], [None] * 4, [1, 2], 3):
        with pytest.raises(UserError, match=r"trained on float32\[B, 4, 1\]"):
            policy.q_values(bad)


def test_a_stack_is_filled_up_at_the_start_of_games_and_asked_for_later():
    env = envs.make("tests.own_games:Grey-v0", 2)
    policy = policy_for(env)
    state, start = env.reset(0)
    stacks = np.zeros((2, 40, 44, 4), np.uint8)
    stacks[..., -1] = start.obs
    np.testing.assert_array_equal(policy.q_values(start), policy.q_values(stacks))
    _, later = env.step(state, [0, 0])
    with pytest.raises(UserError, match=r"policy\.player\(num_envs\)"):
        policy.act(later)
    with pytest.raises(UserError, match=r"last 4 frames, which policy\.player\(num_envs\) keeps"):
        policy.act(later.obs)


def plays(env: Env, policy: Policy) -> list[float]:
    """Scores of two games of each of two boards, played by a player."""
    act, scores, score = policy.player(2), [], np.zeros(2)
    state, timestep = env.reset(5)
    while len(scores) < 4:
        state, timestep = env.step(state, act(timestep))
        scores += [float(each) for each in score[np.asarray(timestep.first)]]
        score = np.where(timestep.first, 0, score + np.asarray(timestep.reward))
    return sorted(scores)


@pytest.mark.parametrize("agent_name", ["dqn", "r2d2"])
def test_a_player_plays_as_an_evaluation_does(agent_name):
    env = envs.make("tests.own_games:Grey-v0", 2)
    replay = "sequence" if agent_name == "r2d2" else "uniform"
    settings = Settings(hidden=16, num_envs=2, precision="float32", replay=replay)
    policy = policy_for(env, agent_name, settings)
    nets = (policy.agent, policy.params, policy.net_state)
    played = evaluation.evaluate(*nets, env, episodes=4, epsilon=0.0, seed=5)
    assert plays(env, policy) == sorted(episode.score for episode in played)


def test_an_agent_with_a_memory_is_asked_through_a_player():
    env = envs.make("cue", 2)
    settings = Settings(hidden=8, num_envs=2, replay="sequence")
    policy = policy_for(env, "r2d2", settings)
    with pytest.raises(UserError, match=r"has a memory .* policy\.player"):
        policy.act(env.reset(0)[1])
    act = policy.player(2)
    assert act(env.reset(0)[1]).shape == (2,)
    with pytest.raises(UserError, match=r"acts for 2 games of \[10, 5\]"):
        act(envs.make("cue", 3).reset(0)[1])
