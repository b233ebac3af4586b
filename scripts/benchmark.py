"""Measure how fast each part of training is on this machine, and what limits it.

python scripts/benchmark.py

python scripts/benchmark.py --sweep games --plot games.png

python scripts/benchmark.py --against sb3 --peer-python /path/to/its/python
"""

import argparse
import contextlib
import dataclasses
import gc
import math
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

if __package__ in (None, ""):  # run as a file: make `scripts`, `agents` and `envs` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp
import numpy as np
import psutil
import tyro
from jax import lax
from matplotlib.figure import Figure

import envs
from agents import networks, presets, registry
from agents.replay import Replay
from agents.settings import Settings
from agents.settings import check as check_settings
from dqnlab import run_folder
from dqnlab.types import Env, PyTree, TimeStep, UserError
from envs import names
from scripts import options as training_options
from scripts import peers, startup
from scripts.peers import Contender, Turn
from scripts.training import Run

PARTS = ("emulator", "act", "insert", "sample", "learn", "products", "loop")
SWEEPS: dict[str, tuple[str, ...]] = {
    "games": ("1", "2", "4", "8", "16", "32", "64", "128", "256"),
    "batch": ("32", "64", "128", "256", "512", "1024"),
    "precision": ("float32", "bfloat16"),
    "threads": ("1", "2", "4", "8", "16", "32"),
    "replay": ("10000", "30000", "100000", "300000", "1000000", "4000000"),
}
AXES = {
    "games": "games side by side",
    "batch": "transitions per update",
    "precision": "compute type of the network",
    "threads": "threads of the emulator",
    "replay": "frames in the replay",
}
_JAX_GAME_ROWS = 100  # vector steps to a launch of games that live on the device
_NEVER = 10**9  # agent steps


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure, and with which settings of train_dqn.py."""

    game: str = "Pong"
    """Atari game in any usual spelling, catch, cue, or a Gymnasium id such as CartPole-v1."""
    agent: str = "dqn"
    """Name of the agent."""
    preset: str = "laptop"
    """Set of hyperparameters: laptop, or one published for the agent."""
    protocol: str = "machado2018"
    """Rules of the game: machado2018, nature2015 or atari100k."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where the network lives."""
    rounds: int = 5
    """Turns of each part; they take turns because other users of a machine come and go."""
    seconds: float = 1.0
    """Seconds of one turn, about."""
    sweep: Literal["games", "batch", "precision", "threads", "replay"] | None = None
    """Measure at several values of one setting; threads are the emulator's."""
    values: tuple[str, ...] = ()
    """Values of the sweep, instead of its own."""
    suite: Literal["gpu", "cpu"] | None = None
    """Measure what the project has goals for on such a machine."""
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


class Part(NamedTuple):
    """One thing to time."""

    unit: str  # what is counted
    per_call: float  # units to a call
    run: Callable[[int], None]  # makes so many calls, and waits for the last to be done


class Case(NamedTuple):
    """One set of settings to measure."""

    label: str
    game: str
    agent: str
    protocol: str
    settings: Settings
    parts: tuple[str, ...] = PARTS
    num_threads: int | None = None  # of the emulator
    goals: Mapping[str, float] = {}  # entries of the summary and what they should reach


class DoesNotFitError(UserError):
    """The replay is larger than the free memory."""


