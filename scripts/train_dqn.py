"""Train an agent of the DQN family on a game, watch it learn, stop, resume.

python scripts/train_dqn.py --game Pong
python scripts/train_dqn.py --resume runs/Pong-dqn-s0-...
"""

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any, Literal

if __package__ in (None, ""):  # run as a file: make `scripts`, `agents` and `envs` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jax
import numpy as np
import psutil
import tyro

import envs
from agents import driver as drivers
from agents import networks, policy, presets, registry, runner, saving
from agents.presets import Settings
from agents.replay import ring as rings
from agents.runner import RunState
from dqnlab import checkpoint, optim, records, run_folder
from dqnlab.checkpoint import Segment
from dqnlab.metrics import MetricsWriter
from dqnlab.types import Env, UserError
from scripts import evaluate, startup, video
from scripts.console import Progress
from scripts.interrupts import Interrupts


@dataclasses.dataclass(frozen=True)
class Options:
    """One run. All of it, resolved, is written to config.json in the run folder."""

    game: str = "Pong"
    """Atari game in any usual spelling, catch, cue, or a Gymnasium id such as CartPole-v1."""
    agent: str = "dqn"
    """Name of the agent."""
    preset: str = "laptop"
    """Set of hyperparameters: laptop, nature or dopamine. The same for every game."""
    frames: int = 2_000_000
    """Emulator frames to train for (4 to an agent step on Atari; others: agent steps)."""
    seed: int = 0
    """Seed of everything: weights, exploration, replay, emulator."""
    protocol: str = "machado2018"
    """How scores are measured: machado2018, nature2015 or atari100k."""
    run_dir: Path | None = None
    """Folder of this run; default runs/<game>-<agent>-s<seed>-<time>."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where the network lives."""
    checkpoint_every: int = 200_000
    """Frames between checkpoints."""
    log_every: int = 10_000
    """Frames between rows of metrics.jsonl."""
    iteration: int = 1_000_000
    """Frames between resets of all games with fresh seeds; bounds the time that a resume takes."""
    keep: int = 2
    """Checkpoints kept, beside the best weights."""
    eval_episodes: int = 20
    """Games played at the end; 0 skips the evaluation and the video."""
    resume: Path | None = None
    """Run folder to go on with, exactly as if it had not stopped; only --frames may change."""
    quiet: bool = False
    """Print nothing but errors."""
    settings: tyro.conf.OmitArgPrefixes[Settings] = dataclasses.field(default_factory=Settings)


# What may differ between a run and its resumption without changing what is learnt.
_MAY_CHANGE = {"frames", "quiet", "device", "eval_episodes", "keep", "checkpoint_every", "resume"}


def parse(args: list[str]) -> Options:
    """The command line. Defaults are the preset's, or on --resume those of the saved run.

    Raises UserError for values out of range, and for settings that a resumed run cannot change.
    """
    resume = _peek(args, "--resume")
    if resume is None:
        default = Options(settings=presets.preset(_peek(args, "--preset") or "laptop"))
    else:
        default = read_options(Path(resume))
    options: Options = tyro.cli(Options, args=args, default=default, description=__doc__)
    if resume is not None:
        for name, value in vars(options).items():
            if name not in _MAY_CHANGE and value != getattr(default, name):
                what = _first_difference(value, getattr(default, name), name)
                raise UserError(f"--resume {resume}: a run goes on with its own settings; {what}")
    _check(options)
    return options


def read_options(run_dir: Path) -> Options:
    """The options in a run folder's config.json."""
    config = policy.read_config(run_dir)
    values = {**config["options"], "settings": config["settings"], "run_dir": None, "resume": None}
    options = records.load(Options, values, str(run_dir / run_folder.CONFIG))
    return dataclasses.replace(options, resume=run_dir)


def _first_difference(given: Any, saved: Any, name: str) -> str:
    if isinstance(given, Settings):
        name = next(k for k, v in vars(given).items() if v != getattr(saved, k))
        given, saved = getattr(given, name), getattr(saved, name)
    return f"{name} was {saved!r} and cannot become {given!r}"


def _peek(args: list[str], flag: str) -> str | None:
    for this, following in zip(args, [*args[1:], None], strict=True):
        if this == flag:
            return following
        if this.startswith(flag + "="):
            return this.removeprefix(flag + "=")
    return None


