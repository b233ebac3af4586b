"""Training in turns with other implementations."""

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

from dqnlab.plurals import count
from envs import names
from scripts import peers
from scripts.benchmark_options import Options, plain_case
from scripts.benchmark_parts import Part, prepared
from scripts.benchmark_timing import rates, timed
from scripts.peers import Contender, Turn


def compare(options: Options) -> dict[str, Any]:
    """Train in turns with other implementations.

    All play one game and learn from batches of 32, one update per 4 agent steps, with the Nature
    network, epsilon 0.01 and one step of reward. Each keeps its own rules of the game (starts,
    sticky actions, life loss), which cost nothing.
    """
    shared: dict[str, Any] = {"batch_size": 32, "update_period": 4, "replay_capacity": 50_000}
    plain: dict[str, Any] = {"double": False, "dueling": False, "n_step": 1, "epsilon_final": 0.01}
    nature: dict[str, Any] = {"torso": "nature", "centre_frames": False, "hidden": 512}
    settings = dataclasses.replace(options.settings, **shared, **plain, **nature)
    request = {"game": names.find_atari(options.game), "epsilon": 0.01, **shared}
    is_open = settings.precision == "auto"
    with contextlib.ExitStack() as stack:
        theirs, ours = [], []
        for peer in start_peers(options, request):
            stack.callback(peer.close)
            peer.turn(peers.WARM_UP)  # a peer that does not run says so now
            theirs.append(peer)
        for precision in ("float32", "bfloat16") if is_open else (settings.precision,):
            changed = dataclasses.replace(settings, precision=precision)
            case = plain_case(dataclasses.replace(options, settings=changed))
            _, parts = stack.enter_context(prepared(case))
            ours.append(
                as_contender(f"dqnlab {precision}, {count(changed.num_envs, 'game')}", parts)
            )
        turns = peers.take_turns([*ours, *theirs], options.steps, options.rounds)
    threads = options.peer_threads or os.environ.get("OMP_NUM_THREADS")
    return {
        "request": request,
        "peer_omp_num_threads": threads and str(threads),
        "contenders": {name: rates(of) for name, of in turns.items()},
        "times_as_fast": {
            us.name: {it.name: peers.ratio(turns[us.name], turns[it.name]) for it in theirs}
            for us in ours
        },
    }


def start_peers(options: Options, request: dict[str, Any]) -> Iterator[Contender]:
    """The peers that were asked for, one after the other; each number of games is one."""
    for name, *path in options.against:
        for num_envs in options.peer_envs if peers.PEERS[name].has_num_envs else (1,):
            yield peers.start(
                name,
                path[0] if path else None,
                python=options.peer_python,
                num_envs=num_envs,
                num_threads=options.peer_threads,
                request=request,
            )


def as_contender(name: str, parts: Mapping[str, Part]) -> Contender:
    """Our own loop, warmed up."""
    loop = parts["loop"]

    def turn(steps: int) -> Turn:
        return timed(loop, math.ceil(steps / loop.per_call))

    turn(peers.WARM_UP)
    return Contender(name, turn, lambda: None)
