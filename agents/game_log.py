"""Where each game of a batch can be started again, so that a resumed run finds its games.

An emulator's state cannot be saved, so it is made again: from time to time a game is given a fresh
seed, and the actions since then are kept. No game is cut for that: a game is seeded at its first
own end after `period` steps.
"""

from collections.abc import Mapping

import numpy as np

from dqnlab.types import Env, TimeStep

TRAINING, EVALUATION = 0, 1  # streams of seeds

# A game without a limit of its own is cut (a truncation) when it has run for this many agent steps
# and more than the period, four times the cap of Atari games.
LONGEST = 108_000


def env_seed(run_seed: int, stream: int, number: int) -> int:
    """Return the `number`-th seed for all games; no two (run, stream, number) share one."""
    return int(np.random.SeedSequence((run_seed, stream, number)).generate_state(1)[0])


class GameLog:
    """The actions of N games since each was last seeded, and the seeds.

    A row is one vector step. Row r's observation comes before row r's action.
    """

    def __init__(self, env: Env, run_seed: int, period: int):
        self._run_seed, self._period = run_seed, period
        size = period + (env.max_episode_steps or LONGEST) + 2
        dtype = np.uint8 if env.spec.num_actions <= 256 else np.int32
        self._actions = np.zeros((size, env.spec.num_envs), dtype)  # a ring of rows
        self._seeded_at = np.zeros(env.spec.num_envs, np.int64)  # row of each game's last seeding
        self._number = np.zeros(env.spec.num_envs, np.int64)  # of fresh seeds that each game got

    def record(self, row: int, games: slice, actions: np.ndarray) -> None:
        """Keep the actions of some games in this row."""
        self._actions[row % len(self._actions), games] = actions

    def due(self, row: int, games: slice, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Say which of `games` get a fresh seed before they act in this row.

        Args:
          first: bool[M], whether each of them begins an episode in this row.

        Returns:
          Their indices among all games, and for each whether that cuts it.
        """
        age = row - self._seeded_at[games]
        is_cut = ~first & (age >= len(self._actions))
        index = np.flatnonzero(first & (age >= self._period) | is_cut)
        return games.start + index, is_cut[index]

    def reseed(
        self, env: Env, row: int, due: np.ndarray, games: slice, timestep: TimeStep
    ) -> TimeStep:
        """Begin the `due` games anew in this row, each with its next seed.

        Args:
          timestep: what `games`, of which they are some, show in this row.
        """
        self._seeded_at[due] = row
        self._number[due] += 1
        return self._restart(env, due, games, timestep)

    def _restart(self, env: Env, due: np.ndarray, games: slice, timestep: TimeStep) -> TimeStep:
        assert env.restart is not None  # all games on the host have it
        shown = TimeStep(*(np.array(field) for field in timestep))
        for number in sorted(set(self._number[due].tolist())):
            some = due[self._number[due] == number]
            seed = env_seed(self._run_seed, TRAINING, number)
            shown.obs[some - games.start] = env.restart(some, seed)
        mine = due - games.start
        shown.reward[mine], shown.discount[mine], shown.first[mine] = 0.0, 1.0, True
        return shown

    def replay(self, env: Env, rows: int) -> tuple[object, TimeStep]:
        """Play all games from their last seeding up to row `rows`: (env_state, TimeStep[N])."""
        everyone = slice(0, len(self._number))
        env_state, timestep = env.reset(env_seed(self._run_seed, TRAINING, 0))
        for row in range(int(self._seeded_at.min()), rows + 1):
            games = np.flatnonzero(self._seeded_at == row)
            if row > 0 and games.size:  # at row 0 the reset above has seeded them
                timestep = self._restart(env, games, everyone, timestep)
            if row < rows:
                actions = self._actions[row % len(self._actions)].astype(np.int32)
                env_state, timestep = env.step(env_state, actions)
        return env_state, timestep

    def state(self) -> dict[str, np.ndarray]:
        """Return everything that must be saved, as arrays of fixed shapes."""
        return {"actions": self._actions, "seeded_at": self._seeded_at, "number": self._number}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over a saved `state`."""
        self._actions[:] = state["actions"]
        self._seeded_at[:] = state["seeded_at"]
        self._number[:] = state["number"]

    def restore_version_0_1(self, actions: np.ndarray, rows: int) -> None:
        """Take over the log of a run of version 0.1, which reset all games together.

        Args:
          actions: uint8[T, N], of the rows since the last reset; it reset after each T rows.
          rows: taken by the run in all.
        """
        resets, since = divmod(rows, len(actions))
        self._seeded_at[:], self._number[:] = rows - since, resets
        for row in range(since):
            self.record(rows - since + row, slice(None), actions[row])