def _check(options: Options) -> None:
    for name in ("frames", "checkpoint_every", "log_every", "iteration", "keep"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(options, name)}; at least 1")
    for name in ("seed", "eval_episodes"):
        if getattr(options, name) < 0:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(options, name)}; at least 0")
    registry.check_name(options.agent)
    presets.check(options.settings)


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
            self.runner, self.env, options.seed, self._rows(options.iteration)
        )
        self.rows = 0
        self.saved_rows = 0
        self.best_return = -np.inf
        self.seconds = 0.0
        self.problems: list[str] = []

    def _rows(self, frames: int) -> int:
        return max(1, frames // self.frames_per_row)

    def start(self) -> None:
        """Make the first state."""
        self.state: RunState = jax.jit(self.runner.init)(np.uint32(self.options.seed))

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
        """Write a checkpoint, the weights, and the best weights if the score is the best yet."""
        ring = self.state.replay.ring
        oldest = saving.oldest_row(ring, self.rows)
        start = max(self.saved_rows, oldest)
        pieces = [columns for _, columns in saving.read_rows(ring, start, self.rows)]
        arrays = (
            {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
            if pieces
            else {}
        )
        weights = self.dir / "weights"
        weights.mkdir(exist_ok=True)
        small = jax.device_get(saving.small_part(self.state))
        score = self.driver.tracker.mean()
        is_best = score is not None and score > self.best_return
        if is_best:
            self.best_return = score
        train = small.train
        steps = self.agent_steps
        policy.save(weights / f"{steps:012d}.safetensors", train.params, train.net_state, steps)
        checkpoint.save(
            self.dir / "checkpoints",
            steps,
            {"run": small, "driver": self.driver.snapshot()},
            {
                "rows": self.rows,
                "scores": self.driver.tracker.state(),
                "best_return": None if np.isinf(self.best_return) else self.best_return,
                "seconds": self.seconds,
            },
            new_rows=Segment(start, self.rows, arrays),
            oldest=oldest,
            keep=self.options.keep,
        )
        if is_best:
            policy.save(weights / "best.safetensors", train.params, train.net_state, steps)
        kept = {f"{step:012d}" for step in checkpoint.steps(self.dir / "checkpoints")}
        for path in weights.glob("*.safetensors"):
            if path.stem.isdigit() and path.stem not in kept:
                path.unlink()
        self.saved_rows = self.rows

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
        totals = jax.device_get(self.state.totals)
        bad = int(self.state.bad_update)
        if bad != runner.NEVER:
            raise UserError(
                f"the loss or its gradient was not finite at update {bad}: stopped. The last good "
                f"checkpoint is in {self.dir / 'checkpoints'}; a smaller --learning-rate may help"
            )
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
    log_rows, save_rows = run._rows(options.log_every), run._rows(options.checkpoint_every)
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
    if run.rows != run.saved_rows:
        run.save()


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


def main(args: list[str] | None = None) -> int:
    """Parse, train, evaluate. Returns the exit code."""
    options = parse(sys.argv[1:] if args is None else args)
    device = startup.select_device(options.device)
    env = envs.make(options.game, options.settings.num_envs, options.protocol, training=True)
    # What "auto" means is decided once, here: a resumed run computes in the same type.
    precision = networks.compute_type(options.settings.precision).name
    settings = dataclasses.replace(options.settings, precision=precision)
    options = dataclasses.replace(options, game=env.spec.game, settings=settings)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    run_dir = options.resume or run_folder.create(
        "runs", options.game, options.agent, options.seed, stamp, options.run_dir
    )
    with run_folder.lock(run_dir):
        interrupts = Interrupts()
        run = Run(options, env, run_dir)
        if not options.quiet:
            print(describe(run, device), flush=True)
        if options.resume is None:
            kept = dataclasses.asdict(options)
            for name in ("settings", "run_dir", "resume"):
                del kept[name]
            policy.write_config(run_dir, options.agent, options.settings, env.spec, kept)
            run.start()
        else:
            run.resume()
        progress = Progress(options.frames, run.rows * run.frames_per_row, options.quiet)
        for problem in run.problems:
            progress.say(f"warning: {problem}", is_error=True)
        try:
            resume_step = None if options.resume is None else run.agent_steps
            with MetricsWriter(run_dir, resume_step=resume_step) as writer:
                train(run, interrupts, progress, writer)
            progress.close()
            if interrupts.is_set():
                progress.say(f"saved; go on with: python scripts/train_dqn.py --resume {run_dir}")
            elif options.eval_episodes:
                finish(run, progress)
        finally:
            progress.close()
            env.close()
    return interrupts.exit_code


def describe(run: Run, device: str) -> str:
    """What is about to happen, the replay's memory included. UserError where it cannot fit."""
    settings, spec = run.options.settings, run.spec
    replay_bytes = rings.num_bytes(spec, settings.replay_capacity)
    available = psutil.virtual_memory().available
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


if __name__ == "__main__":
    with startup.user_errors():
        sys.exit(main())
