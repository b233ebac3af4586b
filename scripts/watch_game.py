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
from dqnlab.types import TimeStep, UserError
from envs import protocols
from envs.protocols import Protocol

NUM_BINS = 51  # of a distribution of returns
_SCREEN = {"grayscale": False, "height": 210, "width": 160}  # of the Atari 2600


class Moment(NamedTuple):
    """What there is to see before one step."""

    screen: np.ndarray  # uint8[H, W, 3]
    frame: np.ndarray  # uint8[h, w]: the newest that the network sees
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

    The agent's own frames are small and grey. A second emulator with the same seed is given the
    same actions and shows the game in colour.
    """

    def __init__(self, trained: Policy, protocol: Protocol | str, seed: int):
        """UserError for games that have no pictures."""
        spec = trained.spec
        if len(spec.obs_shape) != 2:
            raise UserError(f"{spec.game} has no pictures to watch; its observations are numbers")
        self._trained, self._seed = trained, seed
        self._act = _act(trained.agent, spec.num_actions)
        self._heat, self._returns = _heat(trained.agent), _histogram(trained.agent)
        self._env = envs.make(spec.game, 1, protocol, training=False)
        self._picture_env = None
        if self._env.lives is not None:  # an emulator's
            self._picture_env = envs.make(spec.game, 1, protocol, training=False, **_SCREEN)
        self._games = 0
        self.scores: list[float] = []  # of the games that ended
        self.new_game()

    def new_game(self) -> None:
        """Begin another game, with a seed of its own."""
        spec, agent = self._trained.spec, self._trained.agent
        seed = self._seed + self._games
        self._state, self._timestep = self._env.reset(seed)
        if self._picture_env is not None:
            self._picture_state, self._picture = self._picture_env.reset(seed)
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
        if with_heat:
            heat = np.asarray(self._heat(*nets, self._next_stack, before, self._chosen))[0]
            heat = (255 * heat).astype(np.uint8)
        if self._returns is not None:
            low, high, bars = self._returns(*nets, returns_key, self._next_stack)
            returns = (float(low), float(high), np.asarray(bars))
        values = np.asarray(q)[0]
        frame = _grey(np.asarray(self._timestep.obs)[0])
        screen = frame[..., None].repeat(3, axis=-1)
        if self._picture_env is not None:
            screen = np.asarray(self._picture.obs)[0]
        return Moment(
            screen=screen,
            frame=frame,
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
        if self._picture_env is not None:
            self._picture_state, self._picture = self._picture_env.step(self._picture_state, taken)
        if np.asarray(self._timestep.first)[0]:
            self.scores.append(self._score)
            self._score, self._step = 0.0, 0
            self._games += 1
        else:
            self._score += float(np.asarray(self._timestep.reward)[0])
            self._step += 1

    def close(self) -> None:
        """Free the emulators."""
        self._env.close()
        if self._picture_env is not None:
            self._picture_env.close()


def protocol_of(trained: Policy, sticky_actions: float | None = None) -> Protocol | str:
    """The run's own protocol, or the field's default, with other sticky actions if given."""
    own = trained.spec.protocol.get("name", "")
    found = protocols.find(own if own in protocols.PROTOCOLS else "machado2018")
    if sticky_actions is None:
        return found
    return dataclasses.replace(found, sticky_actions=sticky_actions)


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


def _grey(obs: np.ndarray) -> np.ndarray:
    if obs.dtype == np.uint8:
        return obs
    return (255 * np.clip(obs, 0.0, 1.0)).astype(np.uint8)
