"""What turns a runner and games into a run: one driver for the emulator, one for games in JAX.

Both advance by vector steps (one agent step in each of N games) in a fixed order, so that a run
is a pure function of (config, seed):

    action_t = act(obs_t), which also stores row t;  learn, if due;  obs_{t+1} = step(action_t)

On the host, `learn` is only dispatched before the emulator steps: both work at the same time. With
games in two groups acting does so, too: one group is played while the other is acted on.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from agents.game_log import TRAINING, GameLog, env_seed
from agents.runner import Runner, RunState
from agents.scores import EpisodeTracker
from dqnlab.types import Array, Env, PyTree, TimeStep, UserError


def num_groups(num_envs: int) -> int:
    """Groups to make Atari games in. A CPU that learns has no idle core for a second one."""
    return 1 if num_envs % 2 or jax.default_backend() == "cpu" else 2


class HostDriver:
    """Drives games that live on the host (the Atari emulator, Gymnasium).

    An emulator's state cannot be saved, so it is made again from seeds and logged actions
    (agents/game_log.py). Each game gets a fresh seed at its first end after `seed_period` rows,
    whether or not the run was interrupted: no game is cut for it.
    """

    def __init__(self, runner: Runner, env: Env, run_seed: int, seed_period: int):
        self._runner = runner
        self._env = env
        self._log = GameLog(env, run_seed, seed_period)
        self._act: Any = jax.jit(runner.act, donate_argnums=0)
        self._choose: Any = jax.jit(runner.choose)
        self._store: Any = jax.jit(runner.store, donate_argnums=0)
        self._learn: Any = jax.jit(runner.learn, donate_argnums=0)
        self.tracker = EpisodeTracker(env.spec.num_envs)
        self._rows = 0
        size = env.spec.num_envs // env.groups
        self._groups = [slice(i * size, (i + 1) * size) for i in range(env.groups)]
        self._sent: list[np.ndarray | None] = [None] * env.groups  # actions of steps under way
        self._shown: list[TimeStep] = []  # what each group showed last
        self._env_state, timestep = self._log.replay(env, 0)
        self._show(timestep)

    def advance(
        self, state: RunState, num_rows: int, should_stop: Callable[[], bool]
    ) -> tuple[RunState, int]:
        """Take up to `num_rows` vector steps; fewer if `should_stop`. Returns how many."""
        done = 0
        while done < num_rows and not should_stop():
            state = self._row(state)
            done += 1
        for group in range(len(self._groups)):
            self._receive(group)
        return state, done

    def _row(self, state: RunState) -> RunState:
        choices = []
        for group, games in enumerate(self._groups):
            timestep = self._receive(group)
            if len(self._groups) == 1:
                state, action = self._act(state, timestep)
            else:
                choices.append(self._choose(state, timestep, games.start))
                action = choices[-1].action
            chosen = np.asarray(action)
            self._log.record(self._rows, games, chosen)
            self._send(group, chosen)
        if choices:
            state = self._store(state, choices)
        self._rows += 1
        if self._runner.is_due(self._rows):
            state = self._learn(state)  # runs while the emulator does
        return state

    def _send(self, group: int, action: np.ndarray) -> None:
        self._sent[group] = action
        if self._env.send is not None:
            self._env.send(group, action)

    def _receive(self, group: int) -> TimeStep:
        """What a group shows, once the step that it was sent is over."""
        action, self._sent[group] = self._sent[group], None
        if action is not None:
            if self._env.recv is not None:
                self._shown[group] = self._env.recv(group)
            else:
                self._env_state, self._shown[group] = self._env.step(self._env_state, action)
            self._reseed(group)
            if group == len(self._groups) - 1:
                self._count()
        return self._shown[group]

    def _reseed(self, group: int) -> None:
        """Give a fresh seed to those games of a group whose turn it is."""
        games, timestep = self._groups[group], self._shown[group]
        due, is_cut = self._log.due(self._rows, games, np.asarray(timestep.first))
        if due.size:
            self.tracker.cut(due[is_cut])
            self._shown[group] = self._log.reseed(self._env, self._rows, due, games, timestep)

    def _count(self) -> None:
        reward = np.concatenate([each.reward for each in self._shown])
        self.tracker.add(reward, np.concatenate([each.first for each in self._shown]))

    def _timestep(self) -> TimeStep:
        """Of all games."""
        if len(self._shown) == 1:
            return TimeStep(*map(np.asarray, self._shown[0]))
        return TimeStep(*map(np.concatenate, zip(*self._shown, strict=True)))

    def _show(self, timestep: TimeStep) -> None:
        self._shown = [TimeStep(*(x[games] for x in timestep)) for games in self._groups]

    def snapshot(self) -> PyTree:
        """What must be saved to come back here: arrays of fixed shapes."""
        rows = np.asarray(self._rows)
        return {"log": self._log.state(), "rows": rows, "timestep": self._timestep()}

    def snapshot_like(self, saved: Mapping[str, Any]) -> PyTree:
        """Return the arrays that a checkpoint with the leaves `saved` has of a driver."""
        old = saved.get("['driver']['actions']")  # of version 0.1
        snapshot = self.snapshot()
        if old is not None:
            del snapshot["log"]
            snapshot["actions"] = np.zeros(old.shape, np.uint8)
        return snapshot

    def restore(self, snapshot: PyTree) -> None:
        """Play the games up to where `snapshot` was taken.

        Raises UserError if they do not arrive there (another emulator version, another machine).
        """
        self._rows = int(snapshot["rows"])
        if "actions" in snapshot:
            self._log.restore_version_0_1(snapshot["actions"], self._rows)
        else:
            self._log.restore(snapshot["log"])
        self._env_state, timestep = self._log.replay(self._env, self._rows)
        self._show(timestep)
        for name, ours, saved in zip(timestep._fields, timestep, snapshot["timestep"], strict=True):
            if not np.array_equal(ours, saved):
                raise UserError(
                    f"replaying {self._rows} steps of {self._env.spec.game} gave another {name} "
                    "than the checkpoint holds: resume with the ale-py version in config.json"
                )


class DeviceDriver:
    """Drives games written in JAX: act, learn and step inside one scan, nothing on the host."""

    def __init__(self, runner: Runner, env: Env, run_seed: int):
        self.tracker = EpisodeTracker(env.spec.num_envs)
        self._rows = 0
        program = many_rows(runner.act, runner.learn, env.step, runner.is_due)
        self._many_rows: Any = jax.jit(program, static_argnums=1, donate_argnums=0)
        seed = env_seed(run_seed, TRAINING, 0)
        self._env_state, self._timestep = jax.jit(env.reset)(jnp.uint32(seed))

    def advance(
        self, state: RunState, num_rows: int, should_stop: Callable[[], bool]
    ) -> tuple[RunState, int]:
        """Take `num_rows` vector steps in one launch, unless `should_stop` already says so."""
        if should_stop():
            return state, 0
        carry, (reward, first) = self._many_rows(self.carry(state), num_rows)
        return self.take(carry, np.asarray(reward), np.asarray(first)), num_rows

    def carry(self, state: RunState) -> PyTree:
        """What the program advances. It is donated."""
        return state, self._env_state, self._timestep

    def take(self, carry: PyTree, reward: np.ndarray, first: np.ndarray) -> RunState:
        """Remember the games of an advanced `carry`, and count their scores, [rows, N] each."""
        state: RunState
        state, self._env_state, self._timestep = carry
        for row in zip(reward, first, strict=True):
            self.tracker.add(*row)
        self._rows += len(reward)
        return state

    def snapshot(self) -> PyTree:
        """What must be saved to come back here."""
        games = jax.tree.map(np.asarray, (self._env_state, self._timestep))
        return {"games": games, "rows": np.asarray(self._rows)}

    def snapshot_like(self, saved: Mapping[str, Any]) -> PyTree:
        """Return the arrays that a checkpoint has of a driver."""
        return self.snapshot()

    def restore(self, snapshot: PyTree) -> None:
        """Come back to where `snapshot` was taken."""
        self._env_state, self._timestep = jax.tree.map(jnp.asarray, snapshot["games"])
        self._rows = int(snapshot["rows"])


def make(runner: Runner, env: Env, run_seed: int, seed_period: int) -> Any:
    """The driver that fits the games."""
    if env.spec.traceable:
        return DeviceDriver(runner, env, run_seed)
    return HostDriver(runner, env, run_seed, seed_period)


def many_rows(
    act: Callable[..., Any],
    learn: Callable[..., Any],
    step: Callable[..., Any],
    is_due: Callable[[Any], Any],
) -> Callable[[PyTree, int], tuple[PyTree, tuple[Array, Array]]]:
    """(carry, num_rows) -> (carry, (reward, first) of each row): a run in one program.

    The functions are those of a runner and its games, or the same mapped over seeds, whose states
    have one axis more. All seeds are at the same row, so that one `cond` decides for all: a mapped
    one would compute both branches.
    """

    def one_row(carry: PyTree, _: None) -> tuple[PyTree, tuple[Array, Array]]:
        state, env_state, timestep = carry
        state, action = act(state, timestep)
        state = lax.cond(is_due(state.rows.reshape(-1)[0]), learn, lambda s: s, state)
        env_state, timestep = step(env_state, action)
        return (state, env_state, timestep), (timestep.reward, timestep.first)

    def program(carry: PyTree, num_rows: int) -> tuple[PyTree, tuple[Array, Array]]:
        return lax.scan(one_row, carry, None, length=num_rows)

    return program