def parse(args: list[str]) -> Options:
    """The command line; defaults are the preset's. UserError for what is out of range."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--agent", default="dqn")
    first.add_argument("--preset", default="laptop")
    chosen, _ = first.parse_known_args(args)
    default = Options(settings=presets.preset(chosen.agent, chosen.preset))
    options: Options = tyro.cli(Options, args=args, default=default, description=__doc__)
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
    for path in (options.plot, options.json):
        if path is not None and not path.absolute().parent.is_dir():
            raise UserError(f"{path}: there is no folder {path.absolute().parent}")
    if options.plot is not None and options.plot.suffix not in (".png", ".svg"):
        raise UserError(f"--plot {options.plot}: .png or .svg")
    for words in options.against:
        if not 1 <= len(words) <= 2 or words[0] not in peers.PEERS:
            allowed = "|".join(peers.PEERS)
            raise UserError(f"--against {' '.join(words)}: it takes {allowed}, then a path or none")
    is_plain = options.agent == "dqn" and names.find_atari(options.game) is not None
    if options.against and not is_plain:
        raise UserError("--against compares --agent dqn on an Atari game, which all peers have")
    check_settings(options.settings)
    return options


@contextlib.contextmanager
def prepared(case: Case) -> Iterator[tuple[Run, dict[str, Part]]]:
    """The run that train_dqn.py would do, its replay full, and the parts of it to be timed.

    Raises DoesNotFitError before it takes memory that is not there.
    """
    check_settings(case.settings)
    num_envs = case.settings.num_envs
    threads = {} if case.num_threads is None else {"num_threads": case.num_threads}
    with contextlib.ExitStack() as stack:
        # The driver alone knows the state of its games, so there are others for the emulator's
        # own turn.
        env, emulator = (
            envs.make(case.game, num_envs, case.protocol, training=True, **threads)
            for _ in range(2)
        )
        stack.callback(env.close)
        stack.callback(emulator.close)
        replay = registry.make_replay(case.settings, env.spec)
        check_memory(replay, case.settings)
        run = Run(
            training_options.Options(game=case.game, agent=case.agent, settings=case.settings),
            env,
            Path(os.devnull),  # nothing is saved
        )
        run.state = jax.jit(run.runner.init)(np.uint32(0))
        env_state, timestep = emulator.reset(0)
        fill(run, replay, timestep)
        yield (
            run,
            {
                "emulator": emulator_part(emulator, env_state, timestep),
                **runner_parts(run, replay, timestep),
                "products": products_part(case.settings.precision),
                "loop": loop_part(run, replay.min_rows),
            },
        )


def check_memory(replay: Replay, settings: Settings) -> None:
    """Raise DoesNotFitError for a replay larger than the memory that is free."""
    shapes = jax.tree.leaves(jax.eval_shape(replay.init))
    needed = sum(x.size * x.dtype.itemsize for x in shapes)
    memory = jax.devices()[0].memory_stats()
    if memory is None or "bytes_limit" not in memory:
        free = psutil.virtual_memory().available
    else:
        free = memory["bytes_limit"] - memory["bytes_in_use"]
    if needed > 0.9 * free:
        raise DoesNotFitError(
            f"a replay of {settings.replay_capacity:,} frames takes {needed / 1e9:.2f} GB and "
            f"{free / 1e9:.2f} GB are free: use a smaller --replay-capacity"
        )


def fill(run: Run, replay: Replay, timestep: TimeStep) -> None:
    """Fill the replay, so that it is sampled from all of its memory, as after hours of training."""
    timestep = jax.tree.map(jnp.asarray, timestep)
    num_envs = run.spec.num_envs
    action, core = jnp.zeros(num_envs, jnp.int32), run.agent.core(num_envs)
    rows = run.state.replay.ring.first.shape[0]

    def add(row: Any, state: PyTree) -> PyTree:
        first = jnp.broadcast_to(row % 1_000 == 0, (num_envs,))
        return replay.add(state, timestep._replace(first=first), action, core)

    filled = jax.jit(lambda state: lax.fori_loop(0, rows, add, state), donate_argnums=0)
    run.state = run.state._replace(replay=filled(run.state.replay))


def emulator_part(env: Env, env_state: Any, timestep: TimeStep) -> Part:
    """The games alone, played at random."""
    shape = (_JAX_GAME_ROWS, env.spec.num_envs)
    actions = np.random.default_rng(0).integers(env.spec.num_actions, size=shape, dtype=np.int32)
    carry = (env_state, timestep)  # the time step too, or XLA would not draw it

    def on_host(calls: int) -> None:
        nonlocal carry
        for row in range(calls):
            carry = env.step(carry[0], actions[row % len(actions)])

    @jax.jit
    def many_rows(carry: tuple[Any, TimeStep]) -> tuple[Any, TimeStep]:
        return lax.scan(lambda c, a: (env.step(c[0], a), None), carry, jnp.asarray(actions))[0]

    def on_device(calls: int) -> None:
        nonlocal carry
        for _ in range(calls):
            carry = many_rows(carry)
        jax.block_until_ready(carry)

    frames = env.spec.num_envs * env.spec.frame_skip
    if env.spec.traceable:
        return Part("frames", frames * _JAX_GAME_ROWS, on_device)
    return Part("frames", frames, on_host)


def runner_parts(run: Run, replay: Replay, timestep: TimeStep) -> dict[str, Part]:
    """Acting, storing, sampling and learning, each alone, by the functions that training calls."""
    num_envs = run.spec.num_envs
    action, core = jnp.zeros(num_envs, jnp.int32), run.agent.core(num_envs)
    jit_act = jax.jit(run.runner.act, donate_argnums=0)
    jit_add = jax.jit(replay.add, donate_argnums=0)
    jit_sample = jax.jit(lambda state, seed: replay.sample(state, jax.random.PRNGKey(seed)))
    jit_learn = jax.jit(run.runner.learn, donate_argnums=0)

    def act(calls: int) -> None:
        for _ in range(calls):
            run.state, chosen = jit_act(run.state, timestep)
            np.asarray(chosen)  # the emulator would wait for it

    def insert(calls: int) -> None:
        for _ in range(calls):
            added = jit_add(run.state.replay, timestep, action, core)
            run.state = run.state._replace(replay=added)
        jax.block_until_ready(run.state.replay)

    def sample(calls: int) -> None:
        for seed in range(calls):
            drawn = jit_sample(run.state.replay, np.uint32(seed))
        jax.block_until_ready(drawn)

    def learn(calls: int) -> None:
        for _ in range(calls):
            run.state = jit_learn(run.state)
        jax.block_until_ready(run.state)

    updates, _ = run.options.settings.updates_and_steps()
    return {
        "act": Part("agent steps", num_envs, act),
        "insert": Part("agent steps", num_envs, insert),
        "sample": Part("batches", 1, sample),
        "learn": Part("updates", updates, learn),
    }


def products_part(precision: str) -> Part:
    """The machine's own limit: large matrix products, accumulated in float32."""
    size = 1_536 if jax.devices()[0].platform == "cpu" else 8_192
    matrix = jnp.ones((size, size), precision)
    product = jax.jit(lambda a, b: jnp.matmul(a, b, preferred_element_type=jnp.float32))

    def multiply(calls: int) -> None:
        for _ in range(calls):
            result = product(matrix, matrix)
        jax.block_until_ready(result)

    return Part("GFLOP", 2 * size**3 / 1e9, multiply)


