"""A training run: its state and games, its folder, its checkpoints, its rows of metrics."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from agents import dead_units, policy, registry, runner, saving
from agents import driver as drivers
from agents.runner import RunState
from dqnlab import checkpoint, transfer
from dqnlab.checkpoint import Segment
from dqnlab.train import TrainState
from dqnlab.types import Env, UserError
from scripts.options import Options

GAMES_FOR_BEST = 20  # finished games that a training score needs before it chooses the best weights


class Run:
    """A run in progress: the state that learns, the games, the folder."""

    def __init__(self, options: Options, env: Env, run_dir: Path):
        self.options, self.env, self.dir = options, env, run_dir
        self.spec = spec = env.spec
        settings = options.settings
        self.agent = registry.make(options.agent, settings, self.spec)
        replay = registry.make_replay(settings, self.spec)
        optimizer = registry.make_optimizer(settings)
        self.runner = runner.make(self.agent, replay, settings, self.spec, optimizer)
        self.frames_per_row = self.spec.num_envs * self.spec.frame_skip
        self.driver = drivers.make(
            self.runner, self.env, options.seed, max(1, options.reseed_every // spec.frame_skip)
        )
        self.dead_units = dead_units.make(self.agent, self.spec)
        self.rows = 0
        self.saved_rows = 0
        self.best_return = -np.inf
        self.seconds = 0.0
        self.problems: list[str] = []

    def rows_of(self, frames: int) -> int:
        """Vector steps that make so many frames."""
        return max(1, frames // self.frames_per_row)

    def start(self) -> None:
        """Make the first state, and a checkpoint of it: a run can be resumed from the start on."""
        self.state: RunState = jax.jit(self.runner.init)(np.uint32(self.options.seed))
        if self.options.init_torso is not None:
            self.state = _with_torso(self.state, self.options.init_torso)
        self.save()

    def resume(self) -> None:
        """Make the state of the newest intact checkpoint."""
        saved, self.problems = checkpoint.latest(self.dir / "checkpoints")
        like = jax.eval_shape(self.runner.init, np.uint32(0))
        parts = {"run": saving.small_part(like), "driver": self.driver.snapshot_like(saved.state)}
        parts = checkpoint.load_state(saved, parts)
        ring = jax.jit(lambda: self.runner.init(np.uint32(0)).replay.ring)()
        for segment in checkpoint.read_log(saved):
            ring = saving.write_rows(ring, segment.start, segment.arrays)
        small = jax.tree.map(jax.numpy.asarray, parts["run"])
        self.state = saving.join(small, ring)
        self.driver.restore(parts["driver"])
        self.driver.tracker.restore(saved.meta["scores"])
        self.rows = self.saved_rows = int(saved.meta["rows"])
        best = saved.meta["best_return"]
        self.best_return = -np.inf if best is None else best
        self.seconds = saved.meta["seconds"]

    def advance(self, num_rows: int, should_stop: Callable[[], bool]) -> int:
        """Take up to so many vector steps; returns how many."""
        self.state, done = self.driver.advance(self.state, num_rows, should_stop)
        self.rows += done
        return int(done)

    def save(self, *, is_due: bool = True) -> None:
        """Write a checkpoint and the weights, also as the best if the score is the highest yet.

        Args:
          is_due: False at an interrupt. Such a checkpoint does not compete for the best, or the
            resumed run would end with other weights there than one that was not interrupted.

        Raises UserError where the state is no longer finite, or the disk refuses.
        """
        self.check_finite()
        ring = self.state.replay.ring
        oldest = saving.oldest_row(ring, self.rows)
        start = max(self.saved_rows, oldest)
        small = jax.device_get(saving.small_part(self.state))
        self._save_weights(small.train, is_due)
        checkpoint.save(
            self.dir / "checkpoints",
            self.agent_steps,
            {"run": small, "driver": self.driver.snapshot()},
            {
                "rows": self.rows,
                "scores": self.driver.tracker.state(),
                "best_return": None if np.isinf(self.best_return) else self.best_return,
                "seconds": self.seconds,
            },
            new_rows=Segment(start, self.rows, saving.read_rows(ring, start, self.rows)),
            oldest=oldest,
            keep=self.options.keep,
        )
        kept = {f"{step:012d}" for step in checkpoint.steps(self.dir / "checkpoints")}
        for path in (self.dir / "weights").glob("*.safetensors"):
            if path.stem.isdigit() and path.stem not in kept:
                path.unlink()
        self.saved_rows = self.rows

    def _save_weights(self, train: TrainState, is_due: bool) -> None:
        folder, steps = self.dir / "weights", self.agent_steps
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{folder}: {error.strerror}. Nothing is saved after the last checkpoint; was the "
                "run's folder moved? --resume goes on where it is now"
            ) from error
        learnt = (train.params, train.net_state, steps, self.spec)
        policy.save(folder / f"{steps:012d}.safetensors", *learnt)
        is_best = np.isinf(self.best_return)  # until enough games are finished, the last weights
        score = self.driver.tracker.mean()
        if is_due and score is not None and self.driver.tracker.episodes >= GAMES_FOR_BEST:
            is_best = score > self.best_return
            self.best_return = max(score, self.best_return)
        if is_best:
            policy.save(folder / "best.safetensors", *learnt)

    def check_finite(self) -> None:
        """Raise UserError if a loss or gradient was not finite since the start."""
        bad = int(self.state.bad_update)
        if bad != runner.NEVER:
            raise UserError(
                f"the loss or its gradient was not finite at update {bad}: stopped. The last good "
                f"checkpoint is in {self.dir / 'checkpoints'}; a smaller --learning-rate may help"
            )

    @property
    def agent_steps(self) -> int:
        """Agent steps taken: the unit of all settings."""
        return self.rows * self.spec.num_envs

    @property
    def replay_fill(self) -> float:
        """Share of the replay that is filled."""
        return min(1.0, self.rows / self.state.replay.ring.first.shape[0])

    def metrics_row(self, speed: float | None) -> dict[str, Any]:
        """The row of metrics.jsonl for now; resets the sums behind it."""
        self.check_finite()
        totals = jax.device_get(self.state.totals)
        count = totals.pop("updates")
        zeros = jax.tree.map(jax.numpy.zeros_like, self.state.totals)
        self.state = self.state._replace(totals=zeros)
        means = {name: float(value / count) if count else None for name, value in totals.items()}
        dead = float(self.dead_units(self.state))
        return {
            "agent_steps": self.agent_steps,
            "frames": self.rows * self.frames_per_row,
            "updates": int(self.state.train.step),
            "seconds": round(self.seconds, 2),
            "frames_per_second": None if speed is None else round(speed, 1),
            "episodes": self.driver.tracker.episodes,
            "episode_return_mean": self.driver.tracker.mean(),
            "episode_return_last20": self.driver.tracker.mean(20),
            "epsilon": float(runner.epsilon(self.options.settings, self.agent_steps)),
            **means,
            "dead_units": None if np.isnan(dead) else dead,
        }


def _with_torso(state: RunState, run_dir: str) -> RunState:
    # The target network starts equal to the online one.
    params = transfer.with_torso(state.train.params, transfer.load_torso(run_dir), run_dir)
    target = jax.tree.map(jax.numpy.copy, params) if state.target_params else ()
    return state._replace(train=state.train._replace(params=params), target_params=target)


_TAGS = {
    "score": ("episodes", "episode_return_mean", "episode_return_last20"),
    "progress": ("frames", "updates", "seconds", "frames_per_second"),
}


def tag(name: str) -> str:
    """Return the name of a column of metrics.jsonl in TensorBoard: its group, a slash, its own."""
    for group, names in _TAGS.items():
        if name in names:
            return f"{group}/{name}"
    return f"learning/{name}"
