"""The parts of a training run, each as something to time."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import psutil
from jax import lax

import envs
from agents import driver as drivers
from agents import registry
from agents.limits import check as check_settings
from agents.replay import Replay
from agents.settings import Settings
from dqnlab.types import Env, PyTree, TimeStep, UserError
from scripts import options as training_options
from scripts.training import Run

PARTS = ("emulator", "act", "insert", "sample", "learn", "products", "loop")
_JAX_GAME_ROWS = 100  # vector steps to a launch of games that live on the device


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
    protocol: str | None
    settings: Settings
    parts: tuple[str, ...] = PARTS
    num_threads: int | None = None  # of the emulator
    groups: int | None = None  # of games in the loop
    goals: Mapping[str, float] = {}  # entries of the summary and what they should reach


class DoesNotFitError(UserError):
    """The replay is larger than the free memory."""


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
            envs.make(case.game, num_envs, case.protocol, True, groups, **threads)
            for groups in (case.groups or drivers.num_groups(num_envs), 1)
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
