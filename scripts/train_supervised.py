"""Train a net on a supervised task, watch it learn, stop, resume.

python scripts/train_supervised.py digits-mlp --seeds 5
python scripts/train_supervised.py --resume runs/digits-mlp-supervised-s0-...
python scripts/train_supervised.py --list    # all tasks with their figures and minutes
python scripts/train_supervised.py --sample RUN    # e.g. text of a language model; or with --help
python scripts/train_supervised.py TASK --help
"""

import contextlib
import dataclasses
import os
import sys
import time
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a file: make `scripts` and its neighbours importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    from scripts import first_words

    first_words.say(sys.argv[1:])


from dqnlab import run_folder
from dqnlab.metrics import MetricsWriter
from dqnlab.plurals import count
from dqnlab.types import UserError
from scripts import flags, outputs, startup
from scripts.console import LiveLine
from scripts.interrupts import Interrupts
from scripts.supervised import STEP, Run, finish, learn, spread, tag
from scripts.supervised_options import Options, parse
from scripts.tasks import saved, table


def main(args: list[str] | None = None) -> int:
    """Parse, train, measure. Returns the exit code."""
    args = sys.argv[1:] if args is None else args
    if "--list" in args:
        print(table.listing())
        return 0
    if args in (["--help"], ["-h"]):
        print(f"{__doc__}\ntasks: {', '.join(table.TASKS)}")
        return 0
    if (run_dir := flags.value(args, "--sample")) is not None:
        print(sample(run_dir, flags.without(args, "--sample")))
        return 0
    name, options = parse(args)
    device = startup.select_device(options.device)
    if options.run_dir is not None:
        outputs.check_free("--run-dir", options.run_dir)
    with Interrupts() as interrupts, contextlib.closing(LiveLine(options.quiet)) as line:
        line.say(f"{name}: {table.find(name).about}; {device}")
        if options.seeds == 1:
            train(name, options, interrupts, line)
        else:
            train_seeds(name, options, interrupts, line)
    return interrupts.exit_code


def train(
    name: str, options: Options[Any], interrupts: Interrupts, line: LiveLine
) -> dict[str, Any] | None:
    """One run; its figures, or None where it was interrupted."""
    line.wait("loading the data ...")
    run = Run(name, options)  # before the folder: a mistake in the data leaves none behind
    run_dir = options.resume or _folder(name, options)
    with run_folder.lock(run_dir):
        if options.resume is None:
            run.start(run_dir)
        else:
            run.resume(run_dir)
        for problem in run.problems:
            line.say(f"warning: {problem}", is_error=True)
        if options.resume is not None and (figures := finished_figures(run)) is not None:
            epochs = count(len(run.progress.history), "epoch")
            line.say(f"{run_dir} is finished: {epochs}, see result.json. Add --epochs to go on")
            return figures
        complete = None if options.resume is None else len(run.progress.history)
        with MetricsWriter(run_dir, resume_step=complete, step=STEP, tag=tag) as writer:
            learn(run, interrupts, line, writer)
        if interrupts.is_set():
            python = os.path.relpath(sys.executable)
            line.say(f"saved; go on with: {python} scripts/train_supervised.py --resume {run_dir}")
            return None
        line.wait("measuring the best net on the test part ...")
        return finish(run, line)


def finished_figures(run: Run) -> dict[str, Any] | None:
    """Return the figures of a resumed run that has no epoch left and was measured; else None."""
    epochs = len(run.progress.history)
    patience = run.config.patience if run.splits.validation is not None else None
    is_over = patience is not None and epochs - run.progress.best_epoch >= patience
    if not (is_over or epochs >= run.config.epochs) or not (run.dir / "result.json").exists():
        return None
    result = run_folder.read_json(run.dir / "result.json")
    if not isinstance(result, dict) or result.get("epochs") != epochs:
        return None
    figures: dict[str, Any] | None = result.get("figures")
    return figures


def train_seeds(name: str, options: Options[Any], interrupts: Interrupts, line: LiveLine) -> None:
    """One run after the other, each in a folder of its own; their mean and spread."""
    seeds = range(options.seed, options.seed + options.seeds)
    folder = _folder(name, options)
    figures = []
    for seed in seeds:
        line.say(f"seed {seed}")
        one = dataclasses.replace(options, seed=seed, seeds=1, run_dir=folder / f"s{seed}")
        result = train(name, one, interrupts, line)
        if result is None:
            return
        figures.append(result)
    summary = spread(figures)
    content = {"task": name, "seeds": list(seeds), "figures": summary}
    run_folder.write_json(folder / "result.json", content)
    for key, each in summary.items():
        line.say(
            f"{key:24} {each['mean']:.4g} ± {each['std']:.2g} over {count(len(figures), 'seed')}"
        )
    line.say(f"run folder {folder}")


def _folder(name: str, options: Options[Any]) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return run_folder.create("runs", name, saved.KIND, options.seed, stamp, options.run_dir)


def sample(run_dir: str, args: list[str]) -> str:
    """What a trained net generates; the flags are the task's own."""
    if not run_dir:
        raise UserError("--sample needs the run folder of a trained net")
    startup.select_device("cpu")
    trained = saved.load(run_dir)
    task = table.find(trained.task)
    if task.sample is None or task.sample_args is None:
        able = ", ".join(name for name, each in table.TASKS.items() if each.sample is not None)
        raise UserError(f"{trained.task} generates nothing; tasks that do: {able}")
    args = args[1:] if args[:1] == [trained.task] else args
    prog = f"train_supervised.py --sample {run_dir}"
    return task.sample(trained, flags.cli(task.sample_args, args=args, prog=prog))


if __name__ == "__main__":
    with startup.user_errors():
        sys.exit(main())
