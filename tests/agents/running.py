"""A run in a few lines: what train_dqn.py does, without a folder."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents import driver, registry, runner, saving, schedules
from agents.runner import RunState
from agents.settings import Settings
from dqnlab.types import Env


class Run(NamedTuple):
    """A driver with the state that it advances."""

    driver: Any
    state: RunState
    runner: runner.Runner

    def advance(self, num_rows: int) -> "Run":
        return self._replace(state=self.driver.advance(self.state, num_rows, lambda: False)[0])


@contextlib.contextmanager
def compilations() -> Iterator[Counter[str]]:
    """Count what is compiled meanwhile, by the functions' names.

    JAX reports it as it happens. What its caches hold afterwards depends on what else the process
    has compiled, for they are shared and of limited size.
    """
    counts: Counter[str] = Counter()

    def listen(event: str, seconds: float, **about: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            counts[about["fun_name"].removeprefix("jit(").removesuffix(")")] += 1

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield counts
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def start(name: str, settings: Settings, env: Env, seed: int = 0, seed_period: int = 10_000) -> Run:
    settings = schedules.in_steps(settings, 1_500_000)
    agent = registry.make(name, settings, env.spec)
    replay = registry.make_replay(settings, env.spec)
    optimizer = registry.make_optimizer(settings)
    run = runner.make(agent, replay, settings, env.spec, optimizer)
    state = jax.jit(run.init)(np.uint32(seed))
    return Run(driver.make(run, env, seed, seed_period), state, run)


def saved_and_loaded(
    run: Run, name: str, settings: Settings, env: Env, seed: int = 0, seed_period: int = 10_000
) -> Run:
    """A run as a fresh process would restore it from a checkpoint's arrays."""
    small = jax.device_get(saving.small_part(run.state))
    rows, ring = int(run.state.rows), run.state.replay.ring
    oldest = saving.oldest_row(ring, rows)
    columns = saving.read_rows(ring, oldest, rows)
    snapshot = jax.tree.map(np.array, run.driver.snapshot())
    other = start(name, settings, env, seed, seed_period)
    ring = saving.write_rows(other.state.replay.ring, oldest, columns)
    other.driver.restore(snapshot)
    return other._replace(state=saving.join(jax.tree.map(jnp.asarray, small), ring))


def poisoned(env: Env, factor: float) -> Env:
    """The same game with rewards times `factor`."""

    def step(state: Any, actions: Any) -> Any:
        state, timestep = env.step(state, actions)
        return state, timestep._replace(reward=timestep.reward * factor)

    return env._replace(step=step)


def assert_equal(one: RunState, other: RunState) -> None:
    for ours, theirs in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)