def loop_part(run: Run, min_rows: int) -> Part:
    """The driver's own loop in its learning phase: games, acting, storing and learning at once."""
    _, rows = run.options.settings.updates_and_steps()

    def advance(num_rows: int) -> None:
        run.state, _ = run.driver.advance(run.state, num_rows, lambda: False)

    def on_host(calls: int) -> None:
        advance(calls * rows)
        jax.block_until_ready(run.state)

    def on_device(calls: int) -> None:
        for _ in range(calls):
            advance(_JAX_GAME_ROWS)  # one program, compiled for so many
        jax.block_until_ready(run.state)

    if run.spec.traceable:
        return Part("agent steps", _JAX_GAME_ROWS * run.spec.num_envs, on_device)
    advance(min_rows)  # the first update is due here
    return Part("agent steps", rows * run.spec.num_envs, on_host)


def timed(part: Part, calls: int) -> Turn:
    """One turn."""
    wall, cpu = time.perf_counter(), time.process_time()
    part.run(calls)
    return Turn(calls * part.per_call, time.perf_counter() - wall, time.process_time() - cpu)


def calls_within(part: Part, seconds: float) -> int:
    """Compile a part and find out how often it can be called within so many seconds."""
    part.run(2)
    calls = 1
    while (spent := timed(part, calls).seconds) < seconds / 8:
        calls *= 2
    return max(1, round(calls * seconds / spent))


def measure(case: Case, rounds: int, seconds: float) -> dict[str, Any]:
    """Time the parts of a case in turns; everything found out, as it goes into the JSON file."""
    with prepared(case) as (run, every_part):
        parts = {name: every_part[name] for name in case.parts}
        calls = {name: calls_within(part, seconds) for name, part in parts.items()}
        turns: dict[str, list[Turn]] = {name: [] for name in parts}
        for _ in range(rounds):
            for name, part in parts.items():
                turns[name].append(timed(part, calls[name]))
        result = {
            "label": case.label,
            "game": run.spec.game,
            "agent": case.agent,
            "protocol": run.spec.protocol["name"],
            "emulator_threads": case.num_threads,
            "settings": dataclasses.asdict(case.settings),
            "parts": {name: {"unit": parts[name].unit, **rates(turns[name])} for name in parts},
            "summary": {**against_limits(run, turns), **memory(run)},
            "goals": dict(case.goals),
        }
    del run, every_part, parts
    gc.collect()  # the replay, before the next one is made
    return result


