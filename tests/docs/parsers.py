"""Each script's real parser, asked whether it takes a command line, without running it."""

import contextlib
import importlib
import io
from dataclasses import fields
from typing import Any

from agents.settings import Settings
from scripts import flags
from scripts.supervised_options import Options as SupervisedOptions
from scripts.tasks import table

_NUMBERS = {"K": "2", "SEED": "0"}  # as pages write them
_DELEGATES = ("run_suite.py", "soak.py")  # what comes after `--` is for train_dqn.py


def problem(script: str, args: list[str]) -> str | None:
    """What the parser says against the command line; None where it takes it."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            _parse(script, [_NUMBERS.get(word, word) for word in args])
        except SystemExit as stop:
            return " ".join(said.getvalue().split()) if stop.code else None
    return None


def _parse(script: str, args: list[str]) -> None:
    if script in _DELEGATES and "--" in args:
        cut = args.index("--")
        _parse("train_dqn.py", args[cut + 1 :])
        args = args[:cut]
    if script == "doctor.py":
        importlib.import_module("scripts.doctor").main(["--help", *args])
    elif script in ("train_dqn.py", "train_supervised.py") and "--list" in args:
        assert args == ["--list"]
    elif script == "train_supervised.py":
        _parse_supervised(args)
    else:
        flags.cli(options_of(script), args=args)


def _parse_supervised(args: list[str]) -> None:
    if args[0] == "--sample":
        flags.cli(table.TASKS["char-rnn"].sample_args, args=args[2:])
        return
    if args[0] in ("--resume", "--help"):
        args = ["digits-mlp", *args]
    config = table.TASKS["digits-mlp" if args[0] == "TASK" else args[0]].defaults
    flags.cli(
        SupervisedOptions[type(config)],  # type: ignore[misc]
        args=args[1:],
        default=SupervisedOptions(config=config),
    )


def options_of(script: str) -> Any:
    """The dataclass of the script's flags."""
    module = importlib.import_module(f"scripts.{script.removesuffix('.py')}")
    return module.Options


def all_flags() -> set[str]:
    """The flags of all scripts and tasks."""
    named = set(SCRIPTS) - {"doctor.py", "train_supervised.py"}
    records = [options_of(script) for script in named]
    records += [SupervisedOptions, *(type(task.defaults) for task in table.TASKS.values())]
    records += [task.sample_args for task in table.TASKS.values() if task.sample_args]
    names = {field.name for record in (*records, Settings) for field in fields(record)}
    names |= {f"no_{name}" for name in names} | {"help", "list", "sample"}
    return {f"--{name.replace('_', '-')}" for name in names}


SCRIPTS = (
    *("benchmark.py", "benchmark_serve.py", "doctor.py", "evaluate.py", "export.py"),
    *("inspect_net.py", "plot_runs.py", "report.py", "reuse_torso.py", "run_suite.py"),
    *("serve.py", "soak.py", "train_dqn.py", "train_supervised.py", "watch.py"),
)
