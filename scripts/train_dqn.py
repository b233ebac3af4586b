"""Train an agent of the DQN family on a game, watch it learn, stop, resume.

python scripts/train_dqn.py --game Pong
python scripts/train_dqn.py --resume runs/Pong-prioritized-s0-...
python scripts/train_dqn.py --list    # all agents with their presets, papers and sizes

Compiled programs are kept in JAX_COMPILATION_CACHE_DIR, or else in ~/.cache/dqnlab: the second
start of a run is quick.
"""

import contextlib
import dataclasses
import os
import sys
import time
from pathlib import Path

if __package__ in (None, ""):  # run as a file: make `scripts`, `agents` and `envs` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    from scripts import first_words

    first_words.say(sys.argv[1:])

import envs
from agents import driver, listing, networks, policy, schedules
from dqnlab import run_folder
from dqnlab.metrics import MetricsWriter
from dqnlab.types import Env, UserError
from scripts import startup
from scripts.interrupts import Interrupts
from scripts.options import Options, of_each_seed, parse
from scripts.tracking import Tracker
from scripts.training import Run, tag
from scripts.training_loop import describe, finish, train
from scripts.training_progress import Progress

RESUMING = "resuming: reading the checkpoint, playing the games up to it ..."


def main(args: list[str] | None = None) -> int:
    """Parse, train, evaluate. Returns the exit code."""
    args = sys.argv[1:] if args is None else args
    if "--list" in args:
        startup.select_device("cpu")
        print(listing.table())
        return 0
    options = parse(args, __doc__)
    device = startup.select_device(options.device)
    env = envs.make(
        options.game,
        options.settings.num_envs,
        options.protocol,
        training=True,
        groups=driver.num_groups(options.settings.num_envs),
    )
    # What "auto" and shares of the run mean is decided once, here: a resumed run does the same.
    precision = networks.compute_type(options.settings.precision).name
    settings = dataclasses.replace(options.settings, precision=precision)
    settings = schedules.in_steps(settings, options.frames // env.spec.frame_skip)
    protocol = envs.find_protocol(options.game, options.protocol)
    options = dataclasses.replace(
        options,
        game=env.spec.game,
        protocol=None if protocol is None else protocol.name,
        settings=settings,
    )
    with contextlib.ExitStack() as stack:
        stack.callback(env.close)
        runs = make_runs(options, env, stack)
        interrupts = stack.enter_context(Interrupts())
        plan = describe(runs, device)  # also the check that it fits
        if not options.quiet:
            print(plan, flush=True)
            run_steps = options.frames // env.spec.frame_skip
            for line in schedules.warnings(settings, run_steps, env.spec.frame_skip):
                print(f"warning: {line}", file=sys.stderr, flush=True)
        progress = Progress(options.quiet)
        stack.callback(progress.close)
        progress.wait("making the first state ..." if options.resume is None else RESUMING)
        for run in runs:
            begin(run)
        for problem in runs[0].problems:
            progress.say(f"warning: {problem}", is_error=True)
        if all(is_over(run) for run in runs):
            for run in runs:
                frames = run.rows * run.frames_per_row
                progress.say(f"{run.dir} is finished after {frames:,} frames; add --frames")
            return 0
        resume_step = None if options.resume is None else runs[0].agent_steps
        writers = [open_writer(run, resume_step, stack) for run in runs]
        train(runs, interrupts, progress, writers)
        progress.close()
        for run, writer in zip(runs, writers, strict=True):
            if interrupts.is_set():
                python = os.path.relpath(sys.executable)
                progress.say(f"saved; go on with: {python} scripts/train_dqn.py --resume {run.dir}")
            elif options.eval_episodes:
                interrupts.is_saved = True
                finish(run, progress, writer)
    return interrupts.exit_code


def make_runs(options: Options, env: Env, stack: contextlib.ExitStack) -> list[Run]:
    """The run, or that of each seed; their folders stay locked until the stack is left."""
    if options.num_seeds > 1 and not env.spec.traceable:
        raise UserError(
            f"--num-seeds {options.num_seeds}: {env.spec.game} is not written in JAX (catch and "
            "cue are); start one command for each seed"
        )
    stamp = time.strftime("%Y%m%d-%H%M%S")
    runs = []
    for each in of_each_seed(options):
        run_dir = each.resume or run_folder.create(
            "runs", each.game, each.agent, each.seed, stamp, each.run_dir
        )
        stack.enter_context(run_folder.lock(run_dir))
        runs.append(Run(each, env, run_dir))
    return runs


def begin(run: Run) -> None:
    """Start a new run with its config.json, or go on with the one to resume."""
    if run.options.resume is not None:
        run.resume()
        return
    kept = dataclasses.asdict(run.options)
    for name in ("settings", "run_dir", "resume"):
        del kept[name]
    policy.write_config(run.dir, run.options.agent, run.options.settings, run.spec, kept)
    run.start()


def is_over(run: Run) -> bool:
    """Whether a resumed run has nothing left to do: no frames to see, and no games to evaluate."""
    frames = run.rows * run.frames_per_row
    if run.options.resume is None or frames < run.options.frames:
        return False
    path = run.dir / "eval.json"
    if not run.options.eval_episodes:
        return True
    return path.exists() and run_folder.read_json(path).get("frames") == frames


def open_writer(run: Run, resume_step: int | None, stack: contextlib.ExitStack) -> MetricsWriter:
    """What takes the run's rows until the stack is left."""
    if run.options.wandb is None:
        return stack.enter_context(MetricsWriter(run.dir, resume_step, tag=tag))
    tracker = Tracker(run.options.wandb, run.dir)
    stack.callback(tracker.close)
    return stack.enter_context(MetricsWriter(run.dir, resume_step, mirror=tracker.write, tag=tag))


if __name__ == "__main__":
    with startup.user_errors():
        sys.exit(main())
