"""The options of train_dqn.py: from the command line, or from the run that is resumed."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import tyro

from agents import policy, presets, registry
from agents.limits import check as check_settings
from agents.settings import Settings
from dqnlab import records, run_folder, validation
from dqnlab.types import EnvSpec, UserError
from scripts import extras, flags, option_groups


@dataclasses.dataclass(frozen=True)
class Options:
    """One run. All of it, resolved, is written to config.json in the run folder."""

    game: str = "Pong"
    """Atari game in any usual spelling, catch, cue, or a Gymnasium id such as CartPole-v1;
    MODULE:ID imports a module of yours that registers the environment."""
    agent: str = "prioritized"
    """Name of the agent; --list prints all."""
    preset: str = "laptop"
    """Set of hyperparameters: laptop, or one published for the agent (--list). The same for every
    game."""
    frames: int = 6_000_000
    """Emulator frames to train for (4 to an agent step on Atari; others: agent steps)."""
    seed: int = 0
    """Seed of everything: weights, exploration, replay, emulator."""
    num_seeds: int = 1
    """Independent runs in one program, of this seed and the next ones, each with a folder of its
    own. For games written in JAX (catch, cue); others: start several commands."""
    protocol: str | None = None
    """How scores of Atari games are measured: machado2018 (default), nature2015 or atari100k.
    Other games have rules of their own."""
    run_dir: Path | None = None
    """Folder of this run; default runs/<game>-<agent>-s<seed>-<time>."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where the network lives."""
    checkpoint_every: int = 200_000
    """Frames between checkpoints."""
    log_every: int = 10_000
    """Frames between rows of metrics.jsonl."""
    reseed_every: int = 60_000
    """Frames of one game after which it gets a fresh seed when it next ends. A resume plays every
    game again from its last seed: smaller values make that quicker."""
    keep: int = 2
    """Checkpoints kept, beside the best weights."""
    eval_episodes: int = 20
    """Games played at the end; 0 skips the evaluation and the video."""
    resume: Path | None = None
    """Run folder to go on with, exactly as if it had not stopped; only --frames may change."""
    init_torso: str | None = None
    """Run folder of an agent or a supervised net whose trained torso this run starts with."""
    wandb: str | None = None
    """Weights & Biases project that the run's rows and video also go to."""
    quiet: bool = False
    """Print nothing but errors."""
    settings: tyro.conf.OmitArgPrefixes[Settings] = dataclasses.field(default_factory=Settings)


# What may differ between a run and its resumption without changing what is learnt.
_MAY_CHANGE = {
    *("frames", "quiet", "device", "eval_episodes", "keep", "checkpoint_every", "resume", "wandb")
}


def parse(args: list[str], description: str | None) -> Options:
    """The command line. Defaults are the preset's, or on --resume those of the saved run.

    Raises UserError for values out of range, and for settings that a resumed run cannot change.
    """
    resume = flags.value(args, "--resume") or None  # a flag without its value is tyro's to refuse
    if resume is None:
        agent = flags.value(args, "--agent") or Options.agent
        preset = flags.value(args, "--preset") or Options.preset
        default = Options(settings=presets.preset(agent, preset))
    else:
        default = read_options(Path(resume))
    start = option_groups.grouped(default)
    given = flags.cli(type(start), args, default=start, description=description)
    options: Options = option_groups.ungrouped(given, default)
    if resume is not None:
        for name, value in vars(options).items():
            if name not in _MAY_CHANGE and value != getattr(default, name):
                what = _first_difference(value, getattr(default, name), name)
                raise UserError(f"--resume {resume}: a run goes on with its own settings; {what}")
    _check(options)
    return options


def read_options(run_dir: Path) -> Options:
    """The options in a run folder's config.json."""
    config, where = policy.read_config(run_dir), str(run_dir / run_folder.CONFIG)
    spec = records.load(EnvSpec, config["spec"], where)
    # As settings do, an option younger than the run has its default.
    young = {f.name: f.default for f in dataclasses.fields(Options) if f.name != "settings"}
    aside = {"settings": config["settings"], "run_dir": None, "resume": None}
    if "sticky_actions" not in spec.protocol:
        aside["protocol"] = None  # older runs of such games name one, which they never had
    values = {**young, **config["options"], **aside}
    if (frames := values.pop("iteration", None)) is not None:  # of version 0.1: of all its games
        is_number = type(frames) is int and spec.num_envs > 0
        values["reseed_every"] = max(1, frames // spec.num_envs) if is_number else frames
    options = records.load(Options, values, where)
    return dataclasses.replace(options, resume=run_dir)


def _first_difference(given: Any, saved: Any, name: str) -> str:
    if isinstance(given, Settings):
        name = next(k for k, v in vars(given).items() if v != getattr(saved, k))
        given, saved = getattr(given, name), getattr(saved, name)
    return f"{name} was {saved!r} and cannot become {given!r}"


def of_each_seed(options: Options) -> list[Options]:
    """The options of each run by itself; several runs in one folder have folders in it."""
    if options.num_seeds == 1:
        return [options]
    return [
        dataclasses.replace(
            options,
            seed=seed,
            num_seeds=1,
            run_dir=options.run_dir and options.run_dir / f"seed{seed}",
        )
        for seed in range(options.seed, options.seed + options.num_seeds)
    ]


def _check(options: Options) -> None:
    for name in ("frames", "num_seeds", "checkpoint_every", "log_every", "reseed_every", "keep"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(options, name)}; at least 1")
    validation.seed(options.seed, "--seed", options.num_seeds)
    if options.eval_episodes < 0:
        raise UserError(f"--eval-episodes is {options.eval_episodes}; at least 0")
    if options.wandb is not None:
        extras.need("wandb", "wandb")
    registry.check_name(options.agent)
    check_settings(options.settings)
