"""A game that an agent or a person plays, one agent step at a time, with all that can be shown."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import envs
from agents import evaluation, runner, saliency
from agents.agent import Agent
from agents.policy import Policy
from dqnlab.types import TimeStep
from envs import protocols
from envs.protocols import Protocol
from scripts import looking

NUM_BINS = 51  # of a distribution of returns
_BRIGHTNESS = np.array([0.299, 0.587, 0.114])  # of red, green and blue (ITU-R BT.601)


class Moment(NamedTuple):
    """What there is to see before one step."""

    screen: np.ndarray  # uint8[H, W, 3]
    frame: np.ndarray  # uint8[h, w]: the newest that the network sees; [1, 1] where it sees numbers
    heat: np.ndarray | None  # uint8[h, w]: which pixels the chosen action's value rests on
    q: np.ndarray  # float32[A]
    returns: tuple[float, float, np.ndarray] | None  # lowest, highest, probabilities[A, NUM_BINS]
    action: int  # the agent's: the best one, or a random one
    score: float
    lives: int | None
    step: int
    game: int


class Game:
    """One game after another, under one protocol.

    The screen shows it as a person sees it (`Env.screen`), the frame what the agent sees.
    """

    def __init__(self, trained: Policy, protocol: Protocol | str | None, seed: int):
        """UserError for games that have no pictures."""
        spec = trained.spec
        self._trained, self._seed = trained, seed
        self._act = _act(trained.agent, spec.num_actions)
        self._returns = _histogram(trained.agent)
        self._heat = _heat(trained.agent) if looking.has_images(trained) else None
        self._env = envs.make(spec.game, 1, protocol, training=False, with_screen=True)
        assert self._env.screen is not None
        self._screen = self._env.screen
        self.steps_per_second = self._screen.steps_per_second
        self._games = 0
        self.scores: list[float] = []  # of the games that ended
        self.new_game()

    def new_game(self) -> None:
        """Begin another game, with a seed of its own."""
        spec, agent = self._trained.spec, self._trained.agent
        seed = self._seed + self._games
        self._state, self._timestep = self._env.reset(seed)
        self._stack = jnp.zeros((1, *spec.obs_shape, spec.stack), spec.obs_dtype)
        self._core = agent.core(1)
        self._key = jax.random.PRNGKey(seed)
        self._score, self._step = 0.0, 0
        self._games += 1

    def use(self, trained: Policy) -> None:
        """Go on with other weights of the same net."""
        self._trained = trained

    def look(self, epsilon: float, with_heat: bool) -> Moment:
        """The present moment. Looking again changes nothing; `step` goes on.

        Args:
          epsilon: share of random actions.
          with_heat: whether to find out what the chosen action's value rests on.
        """
        key, returns_key = jax.random.split(jax.random.fold_in(self._key, self._step))
        nets = (self._trained.params, self._trained.net_state)
        before, self._next_core, self._chosen, q, self._next_stack = self._act(
            *nets, key, self._stack, self._core, self._timestep, epsilon
        )
        heat = returns = None
        if with_heat and self._heat is not None:
            heat = np.asarray(self._heat(*nets, self._next_stack, before, self._chosen))[0]
            heat = (255 * heat).astype(np.uint8)
        if self._returns is not None:
            low, high, bars = self._returns(*nets, returns_key, self._next_stack)
            returns = (float(low), float(high), np.asarray(bars))
        values = np.asarray(q)[0]
        seen = np.asarray(self._timestep.obs)[0]
        return Moment(
            screen=self._screen.draw(),
            frame=np.zeros((1, 1), np.uint8) if self._heat is None else _grey(seen),
            heat=heat,
            q=values,
            returns=returns,
            action=int(self._chosen[0]),
            score=self._score,
            lives=None if self._env.lives is None else int(self._env.lives()[0]),
            step=self._step,
            game=self._games,
        )

    def step(self, action: int | None = None) -> None:
        """Carry out the action of the last `look`, or another that a person chose."""
        taken = np.asarray(self._chosen) if action is None else np.array([action], np.int32)
        self._stack, self._core = self._next_stack, self._next_core
        self._state, self._timestep = self._env.step(self._state, taken)
        if np.asarray(self._timestep.first)[0]:
            self.scores.append(self._score)
            self._score, self._step = 0.0, 0
            self._games += 1
        else:
            self._score += float(np.asarray(self._timestep.reward)[0])
            self._step += 1

    def close(self) -> None:
        """Free the games."""
        self._env.close()


def protocol_of(trained: Policy, sticky_actions: float | None = None) -> Protocol | None:
    """The run's own protocol, with other sticky actions if given; None for games without one."""
    own = protocols.of_run(trained.spec.protocol)
    if own is None or sticky_actions is None:
        return own
    return dataclasses.replace(own, sticky_actions=sticky_actions)


# Compiled once for an agent, however many games it plays: hence the caches.


@functools.lru_cache(maxsize=2)
def _act(agent: Agent, num_actions: int) -> Any:
    policy = evaluation.make_policy(agent, num_actions)

    def act(
        params: Any,
        net_state: Any,
        key: jax.Array,
        stack: jax.Array,
        core: Any,
        timestep: TimeStep,
        epsilon: jax.Array,
    ) -> tuple[Any, ...]:
        stack, core = runner.observe(agent, stack, core, timestep)
        action, after, q = policy(params, net_state, key, stack, core, epsilon)
        return core, after, action, q, stack

    return jax.jit(act)


@functools.lru_cache(maxsize=2)
def _heat(agent: Agent) -> saliency.Saliency:
    return saliency.make(agent)


@functools.lru_cache(maxsize=2)
def _histogram(agent: Agent) -> Any:
    """(params, net_state, key, stack) -> lowest and highest return, probabilities[A, NUM_BINS]."""
    returns = agent.returns
    if returns is None:
        return None

    def histogram(params: Any, net_state: Any, key: jax.Array, stack: jax.Array) -> tuple[Any, ...]:
        values, probabilities = returns(params, net_state, key, stack)
        values, probabilities = values[0], probabilities[0]  # [A, M]
        is_possible = probabilities > 1e-3 / values.shape[-1]
        low = jnp.where(is_possible, values, jnp.inf).min()
        high = jnp.where(is_possible, values, -jnp.inf).max()
        position = (values - low) / jnp.maximum(high - low, 1e-6) * (NUM_BINS - 1)
        bins = jnp.clip(jnp.round(position), 0, NUM_BINS - 1).astype(jnp.int32)
        return low, high, (jax.nn.one_hot(bins, NUM_BINS) * probabilities[..., None]).sum(axis=1)

    return jax.jit(histogram)


def _grey(picture: np.ndarray) -> np.ndarray:
    """uint8 [H, W] or [H, W, C] -> uint8[H, W]: colours by their brightness, else the last."""
    if picture.ndim == 3 and picture.shape[-1] == 3:
        return np.rint(picture @ _BRIGHTNESS).astype(np.uint8)
    return picture if picture.ndim == 2 else picture[..., -1]