def rates(turns: Sequence[Turn]) -> dict[str, Any]:
    """Median and best rate, and the CPU time of all threads, which a busy machine changes least."""
    per_second = [turn.units / turn.seconds for turn in turns]
    return {
        "median_per_second": statistics.median(per_second),
        "best_per_second": max(per_second),
        "cpu_seconds_per_unit": statistics.median(t.cpu_seconds / t.units for t in turns),
        "turns": [turn._asdict() for turn in turns],
    }


def against_limits(run: Run, turns: Mapping[str, Sequence[Turn]]) -> dict[str, float]:
    """The loop and the learner as shares of their limits: medians of the ratios in each round."""
    rate = {name: np.array([t.units / t.seconds for t in of]) for name, of in turns.items()}
    skip = run.spec.frame_skip
    limits = {"emulator": rate["emulator"] / skip}  # all in agent steps/s
    summary = {"frames_per_second": skip * np.median(rate["loop"])}
    if "learn" in rate:
        updates, rows = run.options.settings.updates_and_steps()
        limits["learner"] = rate["learn"] * rows * run.spec.num_envs / updates
        flop = count_flop(jax.make_jaxpr(run.runner.learn)(run.state).jaxpr) / updates
        summary["steps_per_update"] = rows * run.spec.num_envs / updates
        summary["gflop_per_update"] = flop / 1e9
        summary["learn_gflop_per_second"] = flop / 1e9 * np.median(rate["learn"])
        if "products" in rate:
            share = flop / 1e9 * rate["learn"] / rate["products"]
            summary["learn_share_of_products"] = np.median(share)
    steps = {**limits, "act": rate["act"], "loop": rate["loop"]}
    summary |= {f"{name}_steps_per_second": np.median(of) for name, of in steps.items()}
    lowest = np.min(list(limits.values()), axis=0)
    summary["loop_share_of_limit"] = np.median(rate["loop"] / lowest)
    return {name: float(value) for name, value in summary.items()}


def memory(run: Run) -> dict[str, int | None]:
    """Bytes taken on the host and on the device."""
    device = jax.devices()[0].memory_stats() or {}
    return {
        "replay_bytes": sum(x.nbytes for x in jax.tree.leaves(run.state.replay)),
        "host_bytes": psutil.Process().memory_info().rss,
        # Of the whole process: in a sweep, of all values so far. Linux counts in KiB.
        "host_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "device_peak_bytes": device.get("peak_bytes_in_use"),
    }


def count_flop(jaxpr: Any) -> float:
    """Floating-point operations of the matrix products and convolutions in a program.

    Of the branches of a `cond` the cheapest counts: they are ways to compute the same thing on
    different platforms (dqnlab.layers.Conv2D), and the others compute more than has to be.
    """
    total = 0.0
    for equation in jaxpr.eqns:
        kind, params = equation.primitive.name, equation.params
        inside = [count_flop(inner) for inner in _programs(params.values())]
        if kind == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total += 2 * equation.outvars[0].aval.size * math.prod(shape[i] for i in contracted)
        elif kind == "conv_general_dilated":
            total += _convolution_flop(equation)
        elif kind == "cond":
            total += min(inside)
        else:
            total += sum(inside) * (params["length"] if kind == "scan" else 1)
    return total


def _programs(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, tuple | list):
            yield from _programs(value)
        elif hasattr(value, "eqns"):
            yield getattr(value, "jaxpr", value)


