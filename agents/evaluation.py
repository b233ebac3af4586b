"""Playing whole games with a fixed policy, and what their scores say."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.agent import Agent
from agents.runner import observe
from dqnlab import validation
from dqnlab.types import Array, Env, Params, PyTree, TimeStep


class Episode(NamedTuple):
    """One full game."""

    score: float  # the game's own points, not clipped
    length: int  # agent steps


def make_policy(agent: Agent, num_actions: int) -> Callable[..., tuple[Array, PyTree, Array]]:
    """Make `policy(params, net_state, key, stack, core, epsilon)` -> (action[B], core, q[B, A])."""

    def policy(
        params: Params, net_state: PyTree, key: Array, stack: Array, core: PyTree, epsilon: float
    ) -> tuple[Array, PyTree, Array]:
        net_key, explore_key, action_key = jax.random.split(key, 3)
        q, core = agent.q_values(params, net_state, net_key, stack, core, False)
        greedy = jnp.argmax(q, axis=-1).astype(jnp.int32)
        random = jax.random.randint(action_key, greedy.shape, 0, num_actions, jnp.int32)
        is_random = jax.random.uniform(explore_key, greedy.shape) < epsilon
        return jnp.where(is_random, random, greedy), core, q

    return policy


def evaluate(
    agent: Agent,
    params: Params,
    net_state: PyTree,
    env: Env,
    *,
    episodes: int,
    epsilon: float,
    seed: int,
    on_step: Callable[[TimeStep, np.ndarray, np.ndarray], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Episode]:
    """Play `episodes` games, N side by side.

    Every game that is started counts: game i plays its own fixed quota, so short episodes are
    not preferred over long ones (as they are when the first `episodes` to finish are taken).
    The same seed, number of games and parameters give the same result.

    Args:
      on_step: called with (TimeStep[N], action[N], q[N, A]) before each step, e.g. for a video.
      on_progress: called after each step with the finished games and the frames of all games.

    Raises UserError for fewer episodes than one, and for seeds out of range.
    """
    episodes, seed = validation.integer("episodes", episodes, 1), validation.seed(seed)
    spec = env.spec
    quota = np.full(spec.num_envs, episodes // spec.num_envs)
    quota[: episodes % spec.num_envs] += 1
    finished: list[list[Episode]] = [[] for _ in range(spec.num_envs)]
    score, length = np.zeros(spec.num_envs), np.zeros(spec.num_envs, int)

    policy = make_policy(agent, spec.num_actions)

    def act(
        stack: Array, core: PyTree, timestep: TimeStep, step: Array
    ) -> tuple[Array, PyTree, Array, Array]:
        key = jax.random.fold_in(jax.random.PRNGKey(seed), step)
        stack, core = observe(agent, stack, core, timestep)
        action, core, q = policy(params, net_state, key, stack, core, epsilon)
        return stack, core, action, q

    jitted = jax.jit(act, donate_argnums=(0, 1))
    stack = jnp.zeros((spec.num_envs, *spec.obs_shape, spec.stack), spec.obs_dtype)
    core = agent.core(spec.num_envs)
    env_state, timestep = env.reset(seed)
    step = 0
    while any(len(done) < want for done, want in zip(finished, quota, strict=True)):
        stack, core, action, q = jitted(stack, core, timestep, jnp.uint32(step))
        host_action = np.asarray(action)
        if on_step is not None:
            on_step(timestep, host_action, np.asarray(q))
        env_state, timestep = env.step(env_state, host_action)
        for game in np.flatnonzero(timestep.first):
            if len(finished[game]) < quota[game]:
                finished[game].append(Episode(float(score[game]), int(length[game])))
        first = np.asarray(timestep.first)
        score = np.where(first, 0.0, score + np.asarray(timestep.reward))
        length = np.where(first, 0, length + 1)
        step += 1
        if on_progress is not None:
            on_progress(sum(map(len, finished)), step * spec.num_envs * spec.frame_skip)
    return [episode for done in finished for episode in done]


def summary(episodes: list[Episode], bootstrap_seed: int = 0) -> dict[str, Any]:
    """Mean, median, std, min, max and a 95 % bootstrap interval of the mean (percentiles).

    The interval is None for a single game, which says nothing about chance.
    """
    scores = np.array([episode.score for episode in episodes])
    interval = None
    if len(scores) > 1:
        rng = np.random.default_rng(bootstrap_seed)
        means = rng.choice(scores, size=(10_000, len(scores))).mean(axis=1)
        interval = np.quantile(means, [0.025, 0.975]).tolist()
    return {
        "episodes": len(scores),
        "mean": float(scores.mean()),
        "median": float(np.median(scores)),
        "std": float(scores.std()),
        "min": float(scores.min()),
        "max": float(scores.max()),
        "mean_ci95": interval,
        "scores": scores.tolist(),
        "lengths": [episode.length for episode in episodes],
    }
