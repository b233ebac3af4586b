"""What a trained agent sees, values and looks at, in one game that it plays: pictures."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import envs
from agents import evaluation, runner, saliency
from agents.policy import Policy
from dqnlab.plurals import count
from dqnlab.types import PyTree
from envs.protocols import Protocol
from scripts.pictures.overlay import overlay
from scripts.pictures.subject import picture

LIMIT = 2_000  # agent steps that are watched; their frames are held in memory (57 MB)


class Game(NamedTuple):
    """T agent steps of one game."""

    stacks: np.ndarray  # [T, *obs_shape, K]: what the network saw
    cores: list[PyTree]  # T recurrent states before them; () for feed-forward agents
    actions: np.ndarray  # int32[T]
    q: np.ndarray  # float32[T, A]
    rewards: np.ndarray  # float32[T]: what followed, not clipped
    is_whole: bool  # whether the game ended within LIMIT steps


def play(
    trained: Policy,
    protocol: Protocol | str | None,
    *,
    epsilon: float,
    seed: int,
    limit: int = LIMIT,
) -> Game:
    """One game from its start, at most `limit` steps of it."""
    env = envs.make(trained.spec.game, 1, protocol, training=False)
    policy = evaluation.make_policy(trained.agent, trained.spec.num_actions)

    # The weights are arguments: as constants the compiler would fold them, for a minute.
    def act(
        params: Any, net_state: Any, stack: Any, core: Any, timestep: Any, step: Any
    ) -> tuple[Any, ...]:
        key = jax.random.fold_in(jax.random.PRNGKey(seed), step)
        stack, core = runner.observe(trained.agent, stack, core, timestep)
        action, after, q = policy(params, net_state, key, stack, core, epsilon)
        return stack, core, after, action, q

    jitted = functools.partial(jax.jit(act), trained.params, trained.net_state)
    stack = jnp.zeros((1, *trained.spec.obs_shape, trained.spec.stack), trained.spec.obs_dtype)
    core, steps, is_whole = trained.agent.core(1), [], False
    try:
        state, timestep = env.reset(seed)
        while len(steps) < limit and not is_whole:
            stack, before, core, action, q = jitted(stack, core, timestep, jnp.uint32(len(steps)))
            seen, chosen = np.asarray(stack[0]), np.asarray(action)
            state, timestep = env.step(state, chosen)
            reward = float(np.asarray(timestep.reward)[0])
            is_whole = bool(np.asarray(timestep.first)[0])
            if not is_whole:  # the step of the reset belongs to no game
                steps.append((seen, jax.device_get(before), chosen[0], np.asarray(q[0]), reward))
    finally:
        env.close()
    stacks, cores, actions, values, rewards = zip(*steps, strict=True)
    return Game(
        np.stack(stacks),
        list(cores),
        np.array(actions),
        np.stack(values),
        np.array(rewards, np.float32),
        is_whole,
    )


def moments(game: Game, number: int = 4) -> list[int]:
    """Of each of `number` equal parts of the game, the step where the choice mattered most.

    That is where the best action's Q-value stands out most from the mean of all.
    """
    gap = game.q.max(axis=1) - game.q.mean(axis=1)
    parts = np.array_split(np.arange(len(gap)), min(number, len(gap)))
    return [int(part[np.argmax(gap[part])]) for part in parts]


def draw_values(game: Game, trained: Policy, discount: float) -> Figure:
    """The value of the best action over the game, beside the return that really followed."""
    figure = Figure(figsize=(9, 3), layout="constrained")
    axes = figure.subplots()
    steps = np.arange(len(game.actions)) * trained.spec.frame_skip
    axes.plot(steps, game.q.max(axis=1), color="C0", lw=1, label="Q-value of the best action")
    axes.fill_between(
        steps,
        game.q.min(axis=1),
        game.q.max(axis=1),
        color="C0",
        alpha=0.2,
        lw=0,
        label="from the worst to the best action",
    )
    clip = trained.settings.reward_clip
    rewards = game.rewards if clip is None else np.clip(game.rewards, -clip, clip)
    if game.is_whole:
        returns = np.empty(len(rewards))
        following = 0.0
        for step in reversed(range(len(rewards))):
            following = returns[step] = rewards[step] + discount * following
        label = f"return that followed ({'' if clip is None else 'clipped, '}discount {discount:g})"
        axes.plot(steps, returns, color="C1", lw=1, label=label)
    axes.set_xlabel("frame of the game")
    axes.set_ylabel("value")
    axes.set_xlim(0, len(steps) * trained.spec.frame_skip)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def draw_moment(game: Game, trained: Policy, step: int) -> Figure:
    """One moment: the newest frame, the pixels that the chosen action's value rests on, all values.

    The heat is the gradient of the chosen action's Q-value (see `agents.saliency`).
    """
    heat_of = saliency.make(trained.agent)
    frames = game.stacks[step][None]
    heat = heat_of(
        trained.params, trained.net_state, frames, game.cores[step], game.actions[step][None]
    )
    figure = Figure(figsize=(9, 2.9), layout="constrained")
    screen, heated, bars = figure.subplots(1, 3, width_ratios=(1, 1, 1.3))
    newest = picture(frames[0])
    screen.imshow(newest, cmap="gray", vmin=0, vmax=max(int(newest.max()), 1))
    screen.set_axis_off()
    screen.set_title("newest input frame", fontsize=10)
    overlay(heated, newest, np.asarray(heat)[0])
    heated.set_title("what the value rests on", fontsize=10)
    names, values = trained.spec.action_meanings, game.q[step]
    colors = ["C1" if action == game.actions[step] else "C0" for action in range(len(names))]
    low, high = float(values.min()), float(values.max())
    margin = max(0.15 * (high - low), 1e-3 * max(abs(low), abs(high), 1.0))
    # From the axis's end and not from 0: of negative values too the longest bar is the best.
    bars.barh(range(len(names)), values - low + margin, left=low - margin, color=colors)
    bars.set_xlim(low - margin, high + margin)
    bars.xaxis.set_major_locator(MaxNLocator(5))
    bars.set_yticks(range(len(names)), names, fontsize=8 if len(names) < 10 else 6)
    bars.invert_yaxis()
    bars.set_xlabel("Q-value (the axis does not begin at 0)")
    bars.set_title("action taken in orange", fontsize=10)
    return figure


def has_images(trained: Policy) -> bool:
    """Whether what the agent sees can be drawn."""
    return trained.spec.obs_dtype == "uint8" and len(trained.spec.obs_shape) in (2, 3)


def describe(game: Game, trained: Policy) -> str:
    """Say in words how much of a game was watched, and its score."""
    what = "one whole game" if game.is_whole else "the beginning of a game"
    frames = count(len(game.actions) * trained.spec.frame_skip, "frame")
    return f"{what}: {frames}, score {game.rewards.sum():g}"
