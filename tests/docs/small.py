"""How each command of the docs is made small, which are slow, and which are not run at all.

A command is run as it is printed, with flags added: those of NET before its own, which therefore
win, and those of LENGTH after them, which win over its own. Nothing is taken away.
"""

from tests.docs.markdown import Command

_TRAIN = (
    "--num-envs 4 --learning-starts 200 --replay-capacity 2000 --batch-size 4 --update-period 32 "
    "--target-update-period 320 --hidden 16 --torso-width 0.0625 --precision float32 "
    "--evaluation-epsilon 1 --log-every 2000"
).split()
NET = {"train_dqn.py": _TRAIN, "benchmark.py": "--hidden 16 --replay-capacity 2000".split()}

LENGTH = {
    "train_dqn.py": "--frames 6000 --checkpoint-every 3000 --eval-episodes 2".split(),
    "train_dqn.py --resume": "--frames 8000 --eval-episodes 2".split(),
    "evaluate.py": "--episodes 2".split(),
    "inspect_net.py": "--frames 16".split(),
    "run_suite.py": "--games catch --seeds 2 --frames 3000".split(),
    "train_supervised.py": "--epochs 1".split(),
    "train_supervised.py --resume": [],  # its schedule depends on the number of epochs
    "train_supervised.py digits-mlp --seeds": "--epochs 1 --seeds 2".split(),
    "train_supervised.py pong-state": "--epochs 1 --episodes 2 --frames 40".split(),
    "train_supervised.py --sample": "--length 20".split(),
    "soak.py": "--minutes 1".split(),
    "benchmark.py": "--rounds 1 --seconds 0.1".split(),
    "benchmark.py games": "--rounds 1 --seconds 0.1 --values 1 2".split(),
    "benchmark.py batch": "--rounds 1 --seconds 0.1 --values 32 64".split(),
    "benchmark.py replay": "--rounds 1 --seconds 0.1 --values 1000 2000".split(),
    "reuse_torso.py": "--labels 60 --epochs 1 --autoencoder-epochs 1 --frames 0 --seeds 1".split(),
    "serve.py": "--port 0".split(),  # a free one, which then stands for the printed one
    "watch.py": "--port 0".split(),
    "benchmark_serve.py": "--seconds 0.5".split(),
}

# Words of commands that stand for another, or for a checkpoint that a small run has not.
WORDS = {"SEED": "0", "AGENT": "dqn", "K": "2", "600000": "last"}

# Of Python blocks, text by text.
NUMBERS = {"epochs=50": "epochs=2", "cv=5": "cv=2"}

# Commands, and pages with records of long ones, that only `make test-slow` runs.
SLOW = (
    *("--agent rainbow --game Pong", "--frames 1_000_000", "--replay-capacity 50_000"),
    *("--resume runs/NAME",),
    *("run_suite.py", "reuse_torso.py", "pong-state", "soak.py", "RUN", "report.py runs/Pong"),
    *("docs/results/README.md:", "docs/performance.md:", "docs/reproducibility.md:"),
)

# Commands that need more than this machine is sure to have, and why. Their flags are parsed.
NOT_RUN = {
    "pip install": "downloads packages",
    "--against": "measures other projects, in environments of their own",
    "git checkout": "the commit of a figure; it needs the history",
    "pytest -n 0 -m slow": "are tests themselves, of minutes",
    "--wandb": "needs wandb, which is optional, and an account",
}

# Folders that pages take for granted: page -> folder -> a run of conftest.py's.
READY = {
    "README.md": {"runs/Pong-prioritized-s0-20260101-000000": "pong"},
    "docs/export.md": {"runs/breakout-s1": "breakout"},
    "docs/how-to.md": {
        "runs/Pong-prioritized-s0-20260101-000000": "pong",
        "runs/suite/Pong-dqn-s0": "pong-dqn",
        "runs/suite/Breakout-dqn-s0": "breakout",
    },
    "docs/inspect.md": {"runs/pong-s1": "pong-dqn"},
    "docs/protocols.md": {"runs/Pong-a": "pong", "runs/Pong-b": "pong-nature2015"},
    "docs/results/README.md": {
        "RUN": "breakout",
        "runs/Pong-dqn-s0-20260101-000000": "pong-dqn",
    },
    "docs/serve.md": {"runs/breakout-s1": "breakout"},
    "docs/supervised.md": {"RUN": "pong", "runs/char-rnn-supervised-s0-20260101-000000": "text"},
    "docs/tutorial.md": {"runs/breakout-s1": "breakout"},
    "docs/watch.md": {"runs/breakout-s1": "breakout"},
}


def is_slow(command: Command) -> bool:
    """Whether the command takes more than seconds."""
    return any(part in f"{command.where} {command.text}" for part in SLOW)


def is_run(command: Command) -> bool:
    """Whether the command can be run in a test."""
    return not any(part in command.text for part in NOT_RUN)


def shortened(script: str, args: list[str]) -> list[str]:
    """The arguments with those that make the command small."""
    if "--help" in args or "--list" in args:
        return args
    if script == "run_suite.py":
        cut = args.index("--") if "--" in args else len(args)
        rest = shortened("train_dqn.py", args[cut + 1 :])
        frames = rest.index("--frames")  # is run_suite.py's own
        return [*args[:cut], *LENGTH[script], "--", *rest[:frames], *rest[frames + 2 :]]
    words = [script, *args]
    fitting = [key for key in LENGTH if set(key.split()) <= set(words)]
    length = LENGTH[max(fitting, key=len)] if fitting else []
    is_new = "--resume" not in args
    return [*(NET.get(script, []) if is_new else []), *args, *length]