def _convolution_flop(equation: Any) -> float:
    params = equation.params
    numbers = params["dimension_numbers"]
    image, kernel, out = (v.aval.shape for v in (*equation.invars, *equation.outvars))
    batch, channels, *sizes = (out[i] for i in numbers.out_spec)
    total: float = 2.0 * batch * channels * kernel[numbers.rhs_spec[1]]
    # A gradient's dilation and padding fill in zeros, which do not count: along each axis, the
    # pairs of an output position and a tap that meet an element of the image.
    for axis, (before, _) in enumerate(params["padding"]):
        spread = params["lhs_dilation"][axis]
        position = np.arange(sizes[axis]) * params["window_strides"][axis]
        tap = np.arange(kernel[numbers.rhs_spec[axis + 2]]) * params["rhs_dilation"][axis]
        met = position[:, None] + tap[None, :] - before
        last = (image[numbers.lhs_spec[axis + 2]] - 1) * spread
        total *= float(np.sum((met >= 0) & (met <= last) & (met % spread == 0)))
    return total


def plain_case(options: Options) -> Case:
    """What the options say, past all ramp-ups: updates from the start, the final epsilon."""
    precision = networks.compute_type(options.settings.precision).name
    settings = dataclasses.replace(
        options.settings, learning_starts=0, epsilon_decay_steps=0, precision=precision
    )
    return Case(options.preset, options.game, options.agent, options.protocol, settings)


def sweep_cases(options: Options) -> list[Case]:
    """One case for each value of the sweep."""
    sweep, plain = str(options.sweep), plain_case(options)
    plain = plain._replace(parts=("emulator", "act", "learn", "loop"))
    settings = plain.settings
    if sweep == "threads" and names.find_atari(options.game) is None:
        raise UserError(f"--sweep threads is about the Atari emulator, not {options.game}")
    field = {"games": "num_envs", "batch": "batch_size", "replay": "replay_capacity"}.get(sweep)
    values = SWEEPS[sweep]
    if sweep == "threads":
        values = tuple(v for v in values if int(v) <= 2 * len(os.sched_getaffinity(0)))
    cases = []
    for value in options.values or values:
        if sweep == "precision":
            changed, threads = dataclasses.replace(settings, precision=value), None
        elif not value.isdecimal():
            raise UserError(f"--values {value}: --sweep {sweep} takes integers of at least 1")
        elif field is None:
            changed, threads = settings, int(value)
        else:
            number: dict[str, Any] = {field: int(value)}
            changed, threads = dataclasses.replace(settings, **number), None
        check_settings(changed)
        cases.append(
            plain._replace(label=f"{sweep} {value}", settings=changed, num_threads=threads)
        )
    return cases


def suite_cases(options: Options) -> list[Case]:
    """What the project has goals for (docs/performance.md), on a CPU or a GPU with 16 cores."""

    def case(label: str, goals: Mapping[str, float], **changes: Any) -> Case:
        plain = plain_case(options)
        settings = dataclasses.replace(plain.settings, **changes)
        if options.small:
            few = min(settings.num_envs, 8)
            settings = dataclasses.replace(settings, num_envs=few, replay_capacity=4_000)
        return plain._replace(label=label, settings=settings, goals=goals)

    loop = {"loop_share_of_limit": 0.9}
    if options.suite == "cpu":
        return [
            case("float32", {"learn_share_of_products": 0.5, **loop}, precision="float32"),
            case("bfloat16", loop, precision="bfloat16"),
        ]
    million = {"replay_capacity": 1_000_000}
    per_64 = {"batch_size": 256, "update_period": 64, "target_update_period": 6_400}
    per_row = {"batch_size": 256, "update_period": 4_096, "target_update_period": 40_960}
    acting = {"frames_per_second": 200_000}
    return [
        case("acting only", acting, num_envs=256, learning_starts=_NEVER, **million)._replace(
            parts=("emulator", "act", "loop")
        ),
        case("batch 32 per 4 steps", {"frames_per_second": 20_000}, num_envs=64, **million),
        case(
            "batch 256 per 64 steps",
            {"frames_per_second": 100_000},
            num_envs=128,
            **per_64,
            **million,
        ),
        case(
            "Catch", {"frames_per_second": 5_000_000}, num_envs=4_096, **per_row, **million
        )._replace(game="catch"),
    ]


def measure_all(cases: Sequence[Case], options: Options) -> list[dict[str, Any]]:
    """Measure and report one case after the other; what does not fit is named and left out."""
    points = []
    for case in cases:
        try:
            points.append(measure(case, options.rounds, options.seconds))
            print("\n" + describe(points[-1]), flush=True)
        except DoesNotFitError as error:
            if len(cases) == 1:
                raise
            print(f"\n{case.label} left out: {error}", flush=True)
    if not points:
        raise UserError("no value of the sweep fits into the free memory")
    return points


