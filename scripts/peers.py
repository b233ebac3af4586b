"""Other DQN implementations, as their users install them, driven in turns with ours.

scripts/benchmark.py imports this file; the interpreter that has the peer runs it as a program. So
it needs the standard library only, and the syntax of older Pythons, which some peers want.

A peer runs its own training loop, unchanged, in a process of its own. The one thing added is a gate
after each step of its games: there the loop waits until a turn of so many agent steps is asked for.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
import types
from pathlib import Path
from typing import Any, Callable, NamedTuple, Sequence  # noqa: UP035 (older Pythons)

# Steps before the first update of a peer, and of the turn that is not counted: it compiles.
LEARNING_STARTS, WARM_UP = 100, 200


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
    """A peer: how to run it, and what its user has to install."""

    run: Callable[[dict[str, Any], Gate], None]
    is_checkout: bool  # run from a checkout, whose path has to be given
    has_num_envs: bool  # can play several games at once
    install: str


def take_turns(contenders: Sequence[Contender], steps: int, rounds: int) -> dict[str, list[Turn]]:
    """A B C, A B C, ...: a machine that others use too slows all of them alike."""
    turns: dict[str, list[Turn]] = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            turns[contender.name].append(contender.turn(steps))
    return turns


def ratio(ours: Sequence[Turn], theirs: Sequence[Turn]) -> float:
    """How many times as fast ours is: the median over the rounds."""
    pairs = zip(ours, theirs)  # noqa: B905 (`strict` is new in Python 3.10)
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
            [python, str(Path(__file__).resolve()), name, json.dumps(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=folder.name,
            env=environment,
            text=True,
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


class Gate:
    """The other end of `start`, in the peer's process."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # what the peer prints must not get between the answers
        self._begin: tuple[float, float] | None = None
        self._asked = self._done = 0.0

    def step(self, agent_steps: float) -> None:
        """Count steps; where the turn is over, report it and wait for the next one."""
        self._done += agent_steps
        if self._begin is not None and self._done < self._asked:
            return
        if self._begin is not None:
            wall, cpu = self._begin
            seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
            self._say(Turn(self._done, seconds, cpu_seconds)._asdict())
        line = sys.stdin.readline()
        if not line:
            os._exit(0)  # from within the peer's loop, which would go on for days
        self._asked, self._done = float(line), 0.0
        self._begin = time.perf_counter(), time.process_time()

    def fail(self, error: BaseException) -> None:
        """Report why the peer does not run."""
        self._say({"error": " ".join(f"{type(error).__name__}: {error}".split())})

    def _say(self, answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=self._answers, flush=True)


def _run_sb3(request: dict[str, Any], gate: Gate) -> None:
    import ale_py  # noqa: F401 (registers the games)
    from stable_baselines3 import DQN
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_atari_env

    num_envs, period = request["num_envs"], request["update_period"]
    shared = math.gcd(num_envs, period)

    class Steps(BaseCallback):
        def _on_step(self) -> bool:
            gate.step(num_envs)
            return True

    model = DQN(
        "CnnPolicy",
        make_atari_env(f"{request['game']}NoFrameskip-v4", n_envs=num_envs),
        buffer_size=request["replay_capacity"],
        learning_starts=LEARNING_STARTS,
        batch_size=request["batch_size"],
        # Counted in steps of all games together; `shared` makes the ratio exact for any number.
        train_freq=period // shared,
        gradient_steps=num_envs // shared,
        exploration_initial_eps=request["epsilon"],
        exploration_final_eps=request["epsilon"],
    )
    model.learn(10**9, callback=Steps())


def _run_cleanrl(request: dict[str, Any], gate: Gate) -> None:
    import ale_py  # noqa: F401 (registers the games)
    from gymnasium.vector import SyncVectorEnv

    script = Path(request["path"])
    if script.is_dir():
        script = script / "cleanrl" / "dqn_atari.py"
    step_games = SyncVectorEnv.step

    def step(games: Any, actions: Any) -> Any:
        result = step_games(games, actions)
        gate.step(games.num_envs)
        return result

    SyncVectorEnv.step = step
    epsilon = str(request["epsilon"])
    arguments = {
        "--env-id": f"{request['game']}NoFrameskip-v4",
        "--total-timesteps": str(10**9),
        "--buffer-size": str(request["replay_capacity"]),
        "--learning-starts": str(LEARNING_STARTS),
        "--batch-size": str(request["batch_size"]),
        "--train-frequency": str(request["update_period"]),
        "--start-e": epsilon,
        "--end-e": epsilon,
    }
    sys.path.insert(0, str(script.parent.parent))  # for its cleanrl_utils
    sys.argv = [str(script), *(word for pair in arguments.items() for word in pair)]
    runpy.run_path(str(script), run_name="__main__")


def _run_dopamine(request: dict[str, Any], gate: Gate) -> None:
    from dopamine.discrete_domains import run_experiment

    step_game = run_experiment.Runner._run_one_step

    def step(runner: Any, action: Any) -> Any:
        result = step_game(runner, action)
        gate.step(1)
        return result

    run_experiment.Runner._run_one_step = step
    bindings = [  # of its dqn.gin, which the package does not bring along; the rest are defaults
        "create_agent.agent_name = 'jax_dqn'",
        "create_runner.schedule = 'continuous_train'",
        f"atari_lib.create_atari_environment.game_name = '{request['game']}'",
        f"JaxDQNAgent.min_replay_history = {LEARNING_STARTS}",
        f"JaxDQNAgent.update_period = {request['update_period']}",
        "JaxDQNAgent.epsilon_fn = @jax.agents.dqn.dqn_agent.identity_epsilon",
        f"JaxDQNAgent.epsilon_train = {request['epsilon']}",
        f"ReplayBuffer.max_capacity = {request['replay_capacity']}",
        f"ReplayBuffer.batch_size = {request['batch_size']}",
    ]
    run_experiment.load_gin_configs([], bindings)
    run_experiment.create_runner(os.getcwd()).run_experiment()


