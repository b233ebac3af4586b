"""Train an agent of the DQN family on a game, watch it learn, stop, resume.

python scripts/train_dqn.py --game Pong
python scripts/train_dqn.py --resume runs/Pong-dqn-s0-...
python scripts/train_dqn.py --list    all agents with their presets, papers and sizes
"""

import dataclasses
import os
import sys
import time
from pathlib import Path

if __package__ in (None, ""):  # run as a file: make `scripts`, `agents` and `envs` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import envs
from agents import listing, networks, policy
from dqnlab import run_folder
from dqnlab.metrics import MetricsWriter
from scripts import startup
from scripts.console import Progress
from scripts.interrupts import Interrupts
from scripts.options import parse
from scripts.training import Run, describe, finish, train


def main(args: list[str] | None = None) -> int:
    """Parse, train, evaluate. Returns the exit code."""
    args = sys.argv[1:] if args is None else args
    if "--list" in args:
        startup.select_device("cpu")
        print(listing.table())
        return 0
    options = parse(args, __doc__)
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
                python = os.path.relpath(sys.executable)
                progress.say(f"saved; go on with: {python} scripts/train_dqn.py --resume {run_dir}")
            elif options.eval_episodes:
                interrupts.is_saved = True
                finish(run, progress)
        finally:
            progress.close()
            env.close()
    return interrupts.exit_code


if __name__ == "__main__":
    with startup.user_errors():
        sys.exit(main())
