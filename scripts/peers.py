"""Other DQN implementations, as their users install them, driven in turns with ours.

A peer runs its own training loop, unchanged, in a process of its own (scripts/peer_process.py).
The one thing added is a gate after each step of its games: there the loop waits until a turn of so
many agent steps is asked for.
"""

import contextlib
import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

WARM_UP = 200  # agent steps of the turn that is not counted: compiles, and makes the first updates
_PROGRAM = Path(__file__).resolve().with_name("peer_process.py")


class PeerError(Exception):
    """A peer cannot be run; the message is one line for the user."""


class Turn(NamedTuple):
    """What was done in one go, and what it took."""

    units: float
    seconds: float
    cpu_seconds: float  # of all threads of the process


class Contender(NamedTuple):
    """One implementation in a comparison.

    turn   (agent steps) -> Turn: at least so many
    close  () -> None
    """

    name: str
    turn: Callable[[int], Turn]
    close: Callable[[], None]


class Entry(NamedTuple):
    """What there is to know of a peer before it runs."""

    is_checkout: bool  # run from a checkout, whose path has to be given
    has_num_envs: bool  # can play several games at once
    install: str  # what its user has to do


_GAMES = "'gymnasium==0.29.1' 'ale-py==0.10.2' 'numpy<2' opencv-python-headless"
_JAX = "'jax==0.4.38' 'jaxlib==0.4.38'"
PEERS: dict[str, Entry] = {
    "sb3": Entry(
        is_checkout=False,
        has_num_envs=True,
        install=f"pip install stable-baselines3 {_GAMES}",
    ),
    "cleanrl": Entry(
        is_checkout=True,
        has_num_envs=False,
        install="git clone https://github.com/vwxyzjn/cleanrl; "
        f"pip install torch tensorboard tyro {_GAMES}; for dqn_atari_jax.py also flax optax {_JAX}",
    ),
    "dopamine": Entry(
        is_checkout=False,
        has_num_envs=False,
        install=f"pip install dopamine-rl tensorboard joblib 'flax<0.11' {_JAX}; "
        "pip install --no-deps baselines",
    ),
    "dqn_zoo": Entry(
        is_checkout=True,
        has_num_envs=False,
        install="git clone https://github.com/google-deepmind/dqn_zoo; pip install "
        f"dm-haiku rlax distrax chex optax dm-env python-snappy pillow {_JAX} {_GAMES}",
    ),
}


def take_turns(contenders: Sequence[Contender], steps: int, rounds: int) -> dict[str, list[Turn]]:
    """A B C, A B C, ...: a machine that others use too slows all of them alike."""
    turns: dict[str, list[Turn]] = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            turns[contender.name].append(contender.turn(steps))
    return turns


def ratio(ours: Sequence[Turn], theirs: Sequence[Turn]) -> float:
    """How many times as fast ours is: the median over the rounds."""
    pairs = zip(ours, theirs, strict=True)
    return statistics.median((a.units / a.seconds) / (b.units / b.seconds) for a, b in pairs)


def start(
    name: str,
    path: str | None,
    *,
    python: str,
    num_envs: int,
    num_threads: int | None,
    request: dict[str, Any],
) -> Contender:
    """Start a peer.

    Args:
      name: a key of PEERS.
      path: its checkout or script; None if it is installed in `python`.
      python: the interpreter that has it.
      num_envs: games at once, where the peer can.
      num_threads: OMP_NUM_THREADS of its process; None leaves it as it is.
      request: game, replay_capacity, batch_size, update_period, epsilon.

    Raises PeerError where it cannot run.
    """
    entry = PEERS[name]
    if entry.is_checkout and (path is None or not Path(path).exists()):
        where = "needs the path of its checkout" if path is None else f"{path} does not exist"
        raise PeerError(f"{name}: {where} ({entry.install})")
    num_envs = num_envs if entry.has_num_envs else 1
    request = {**request, "num_envs": num_envs, "path": path and str(Path(path).resolve())}
    environment = dict(os.environ)
    if num_threads is not None:
        environment["OMP_NUM_THREADS"] = str(num_threads)
    log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
    folder = tempfile.TemporaryDirectory(prefix="dqnlab-peer-")  # peers write logs where they are
    try:
        process = subprocess.Popen(
            [python, str(_PROGRAM), name, json.dumps(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=folder.name,
            env=environment,
            text=True,
            encoding="utf-8",
        )
    except OSError as error:
        log.close()
        folder.cleanup()
        raise PeerError(f"--peer-python {python} cannot be run: {error.strerror}") from error
    assert process.stdin is not None
    assert process.stdout is not None
    requests, answers = process.stdin, process.stdout

    def turn(steps: int) -> Turn:
        with contextlib.suppress(BrokenPipeError):  # it has ended, and said why
            print(steps, file=requests, flush=True)
        line = answers.readline()
        answer = json.loads(line) if line else {"error": _last_line(log)}
        if "error" in answer:
            raise PeerError(f"{label}: {answer['error']} (it needs: {entry.install})")
        return Turn(**answer)

    def close() -> None:
        requests.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        answers.close()
        log.close()
        folder.cleanup()

    script = Path(path).stem if path and path.endswith(".py") else name
    label = f"{script}, {num_envs} game{'s' if num_envs > 1 else ''}"
    return Contender(label, turn, close)


def _last_line(log: Any) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it ended without a word"
