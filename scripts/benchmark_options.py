"""The options of benchmark.py, and the cases that they stand for."""

import argparse
import dataclasses
import math
import sys
from pathlib import Path
from typing import Any, Literal

import tyro

from agents import networks, presets, schedules
from agents.limits import check as check_settings
from agents.settings import Settings
from dqnlab import machine
from dqnlab.types import UserError
from envs import names
from scripts import flags, outputs, peers
from scripts.benchmark_parts import Case

SWEEPS: dict[str, tuple[str, ...]] = {
    "games": ("1", "2", "4", "8", "16", "32", "64", "128", "256"),
    "batch": ("32", "64", "128", "256", "512", "1024"),
    "precision": ("float32", "bfloat16"),
    "threads": ("1", "2", "4", "8", "16", "32"),
    "groups": ("1", "2"),
    "replay": ("10000", "30000", "100000", "300000", "1000000", "4000000"),
}
AXES = {
    "games": "games side by side",
    "batch": "transitions per update",
    "precision": "compute type of the network",
    "threads": "threads of the emulator",
    "groups": "groups of games that step apart",
    "replay": "frames in the replay",
}


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure, and with which settings of train_dqn.py."""

    game: str = "Pong"
    """Atari game in any usual spelling, catch, cue, or a Gymnasium id such as CartPole-v1."""
    agent: str = "dqn"
    """Name of the agent."""
    preset: str = "laptop"
    """Set of hyperparameters: laptop, or one published for the agent."""
    protocol: str | None = None
    """Rules of the game: machado2018, nature2015 or atari100k."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where the network lives."""
    rounds: int = 5
    """Turns of each part; they take turns because other users of a machine come and go."""
    seconds: float = 1.0
    """Seconds of one turn, about."""
    sweep: Literal["games", "batch", "precision", "threads", "groups", "replay"] | None = None
    """Measure at several values of one setting; threads and groups are the emulator's."""
    values: tuple[str, ...] = ()
    """Values of the sweep, instead of its own."""
    suite: Literal["gpu", "cpu", "agents"] | None = None
    """Measure what the project has goals for on such a machine, or every agent beside dqn."""
    small: bool = False
    """The suite with few games and a small replay, to try it where no such machine is at hand."""
    against: tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]] = ()
    """Peer to compare with, and where it is: sb3 or dopamine (installed in --peer-python), cleanrl
    PATH (checkout, or its dqn_atari.py or dqn_atari_jax.py), dqn_zoo PATH. May be repeated."""
    peer_python: str = sys.executable
    """Interpreter that has the peers installed."""
    peer_envs: tuple[int, ...] = (1, 8)
    """Games at once in peers that can play several (sb3); each number is a contender."""
    peer_threads: int | None = None
    """OMP_NUM_THREADS of the peers; 1 on a busy machine. Default: as the environment has it."""
    steps: int = 1_000
    """Agent steps in one turn of a comparison with peers."""
    profile: Path | None = None
    """Folder for a trace of some updates and steps, for TensorBoard or Perfetto."""
    plot: Path | None = None
    """Draw the sweep to this .png or .svg file."""
    json: Path | None = None
    """Write everything measured to this file."""
    settings: tyro.conf.OmitArgPrefixes[Settings] = dataclasses.field(default_factory=Settings)


def parse(args: list[str], description: str | None = None) -> Options:
    """The command line; defaults are the preset's. UserError for what is out of range."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--agent", default="dqn")
    first.add_argument("--preset", default="laptop")
    chosen, _ = first.parse_known_args(args)
    default = Options(settings=presets.preset(chosen.agent, chosen.preset))
    options: Options = flags.cli(Options, args=args, default=default, description=description)
    for name in ("rounds", "seconds", "steps"):
        if not 0 < getattr(options, name) < math.inf:
            raise UserError(f"--{name} is {getattr(options, name)}; it must be above 0")
    if min((*options.peer_envs, options.peer_threads or 1)) < 1:
        raise UserError("--peer-envs and --peer-threads take integers of at least 1")
    modes = ("sweep", "suite", "against", "profile")
    given = [f"--{name}" for name in modes if getattr(options, name)]
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} are different measurements: choose one")
    for name in ("plot", "values"):
        if getattr(options, name) and options.sweep is None:
            raise UserError(f"--{name} belongs to a sweep: add --sweep {'|'.join(SWEEPS)}")
    for words in options.against:
        if not 1 <= len(words) <= 2 or words[0] not in peers.PEERS:
            allowed = "|".join(peers.PEERS)
            raise UserError(f"--against {' '.join(words)}: it takes {allowed}, then a path or none")
    is_plain = options.agent == "dqn" and names.find_atari(options.game) is not None
    if options.against and not is_plain:
        raise UserError("--against compares --agent dqn on an Atari game, which all peers have")
    check_settings(options.settings)
    outputs.check({"--plot": options.plot, "--json": options.json}, {"--plot": (".png", ".svg")})
    if options.profile is not None:
        outputs.check_folder("--profile", options.profile)
    return options


def plain_case(options: Options) -> Case:
    """What the options say, past all ramp-ups: updates from the start, the final epsilon."""
    precision = networks.compute_type(options.settings.precision).name
    settings = dataclasses.replace(
        options.settings, learning_starts=0, epsilon_decay_steps=0, precision=precision
    )
    settings = schedules.in_steps(settings, 1_500_000)  # as in a run of 6 M frames
    return Case(options.preset, options.game, options.agent, options.protocol, settings)


def sweep_cases(options: Options) -> list[Case]:
    """One case for each value of the sweep."""
    sweep, plain = str(options.sweep), plain_case(options)
    plain = plain._replace(parts=("emulator", "act", "learn", "loop"))
    settings = plain.settings
    of_emulator = {"threads": "num_threads", "groups": "groups"}.get(sweep)
    if of_emulator and names.find_atari(options.game) is None:
        raise UserError(f"--sweep {sweep} is about the Atari emulator, not {options.game}")
    field = {"games": "num_envs", "batch": "batch_size", "replay": "replay_capacity"}.get(sweep)
    values = SWEEPS[sweep]
    if sweep == "threads":
        values = tuple(v for v in values if int(v) <= 2 * machine.num_cores())
    cases = []
    for value in options.values or values:
        case = plain._replace(label=f"{sweep} {value}")
        if sweep == "precision":
            case = case._replace(settings=dataclasses.replace(settings, precision=value))
        elif not value.isdecimal():
            raise UserError(f"--values {value}: --sweep {sweep} takes integers of at least 1")
        elif field is None:
            case = case._replace(**{str(of_emulator): int(value)})
        else:
            number: dict[str, Any] = {field: int(value)}
            case = case._replace(settings=dataclasses.replace(settings, **number))
        check_settings(case.settings)
        cases.append(case)
    return cases