def describe(point: Mapping[str, Any]) -> str:
    """One case as lines for a person."""
    settings, summary = point["settings"], point["summary"]
    learning = "no updates"
    if "learn" in point["parts"]:
        steps = summary["steps_per_update"]
        learning = f"batch {settings['batch_size']} per {steps:g} agent steps"
    lines = [
        f"{point['label']}: {point['game']}, {settings['num_envs']} games, "
        f"{settings['precision']}, {learning}",
        f"{'':<10}{'median/s':>14}{'best/s':>14}{'CPU ms each':>14}",
    ]
    for name, row in point["parts"].items():
        lines.append(f"{name:<10}{_columns(row)}  {row['unit']}")
    if "learn" in point["parts"]:
        share = summary.get("learn_share_of_products")
        lines.append(
            f"learn: {summary['gflop_per_update']:.2f} GFLOP an update, "
            f"{summary['learn_gflop_per_second']:,.0f} GFLOP/s"
            + (f", {share:.0%} of the rate of large matrix products" if share else "")
        )
    limits = " and ".join(
        f"{name} alone {summary[key]:,.0f}"
        for name in ("emulator", "learner")
        if (key := f"{name}_steps_per_second") in summary
    )
    device = summary["device_peak_bytes"]
    lines += [
        f"loop: {summary['loop_steps_per_second']:,.0f} agent steps/s, "
        f"{summary['frames_per_second']:,.0f} frames/s, {summary['loop_share_of_limit']:.0%} of "
        f"the limit ({limits} agent steps/s)",
        f"memory: peak {summary['host_peak_bytes'] / 1e9:.2f} GB on the host"
        + (f", {device / 1e9:.2f} GB on the device" if device else "")
        + f"; the replay is {summary['replay_bytes'] / 1e9:.2f} GB",
    ]
    for name, goal in point["goals"].items():
        verdict = "reached" if summary[name] >= goal else "not reached"
        lines.append(f"goal: {name} {summary[name]:,.2f}, at least {goal:,}: {verdict}")
    return "\n".join(lines)


def _columns(row: Mapping[str, Any]) -> str:
    return (
        f"{row['median_per_second']:>14,.1f}{row['best_per_second']:>14,.1f}"
        f"{1e3 * row['cpu_seconds_per_unit']:>14.4f}"
    )


_COMPARABLE = ("emulator", "act", "learner", "loop")  # all in agent steps/s


def table(points: Sequence[Mapping[str, Any]]) -> str:
    """All cases side by side."""
    heads = "".join(f"{name:>12}" for name in (*_COMPARABLE, "of limit", "host GB"))
    lines = [f"{'agent steps/s, medians':<24}{heads}"]
    for point in points:
        summary = point["summary"]
        speeds = [summary.get(f"{name}_steps_per_second") for name in _COMPARABLE]
        cells = [f"{speed:,.0f}" if speed else "-" for speed in speeds]
        cells += [f"{summary['loop_share_of_limit']:.0%}", f"{summary['host_bytes'] / 1e9:.2f}"]
        lines.append(f"{point['label']:<24}" + "".join(f"{cell:>12}" for cell in cells))
    return "\n".join(lines)


def draw(points: Sequence[Mapping[str, Any]], sweep: str, path: Path) -> None:
    """The sweep as a figure: speeds above, memory below."""
    figure = Figure(figsize=(7, 7), layout="constrained")
    speed, space = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    labels = [point["label"].removeprefix(f"{sweep} ") for point in points]
    for name in _COMPARABLE:
        medians = [point["summary"][f"{name}_steps_per_second"] for point in points]
        speed.plot(labels, medians, marker="o", label=name)
    speed.set(yscale="log", ylabel="agent steps/s (median)", title=f"{points[0]['game']}, {sweep}")
    for name, key in (("process", "host_bytes"), ("replay", "replay_bytes")):
        sizes = [point["summary"][key] / 1e9 for point in points]
        space.plot(labels, sizes, marker="o", label=name)
    space.set(xlabel=AXES[sweep], ylabel="memory (GB)")
    space.set_ylim(bottom=0)
    for axes in (speed, space):
        axes.grid(alpha=0.3)
        axes.legend()
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise UserError(f"--plot {path}: {error}") from error


