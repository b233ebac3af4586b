"""Evaluate a saved agent: full games, true scores, one protocol.

python scripts/evaluate.py runs/Pong-prioritized-s0-... --episodes 30 --video pong.mp4
"""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

if __package__ in (None, ""):  # run as a file: make `scripts`, `agents` and `envs` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tyro

import envs
from agents import policy
from agents.evaluation import evaluate, summary
from agents.policy import Policy
from dqnlab.plurals import count
from dqnlab.types import UserError
from envs import protocols, scores
from envs.protocols import Protocol
from scripts import flags, outputs, startup, video
from scripts.console import LiveLine


@dataclasses.dataclass(frozen=True)
class Options:
    """What to evaluate, and how."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Run folder that train_dqn.py wrote."""
    checkpoint: str = "best"
    """best (highest training score at a checkpoint, once 20 games are finished), last, or the agent
    steps of a kept one."""
    episodes: int = 30
    """Full games to play; each that is started counts."""
    epsilon: float | None = None
    """Share of random actions; default: the preset's evaluation_epsilon."""
    protocol: str | None = None
    """Of Atari games: machado2018, nature2015 or atari100k; default: the run's own."""
    seed: int = 0
    """The same seed gives the same games and scores."""
    num_envs: int = 8
    """Games played side by side."""
    device: str = "auto"
    """auto, cpu or gpu."""
    json: Path | None = None
    """Write the result to this file."""
    video: Path | None = None
    """Write one game as MP4 to this file."""
    quiet: bool = False
    """Print nothing but errors; for --json and --video."""


def score(
    trained: Policy,
    *,
    protocol: Protocol | str | None,
    episodes: int,
    epsilon: float,
    seed: int,
    num_envs: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Play and sum up: statistics, every score and length, HNS, and how they were made."""
    game = trained.spec.game
    env = envs.make(game, min(num_envs, max(episodes, 1)), protocol, training=False)
    try:
        played = evaluate(
            trained.agent,
            trained.params,
            trained.net_state,
            env,
            episodes=episodes,
            epsilon=epsilon,
            seed=seed,
            on_progress=on_progress,
        )
    finally:
        env.close()
    result = summary(played)
    return {
        "game": game,
        "agent_steps": trained.agent_steps,
        "frames": trained.agent_steps * trained.spec.frame_skip,
        "protocol": env.spec.protocol,
        "epsilon": epsilon,
        "seed": seed,
        "num_envs": env.spec.num_envs,
        "human_normalized": scores.human_normalized(game, result["mean"]),
        **result,
    }


def describe(result: dict[str, Any]) -> str:
    """The result as lines for a person."""
    hns = result["human_normalized"]
    protocol = protocols.of_run(result["protocol"])
    rules = "" if protocol is None else f"{protocol.name}, "
    lines = [
        f"{result['game']}, {rules}epsilon {result['epsilon']}, "
        f"{count(result['episodes'], 'game')}, after {result['frames']:,} frames of training",
    ]
    if result["mean_ci95"] is None:  # of one game
        lines.append(f"score   {result['mean']:.2f}")
    else:
        low, high = result["mean_ci95"]
        lines += [
            f"mean    {result['mean']:.2f}   (95 % bootstrap interval {low:.2f} .. {high:.2f})",
            f"median  {result['median']:.2f}   std {result['std']:.2f}   "
            f"min {result['min']:.2f}   max {result['max']:.2f}",
        ]
    if hns is not None:
        lines.append(f"HNS     {hns:.1%}   (0 % random, 100 % human)")
    return "\n".join(lines)


def check(options: Options) -> None:
    """Raise UserError for options out of range and for files that cannot be written."""
    for name, least in (("episodes", 1), ("num_envs", 1), ("seed", 0)):
        if (value := getattr(options, name)) < least:
            raise UserError(f"--{name.replace('_', '-')} is {value}; at least {least}")
    if options.epsilon is not None and not 0 <= options.epsilon <= 1:
        raise UserError(f"--epsilon is {options.epsilon}; it must be between 0 and 1")
    if options.protocol is not None:
        protocols.find(options.protocol)
    outputs.check({"--json": options.json, "--video": options.video}, {"--video": (".mp4",)})


def show_progress(line: LiveLine, episodes: int) -> Callable[[int, int], None]:
    """Return what shows the finished games and the frames played, when it is called with them."""

    def show(finished: int, frames: int) -> None:
        line.show(
            f"{finished} of {count(episodes, 'game')} played, {frames:,} frames", is_row=False
        )

    return show


def main(args: list[str] | None = None) -> int:
    """Parse, evaluate, print. Returns the exit code."""
    options = flags.cli(Options, args=args, description=__doc__)
    check(options)
    startup.select_device(options.device)
    trained = policy.load(options.run_dir, options.checkpoint)
    line = LiveLine(options.quiet)
    try:
        play(options, trained, line)
    finally:
        line.close()
    return 0


def play(options: Options, trained: Policy, line: LiveLine) -> None:
    """Evaluate, print, write the files that were asked for."""
    frames = trained.agent_steps * trained.spec.frame_skip
    line.say(f"{options.run_dir}, checkpoint {options.checkpoint}, after {frames:,} frames")
    epsilon = trained.settings.evaluation_epsilon if options.epsilon is None else options.epsilon
    own = protocols.of_run(trained.spec.protocol)
    protocol = own
    if options.protocol is not None:
        protocol = envs.find_protocol(trained.spec.game, options.protocol)
    if protocol and own and protocol != own and not options.quiet:
        line.say(f"note: trained under {own.name}, evaluated under {protocol.name}", is_error=True)
    if options.video is not None:
        video.check(trained, protocol)
    line.wait("compiling ...")
    result = score(
        trained,
        protocol=protocol,
        episodes=options.episodes,
        epsilon=epsilon,
        seed=options.seed,
        num_envs=options.num_envs,
        on_progress=show_progress(line, options.episodes),
    )
    line.say(describe(result))
    if options.json is not None:
        outputs.write(options.json, json.dumps(result, indent=2).encode() + b"\n")
        line.say(f"result  {options.json}")
    if options.video is not None:
        line.wait("playing one more game for the video ...")
        video.record(trained, protocol, options.video, epsilon=epsilon, seed=options.seed)
        line.say(f"video   {options.video}")


if __name__ == "__main__":
    with startup.user_errors():
        sys.exit(main())
