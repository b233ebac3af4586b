"""Watch a trained agent play in the browser, look into its net, or play yourself.

python scripts/watch.py runs/Breakout-prioritized-s0-... --port 8001
"""

import dataclasses
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

if __package__ in (None, ""):  # run as a file: make `scripts`, `agents` and `envs` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tyro

from agents import policy
from dqnlab import run_folder
from dqnlab.types import UserError
from scripts import extras, flags, looking, startup, watch_game
from scripts.watch_controls import SPEEDS, Controls
from scripts.watch_player import Player

_LOCAL = {"127.0.0.1", "localhost", "::1"}


@dataclasses.dataclass(frozen=True)
class Options:
    """What to watch, and where."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Run folder that train_dqn.py wrote."""
    checkpoint: str = "best"
    """best, last, or the agent steps of a kept one; the page can choose another."""
    epsilon: float | None = None
    """Share of random actions at first; default: the preset's evaluation_epsilon."""
    seed: int = 0
    """Of the first game; each further one has the next."""
    host: str = "127.0.0.1"
    """Address to listen on; the default is reachable from this machine only."""
    port: int = 8001
    """Port to listen on; 0 takes a free one."""
    allow_host: tuple[str, ...] = ()
    """Other names under which browsers may know this server; needed with another --host."""
    device: Literal["auto", "cpu", "gpu"] = "cpu"
    """Where the net computes; one game at a time is fastest on the CPU."""


def main(args: list[str] | None = None) -> int:
    """Parse, load, compile, play until stopped. Returns the exit code."""
    options = flags.cli(Options, args=args, description=__doc__)
    extras.need("web", "starlette", "uvicorn", "websockets")
    from scripts import http_server, watch_app  # only now: they need the extra

    startup.select_device(options.device)
    failures: list[BaseException] = []

    def fail(error: BaseException) -> None:
        failures.append(error)
        server.should_exit = True

    hub = watch_app.Hub()
    player, info = make_player(options, hub.publish, fail)
    with http_server.listen(options.host, options.port) as listening:
        hosts = _LOCAL | {name.lower() for name in (options.host, *options.allow_host)}
        server = http_server.make(watch_app.make(hub, info, player, hosts))
        print("compiling ...", flush=True)
        player.start()
        print(f"{info['game']}: {http_server.url(listening)}  (Ctrl-C ends)", flush=True)
        try:
            http_server.run(server, listening)
        finally:
            player.stop()
    if failures:
        raise failures[0]
    return 0


def make_player(
    options: Options,
    publish: Callable[[bytes], None],
    on_failure: Callable[[BaseException], None],
) -> tuple[Player, dict[str, Any]]:
    """The player of a run folder, and what viewers are told about it.

    Raises UserError for a folder that is no run of an agent, for a game without pictures and for
    options out of range.
    """
    if options.seed < 0:
        raise UserError(f"--seed is {options.seed}; it must be at least 0")
    config = run_folder.read_json(options.run_dir / run_folder.CONFIG)
    if isinstance(config, dict) and config.get("kind") == "supervised":
        raise UserError(f"{options.run_dir} is a supervised run; only agents play games")
    trained = policy.load(options.run_dir, options.checkpoint)
    epsilon = trained.settings.evaluation_epsilon if options.epsilon is None else options.epsilon
    if not 0 <= epsilon <= 1:
        raise UserError(f"--epsilon is {epsilon}; it must be between 0 and 1")
    checkpoints = list(policy.checkpoints(options.run_dir))
    protocol = watch_game.protocol_of(trained)
    controls = Controls(
        paused=False,
        speed=1.0,
        epsilon=epsilon,
        sticky_actions=None if protocol is None else protocol.sticky_actions,
        checkpoint=options.checkpoint,
        heat=True,
        human=False,
        action=0,
    )
    load = functools.partial(policy.load, options.run_dir)
    info = {
        "game": trained.spec.game,
        "agent": config["agent"],
        "actions": list(trained.spec.action_meanings),
        "checkpoints": checkpoints,
        "speeds": list(SPEEDS),
        "has_sticky": protocol is not None,
        "protocol": "" if protocol is None else protocol.name,
        "sees_images": looking.has_images(trained),
        "discount": trained.settings.discount,
    }
    return Player(load, trained, controls, options.seed, publish, on_failure), info


if __name__ == "__main__":
    with startup.user_errors():
        sys.exit(main())