def profile(case: Case, seconds: float, folder: Path) -> None:
    """Write a trace of some calls of the learner, then of some vector steps of the loop."""
    with prepared(case) as (_, parts):
        calls = {name: calls_within(parts[name], seconds) for name in ("learn", "loop")}
        with jax.profiler.trace(folder, create_perfetto_trace=True):
            for name in calls:
                with jax.profiler.TraceAnnotation(name):
                    parts[name].run(calls[name])
    print(
        f"trace of {calls['learn']} calls of the learner and {calls['loop']} of the loop\n"
        "Perfetto: open https://ui.perfetto.dev and load "
        f"{folder}/plugins/profile/*/perfetto_trace.json.gz\n"
        f"TensorBoard: pip install tensorboard xprof; tensorboard --logdir {folder}; tab Profile"
    )


def compare(options: Options) -> dict[str, Any]:
    """Train in turns with other implementations.

    All play one game and learn from batches of 32, one update per 4 agent steps, with the Nature
    network, epsilon 0.01 and one step of reward. Each keeps its own rules of the game (starts,
    sticky actions, life loss), which cost nothing.
    """
    shared: dict[str, Any] = {"batch_size": 32, "update_period": 4, "replay_capacity": 50_000}
    plain: dict[str, Any] = {"double": False, "dueling": False, "n_step": 1, "torso": "nature"}
    settings = dataclasses.replace(
        options.settings, epsilon_final=0.01, hidden=512, **shared, **plain
    )
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
            ours.append(as_contender(f"dqnlab {precision}, {changed.num_envs} games", parts))
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


def describe_comparison(result: Mapping[str, Any]) -> str:
    """A comparison as lines for a person."""
    request, threads = result["request"], result["peer_omp_num_threads"]
    lines = [
        f"{request['game']}, batch {request['batch_size']}, one update per "
        f"{request['update_period']} agent steps; OMP_NUM_THREADS of the peers: "
        f"{threads or 'not set'}",
        f"{'agent steps':<28}{'median/s':>14}{'best/s':>14}{'CPU ms each':>14}",
    ]
    for name, row in result["contenders"].items():
        faster = [
            f"{us.split(',')[0]} is {ratios[name]:.2f} times as fast"
            for us, ratios in result["times_as_fast"].items()
            if name in ratios
        ]
        lines.append(f"{name:<28}{_columns(row)}  {', '.join(faster)}")
    return "\n".join(lines)


def machine(device: str) -> dict[str, Any]:
    """What the figures depend on."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):  # not Linux
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        cpu = next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), cpu)
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "load_average": os.getloadavg(),
        "device": device,
        "platform": platform.platform(),
        "jax": jax.__version__,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "git_commit": run_folder.git_commit(Path(__file__).parents[1]),
    }


def main(args: list[str] | None = None) -> int:
    """Parse, measure, report. Returns the exit code."""
    options = parse(sys.argv[1:] if args is None else args)
    about = machine(startup.select_device(options.device))
    print(
        f"{about['cpu']}, on {about['device']}, jax {about['jax']}, commit {about['git_commit']}, "
        f"load before the start {about['load_average'][0]:.1f}",
        flush=True,
    )
    result: dict[str, Any] = {"machine": about, "settings": dataclasses.asdict(options.settings)}
    plain = plain_case(options)
    if options.profile is not None:
        profile(plain, options.seconds, options.profile)
    elif options.against:
        try:
            result["comparison"] = compare(options)
        except peers.PeerError as error:
            raise UserError(str(error)) from error
        print(describe_comparison(result["comparison"]))
    else:
        sweep, suite = options.sweep, options.suite
        cases = sweep_cases(options) if sweep else suite_cases(options) if suite else [plain]
        result["points"] = measure_all(cases, options)
        if len(cases) > 1:
            print("\n" + table(result["points"]))
    if options.json is not None:
        run_folder.write_json(options.json, result)
    if options.plot is not None and options.sweep is not None:
        draw(result["points"], options.sweep, options.plot)
    return 0


if __name__ == "__main__":
    with startup.user_errors():
        sys.exit(main())
