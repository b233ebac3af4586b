"""What turns a runner and games into a run: one driver for the emulator, one for games in JAX.

Both advance by vector steps (one agent step in each of N games) in a fixed order, so that a run
is a pure function of (config, seed):

    action_t = act(obs_t), which also stores row t;  learn, if due;  obs_{t+1} = step(action_t)

On the host, `learn` is only dispatched before the emulator steps: both work at the same time. With
games in two groups acting does so, too: one group is played while the other is acted on.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from agents.runner import Runner, RunState
from agents.scores import EpisodeTracker
from dqnlab.types import Array, Env, PyTree, TimeStep, UserError

TRAINING, EVALUATION = 0, 1  # streams of seeds


def num_groups(num_envs: int) -> int:
    """Groups to make Atari games in. A CPU that learns has no idle core for a second one."""
    return 1 if num_envs % 2 or jax.default_backend() == "cpu" else 2


def env_seed(run_seed: int, stream: int, iteration: int) -> int:
    """A seed for all games of one iteration; no two (run, stream, iteration) share it."""
    return int(np.random.SeedSequence((run_seed, stream, iteration)).generate_state(1)[0])


class HostDriver:
    """Drives games that live on the host (the Atari emulator, Gymnasium).

    An emulator's state cannot be saved, so it is made again: every `rows_per_iteration` vector
    steps all games are reset with seeds of (run seed, iteration), interrupted or not, and the
    actions since then are logged. A resumed run resets with the same seeds and replays the log;
    all games arrive where they were. Episodes cut by the reset count as truncations.
    """

    def __init__(self, runner: Runner, env: Env, run_seed: int, rows_per_iteration: int):
        self._runner = runner
        self._env = env
        self._run_seed = run_seed
        self._rows_per_iteration = rows_per_iteration
        self._act: Any = jax.jit(runner.act, donate_argnums=0)
        self._choose: Any = jax.jit(runner.choose)
        self._store: Any = jax.jit(runner.store, donate_argnums=0)
        self._learn: Any = jax.jit(runner.learn, donate_argnums=0)
        self.tracker = EpisodeTracker(env.spec.num_envs)
        self._actions = np.zeros((rows_per_iteration, env.spec.num_envs), np.uint8)
        self._rows = 0
        size = env.spec.num_envs // env.groups
        self._groups = [slice(i * size, (i + 1) * size) for i in range(env.groups)]
        self._sent: list[np.ndarray | None] = [None] * env.groups  # actions of steps under way
        self._shown: list[TimeStep] = []  # what each group showed last
        self._env_state: Any = None
        self._reset()

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
        row = self._rows % self._rows_per_iteration
        is_last = row == self._rows_per_iteration - 1
        choices = []
        for group, games in enumerate(self._groups):
            timestep = self._receive(group)
            if len(self._groups) == 1:
                state, action = self._act(state, timestep)
            else:
                choices.append(self._choose(state, timestep, games.start))
                action = choices[-1].action
            chosen = np.asarray(action)
            self._actions[row, games] = chosen
            if not is_last:
                self._send(group, chosen)
        if choices:
            state = self._store(state, choices)
        self._rows += 1
        if self._runner.is_due(self._rows):
            state = self._learn(state)  # runs while the emulator does
        if is_last:
            self.tracker.cut()
            self._reset()
            self._count()
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
            if group == len(self._groups) - 1:
                self._count()
        return self._shown[group]

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

    def compilations(self) -> tuple[int, int]:
        """How often `act` (or `choose`) and `learn` were compiled; each must stay at one."""
        act = self._act if len(self._groups) == 1 else self._choose
        return act._cache_size(), self._learn._cache_size()

    def snapshot(self) -> PyTree:
        """What must be saved to come back here: arrays of fixed shapes."""
        rows = np.asarray(self._rows)
        return {"actions": self._actions, "rows": rows, "timestep": self._timestep()}

    def restore(self, snapshot: PyTree) -> None:
        """Play the games up to where `snapshot` was taken.

        Raises UserError if they do not arrive there (another emulator version, another machine).
        """
        self._actions[:] = snapshot["actions"]
        self._rows = int(snapshot["rows"])
        self._reset()
        for row in range(self._rows % self._rows_per_iteration):
            action = self._actions[row].astype(np.int32)
            self._env_state, timestep = self._env.step(self._env_state, action)
            self._show(timestep)
        timestep = self._timestep()
        for name, ours, saved in zip(timestep._fields, timestep, snapshot["timestep"], strict=True):
            if not np.array_equal(ours, saved):
                raise UserError(
                    f"replaying {self._rows} steps of {self._env.spec.game} gave another {name} "
                    "than the checkpoint holds: resume with the ale-py version in config.json"
                )

    def _reset(self) -> None:
        iteration = self._rows // self._rows_per_iteration
        seed = env_seed(self._run_seed, TRAINING, iteration)
        self._env_state, timestep = self._env.reset(seed)
        self._show(timestep)


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

    def compilations(self) -> tuple[int, int]:
        """How often the whole program was compiled; one for each distinct `num_rows`."""
        return self._many_rows._cache_size(), self._many_rows._cache_size()

    def snapshot(self) -> PyTree:
        """What must be saved to come back here."""
        games = jax.tree.map(np.asarray, (self._env_state, self._timestep))
        return {"games": games, "rows": np.asarray(self._rows)}

    def restore(self, snapshot: PyTree) -> None:
        """Come back to where `snapshot` was taken."""
        self._env_state, self._timestep = jax.tree.map(jnp.asarray, snapshot["games"])
        self._rows = int(snapshot["rows"])


def make(runner: Runner, env: Env, run_seed: int, rows_per_iteration: int) -> Any:
    """The driver that fits the games."""
    if env.spec.traceable:
        return DeviceDriver(runner, env, run_seed)
    return HostDriver(runner, env, run_seed, rows_per_iteration)


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
