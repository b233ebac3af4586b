"""The options of train_supervised.py: from the command line, or from the run that is resumed."""

import dataclasses
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import tyro

from dqnlab import optim, schedules
from dqnlab.types import UserError
from scripts import flags
from scripts.tasks import saved, table

C = TypeVar("C")


@dataclasses.dataclass(frozen=True)
class Options(Generic[C]):
    """One run; the task's own settings are listed below."""

    seed: int = 0
    """Seed of everything: split, weights, order of the examples, noise."""
    seeds: int = 1
    """Train so many times, with seeds one after the other, and report mean and spread."""
    run_dir: Path | None = None
    """Folder of this run (of several seeds: of all of them); default
    runs/<task>-supervised-s<seed>-<time>."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where the net lives."""
    checkpoint_seconds: float = 60.0
    """Seconds between checkpoints; another one at the end, and at Ctrl-C."""
    resume: Path | None = None
    """Run folder to go on with, exactly as if it had not stopped; only --epochs may change, and
    only under a constant schedule."""
    quiet: bool = False
    """Print nothing but errors."""
    config: tyro.conf.OmitArgPrefixes[C] = dataclasses.field(kw_only=True)


def parse(args: list[str]) -> tuple[str, Options[Any]]:
    """The task's name and its options. Defaults are the task's, or those of the resumed run.

    Raises UserError for an unknown task, values out of range, and settings that a resumed run
    cannot change.
    """
    resume = flags.value(args, "--resume")
    if resume is not None:
        name, default = _of_run(Path(resume))
        if args[0] == name:
            args = args[1:]
    elif not args or args[0].startswith("-"):
        raise UserError(f"name a task first: {', '.join(table.TASKS)} (--list says what they are)")
    else:
        name, args = args[0], args[1:]
        default = Options(config=table.find(name).defaults)
    cls: Any = Options[type(default.config)]  # type: ignore[misc]
    task, prog = table.find(name), f"train_supervised.py {name}"
    about = f"{task.about[0].upper()}{task.about[1:]}. Goal: {task.goal}."
    options = flags.cli(cls, args=args, default=default, description=about, prog=prog)
    if resume is not None:
        _check_resumed(options, default)
    _check(options)
    return name, options


def _of_run(run_dir: Path) -> tuple[str, Options[Any]]:
    content = saved.read_config(run_dir)
    config = saved.config_of(run_dir)
    options = content["options"]
    seconds = options.get("checkpoint_seconds", Options.checkpoint_seconds)
    default = Options(
        config=config, seed=content["seed"], resume=run_dir, checkpoint_seconds=seconds
    )
    return content["task"], default


def _check_resumed(options: Options[Any], default: Options[Any]) -> None:
    if (options.seed, options.seeds) != (default.seed, 1) or options.run_dir is not None:
        raise UserError("--resume goes on with one run: no other --seed, --seeds or --run-dir")
    for name, value in vars(options.config).items():
        was = getattr(default.config, name)
        is_free = name == "epochs" and default.config.schedule not in schedules.DEPEND_ON_STEPS
        if value != was and not is_free:
            reason = ", as its schedule depends on it" if name == "epochs" else ""
            raise UserError(
                f"--resume {options.resume}: a run goes on with its own settings; {name} was "
                f"{was!r} and cannot become {value!r}{reason}"
            )


def _check(options: Options[Any]) -> None:
    config = options.config
    for flag, value, least in (
        ("seed", options.seed, 0),
        ("seeds", options.seeds, 1),
        ("checkpoint-seconds", options.checkpoint_seconds, 0),
        ("epochs", config.epochs, 1),
        ("batch-size", config.batch_size, 1),
        ("batches-per-launch", config.batches_per_launch, 1),
        ("patience", config.patience, 1),
        ("weight-decay", config.weight_decay, 0),
        ("l1", config.l1, 0),
        ("l2", config.l2, 0),
    ):
        if value is not None and not value >= least:
            raise UserError(f"--{flag} is {value}; at least {least}")
    _check_net(config)
    schedules.make(config.schedule, config.learning_rate, 1)
    optim.make(config.optimizer, config.learning_rate)
    if config.max_grad_norm is not None and not config.max_grad_norm > 0:
        raise UserError(f"--max-grad-norm is {config.max_grad_norm}; above 0, or None")


def _check_net(config: Any) -> None:
    # What tasks call alike: units and rates of dropout.
    sizes = getattr(config, "hidden", ())
    if any(size < 1 for size in (sizes if isinstance(sizes, tuple) else (sizes,))):
        raise UserError(f"--hidden is {sizes}; at least 1 unit in each layer")
    if not 0 <= (rate := getattr(config, "dropout", 0.0)) < 1:
        raise UserError(f"--dropout is {rate}; a share in 0..1, and not 1 itself")
