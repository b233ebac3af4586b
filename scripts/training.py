"""A training run: its state and games, the loop over frames, checkpoints, the evaluation."""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from agents import driver as drivers
from agents import policy, registry, runner, saving
from agents.replay import ring as rings
from agents.runner import RunState
from dqnlab import checkpoint, optim, run_folder, transfer
from dqnlab.checkpoint import Segment
from dqnlab.metrics import MetricsWriter
from dqnlab.train import TrainState
from dqnlab.types import Env, UserError
from scripts import evaluate, memory, video
from scripts.console import Progress
from scripts.interrupts import Interrupts
from scripts.options import Options


class Run:
    """A run in progress: the state that learns, the games, the folder."""

    def __init__(self, options: Options, env: Env, run_dir: Path):
        self.options, self.env, self.dir = options, env, run_dir
        self.spec = env.spec
        settings = options.settings
        self.agent = registry.make(options.agent, settings, self.spec)
        replay = registry.make_replay(settings, self.spec)
        optimizer = optim.make(
            settings.optimizer,
            settings.learning_rate,
            settings.optimizer_epsilon,
            settings.max_grad_norm,
        )
        self.runner = runner.make(self.agent, replay, settings, self.spec, optimizer)
        self.frames_per_row = self.spec.num_envs * self.spec.frame_skip
        self.driver = drivers.make(
            self.runner, self.env, options.seed, self.rows_of(options.iteration)
        )
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
        parts = {"run": saving.small_part(like), "driver": self.driver.snapshot()}
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

    def save(self) -> None:
        """Write the weights (also as the best, if the score is the best yet) and a checkpoint.

        Raises UserError where the state is no longer finite, or the disk refuses.
        """
        self.check_finite()
        ring = self.state.replay.ring
        oldest = saving.oldest_row(ring, self.rows)
        start = max(self.saved_rows, oldest)
        small = jax.device_get(saving.small_part(self.state))
        self._save_weights(small.train)
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

    def _save_weights(self, train: TrainState) -> None:
        folder, steps = self.dir / "weights", self.agent_steps
        folder.mkdir(exist_ok=True)
        learnt = (train.params, train.net_state, steps, self.spec)
        policy.save(folder / f"{steps:012d}.safetensors", *learnt)
        score = self.driver.tracker.mean()
        if score is not None and score > self.best_return:
            self.best_return = score
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

    def metrics_row(self, speed: float) -> dict[str, Any]:
        """The row of metrics.jsonl for now; resets the sums behind it."""
        self.check_finite()
        totals = jax.device_get(self.state.totals)
        count = totals.pop("updates")
        zeros = jax.tree.map(jax.numpy.zeros_like, self.state.totals)
        self.state = self.state._replace(totals=zeros)
        means = {name: float(value / count) if count else None for name, value in totals.items()}
        return {
            "agent_steps": self.agent_steps,
            "frames": self.rows * self.frames_per_row,
            "updates": int(self.state.train.step),
            "seconds": round(self.seconds, 2),
            "frames_per_second": round(speed, 1),
            "episodes": self.driver.tracker.episodes,
            "episode_return_mean": self.driver.tracker.mean(),
            "episode_return_last20": self.driver.tracker.mean(20),
            "epsilon": float(runner.epsilon(self.options.settings, self.agent_steps)),
            **means,
        }


def train(run: Run, interrupts: Interrupts, progress: Progress, writer: MetricsWriter) -> None:
    """Go on until all frames are seen or a signal asks to stop; checkpoints on the way."""
    options = run.options
    total = -(-options.frames // run.frames_per_row)
    log_rows, save_rows = run.rows_of(options.log_every), run.rows_of(options.checkpoint_every)
    started, started_rows, base = time.monotonic(), run.rows, run.seconds
    while run.rows < total and not interrupts.is_set():
        to_log, to_save = log_rows - run.rows % log_rows, save_rows - run.rows % save_rows
        step = min(to_log, to_save, total - run.rows)
        run.state, done = run.driver.advance(run.state, step, interrupts.is_set)
        run.rows += done
        run.seconds = base + time.monotonic() - started
        if run.rows % log_rows == 0 and done:
            speed = (run.rows - started_rows) * run.frames_per_row / (run.seconds - base)
            started_rows, base, started = run.rows, run.seconds, time.monotonic()
            row = run.metrics_row(speed)
            writer.write(row)
            progress.update(row, run.replay_fill)
        if run.rows % save_rows == 0 and done:
            run.save()
            _write_histograms(run, writer)
    if run.rows != run.saved_rows:
        run.save()


def _write_histograms(run: Run, writer: MetricsWriter) -> None:
    """The distribution of every layer's weights, for TensorBoard."""
    for module, arrays in run.state.train.params.items():
        for name, array in arrays.items():
            writer.write_histogram(f"{module}/{name}", array, run.agent_steps)


def finish(run: Run, progress: Progress) -> None:
    """Evaluate the final weights, write a video, say where everything lies."""
    options = run.options
    trained = policy.load(run.dir, "last")
    epsilon = options.settings.evaluation_epsilon
    seed = drivers.env_seed(options.seed, drivers.EVALUATION, 0)
    progress.say(f"evaluating: {options.eval_episodes} games")
    result = evaluate.score(
        trained,
        protocol=options.protocol,
        episodes=options.eval_episodes,
        epsilon=epsilon,
        seed=seed,
        num_envs=8,
    )
    run_folder.write_json(run.dir / "eval.json", result)
    progress.say(evaluate.describe(result))
    if evaluate.has_pictures(trained):
        path = run.dir / "videos" / "final.mp4"
        video.record(trained, options.protocol, path, epsilon=epsilon, seed=seed)
        progress.say(f"video      {path}")
    progress.say(f"curves     tensorboard --logdir {run.dir}")
    progress.say(f"run folder {run.dir}")


def describe(run: Run, device: str) -> str:
    """What is about to happen, the replay's memory included. UserError where it cannot fit."""
    settings, spec = run.options.settings, run.spec
    replay_bytes = rings.num_bytes(spec, settings.replay_capacity)
    available = memory.available()
    if jax.devices()[0].platform == "cpu" and replay_bytes > available:
        fits = int(settings.replay_capacity * 0.8 * available / replay_bytes)
        raise UserError(
            f"the replay would take {replay_bytes / 1e9:.2f} GB and {available / 1e9:.2f} GB are "
            f"free: use --replay-capacity {fits} or less"
        )
    rules = ", ".join(f"{k} {v}" for k, v in spec.protocol.items() if k != "name")
    return "\n".join(
        [
            f"game       {spec.game}, {spec.num_envs} at once, {spec.num_actions} actions",
            f"protocol   {spec.protocol['name']}" + (rules and f": {rules}"),
            f"agent      {run.options.agent}, preset {run.options.preset}, seed {run.options.seed}",
            f"device     {device}",
            f"network    computes in {settings.precision}",
            f"replay     {settings.replay_capacity:,} frames, {replay_bytes / 1e9:.2f} GB",
            f"run folder {run.dir}",
        ]
    )


def _with_torso(state: RunState, run_dir: str) -> RunState:
    # The target network starts equal to the online one.
    params = transfer.with_torso(state.train.params, transfer.load_torso(run_dir), run_dir)
    target = jax.tree.map(jax.numpy.copy, params) if state.target_params else ()
    return state._replace(train=state.train._replace(params=params), target_params=target)