def _run_dqn_zoo(request: dict[str, Any], gate: Gate) -> None:
    sys.path.insert(0, request["path"])
    _stand_in_for_what_dqn_zoo_pins()
    import jax
    from dqn_zoo import parts

    run_loop = parts.run_loop

    def counted(*arguments: Any, **named: Any) -> Any:
        for frame in run_loop(*arguments, **named):  # its loop repeats the actions itself
            yield frame
            gate.step(0.25)

    parts.run_loop = counted
    flags = {
        "environment_name": re.sub(r"(?<=[a-z])(?=[A-Z])", "_", request["game"]).lower(),
        "replay_capacity": request["replay_capacity"],
        "min_replay_capacity_fraction": LEARNING_STARTS / request["replay_capacity"],
        "batch_size": request["batch_size"],
        "learn_period": 4 * request["update_period"],  # frames
        "exploration_epsilon_begin_value": request["epsilon"],
        "exploration_epsilon_end_value": request["epsilon"],
        "num_train_frames": 10**9,
        "num_eval_frames": 0,
        "results_csv_path": "",
        "jax_platform_name": jax.default_backend(),
    }
    sys.argv = ["run_atari", *(f"--{flag}={value}" for flag, value in flags.items())]
    runpy.run_module("dqn_zoo.dqn.run_atari", run_name="__main__")


def _stand_in_for_what_dqn_zoo_pins() -> None:
    """DQN Zoo's versions of gym, atari-py (2021) and jax (2022) do not install any more.

    Its own code stays as it is: what it calls by old names is given to it under those names.
    """
    import jax
    import jax.lib
    import jax.numpy

    for module, name, value in (
        (jax, "tree_map", jax.tree_util.tree_map),
        (jax.numpy, "DeviceArray", jax.Array),
        (jax.lib, "xla_bridge", types.SimpleNamespace(get_backend=lambda: jax.devices()[0])),
    ):
        try:
            getattr(module, name)
        except AttributeError:
            setattr(module, name, value)
    try:
        import atari_py  # noqa: F401
    except ImportError:
        registration = types.SimpleNamespace(register=lambda **arguments: None)
        gym: Any = types.ModuleType("gym")
        gym.envs = types.SimpleNamespace(registration=registration)
        gym.make = lambda name: _OldGym(name.split("-")[0])  # "pong-xitari-v1"
        sys.modules.update({"gym": gym, "atari_py": types.ModuleType("atari_py")})


class _OldGym:
    """A game on gymnasium with the methods of gym 0.19."""

    def __init__(self, game: str):
        import ale_py  # noqa: F401 (registers the games)
        import gymnasium

        name = "".join(word.capitalize() for word in game.split("_"))
        self._game = gymnasium.make(f"{name}NoFrameskip-v4").unwrapped
        self.ale, self.action_space = self._game.ale, self._game.action_space
        self.observation_space = self._game.observation_space
        self._seed: int | None = None

    def seed(self, seed: int) -> None:
        self._seed = int(seed)

    def reset(self) -> Any:
        seed, self._seed = self._seed, None
        return self._game.reset(seed=seed)[0]

    def step(self, action: Any) -> tuple[Any, float, bool, dict[str, Any]]:
        frame, reward, terminated, truncated, _ = self._game.step(int(action))
        return frame, reward, terminated or truncated, {}


_GAMES = "'gymnasium==0.29.1' 'ale-py==0.10.2' 'numpy<2' opencv-python-headless"
_JAX = "'jax==0.4.38' 'jaxlib==0.4.38'"
PEERS: dict[str, Entry] = {
    "sb3": Entry(
        _run_sb3,
        is_checkout=False,
        has_num_envs=True,
        install=f"pip install stable-baselines3 {_GAMES}",
    ),
    "cleanrl": Entry(
        _run_cleanrl,
        is_checkout=True,
        has_num_envs=False,
        install="git clone https://github.com/vwxyzjn/cleanrl; "
        f"pip install torch tensorboard tyro {_GAMES}; for dqn_atari_jax.py also flax optax {_JAX}",
    ),
    "dopamine": Entry(
        _run_dopamine,
        is_checkout=False,
        has_num_envs=False,
        install=f"pip install dopamine-rl tensorboard joblib 'flax<0.11' {_JAX}; "
        "pip install --no-deps baselines",
    ),
    "dqn_zoo": Entry(
        _run_dqn_zoo,
        is_checkout=True,
        has_num_envs=False,
        install="git clone https://github.com/google-deepmind/dqn_zoo; pip install "
        f"dm-haiku rlax distrax chex optax dm-env python-snappy pillow {_JAX} {_GAMES}",
    ),
}


def main() -> None:
    """Run the peer that the command line names, in the interpreter that has it."""
    del sys.path[0]  # this folder, whose modules a peer might import by mistake
    gate = Gate()
    try:
        PEERS[sys.argv[1]].run(json.loads(sys.argv[2]), gate)
    except BaseException as error:
        traceback.print_exc()
        gate.fail(error)


if __name__ == "__main__":
    main()
