"""Queue runs on this machine: games x agents x seeds; start again at any time to go on.

python scripts/run_suite.py --games atari5 --agents dqn rainbow --seeds 3 --frames 10_000_000
python scripts/run_suite.py --games Pong Breakout -- --num-envs 4 --eval-episodes 10

What comes after `--` goes to train_dqn.py. Each run is a process of its own with its folder and
log under --out. Ctrl-C lets them save. Started again, also after kill -9, it skips what is done
and resumes what was begun; a run that failed is tried again --attempts times in all.
"""

import dataclasses
import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a file: make `scripts`, `agents` and `envs` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import envs
from agents import presets, registry
from dqnlab import run_folder
from dqnlab.types import UserError
from envs import published
from scripts import flags, outputs, runs, startup, tables
from scripts import run_queue as queue
from scripts.interrupts import Interrupts
from scripts.run_queue import Job

_METRIC = "episode_return_mean"


@dataclasses.dataclass(frozen=True)
class Options:
    """What to run, how often, and where."""

    games: tuple[str, ...] = ("atari5",)
    """Games, or sets of them: atari5, atari26, atari57."""
    agents: tuple[str, ...] = ("prioritized",)
    """Agents; train_dqn.py --list prints all."""
    seeds: int = 1
    """Seeds 0 .. N-1 of each."""
    jobs: int = 1
    """Runs at a time; one uses all cores, so several mostly pay off on large machines."""
    frames: int = 6_000_000
    """Of each run; a larger number lets finished runs go on."""
    preset: str = "laptop"
    """Set of hyperparameters, of every agent."""
    protocol: str | None = None
    """How scores of Atari games are measured; machado2018 by default."""
    out: Path = Path("runs/suite")
    """Folder of the runs, their logs, suite.json and the summary."""
    attempts: int = 2
    """How often a run may fail before it is left alone; delete suite.json to try again."""


def check(options: Options) -> list[Job]:
    """All runs in order: seeds last, so that a first result of each comes early."""
    for name in ("seeds", "jobs", "frames", "attempts"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name} is {getattr(options, name)}; at least 1")
    games = []
    for name in options.games:
        games += published.members(name) if name in published.SUBSETS else [_game(name)]
    for game in games:
        envs.find_protocol(game, options.protocol)
    for agent in options.agents:
        registry.check_name(agent)
        presets.preset(agent, options.preset)
    return [
        Job(game, agent, seed, options.out / f"{game}-{agent}-s{seed}")
        for seed in range(options.seeds)
        for agent in dict.fromkeys(options.agents)
        for game in dict.fromkeys(games)
    ]


def _game(name: str) -> str:
    env = envs.make(name, 1)
    try:
        return env.spec.game
    finally:
        env.close()


def _protocol(options: Options, jobs: list[Job]) -> list[str]:
    """The flag of all runs; none where one of the games has no protocol."""
    protocols = [envs.find_protocol(job.game, options.protocol) for job in jobs]
    return ["--protocol", protocols[0].name] if protocols[0] and all(protocols) else []


def summary(jobs: list[Job], states: dict[str, queue.State]) -> str:
    """What became of each run, and the scores of those that have any."""
    rows = []
    for job in jobs:
        state = states.get(job.name, queue.State())
        rows.append({"run": str(job.folder), **queue.describe(job, state)})
    text = tables.markdown_rows(rows)
    loaded = []
    for job in jobs:
        if not job.folder.exists():
            continue  # not begun: the table above says so
        try:
            loaded.append(runs.load(job.folder, _METRIC))
        except UserError as error:
            text += f"\nnot in the tables below: {error}\n"
    if loaded:
        groups = runs.group(loaded)
        text += "\n" + tables.report(
            tables.score_rows(groups, (), _METRIC),
            tables.aggregate_rows(groups, (), _METRIC),
            tables.improvement_rows(groups, (), _METRIC),
            (),
            _METRIC,
        )
    return text


def main(args: list[str] | None = None) -> int:
    """Parse, run what is not done, sum up. Returns the exit code."""
    args = sys.argv[1:] if args is None else args
    cut = args.index("--") if "--" in args else len(args)
    options = flags.cli(Options, args=args[:cut], description=__doc__)
    jobs = check(options)
    outputs.check_folder("--out", options.out)
    with run_folder.lock(options.out):
        settings = ["--preset", options.preset, *_protocol(options, jobs), *args[cut + 1 :]]
        suite = queue.open_suite(options.out, settings, options.frames, options.attempts)
        with Interrupts() as interrupts:
            queue.work(suite, jobs, options.jobs, interrupts)
        text = summary(jobs, suite.states)
        outputs.write(options.out / "summary.md", text.encode())
        print(f"\n{text}\nsummary {options.out / 'summary.md'}")
    if interrupts.is_set():
        return interrupts.exit_code
    return 0 if all(queue.is_done(suite, job) for job in jobs) else 1


if __name__ == "__main__":
    with startup.user_errors():
        sys.exit(main())
