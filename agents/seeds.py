"""Independent runs of a game written in JAX, advanced side by side in one program.

A small network on a small game leaves a machine idle; K of them, mapped over their seeds, do not.
Each run keeps its own driver and its own state, as if it were alone.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents import driver as drivers
from agents.driver import DeviceDriver
from agents.runner import Runner, RunState
from dqnlab.types import Env

# As the method of a driver, for K states.
Advance = Callable[[Sequence[RunState], int, Callable[[], bool]], tuple[list[RunState], int]]


def advance_together(runner: Runner, env: Env, runs: Sequence[DeviceDriver]) -> Advance:
    """What advances K runs of one runner that are at the same row, whatever their seeds."""
    act, learn, step = jax.vmap(runner.act), jax.vmap(runner.learn), jax.vmap(env.step)
    program = drivers.many_rows(act, learn, step, runner.is_due)
    many_rows: Any = jax.jit(program, static_argnums=1, donate_argnums=0)

    def advance(
        states: Sequence[RunState], num_rows: int, should_stop: Callable[[], bool]
    ) -> tuple[list[RunState], int]:
        if should_stop():
            return list(states), 0
        carries = [run.carry(state) for run, state in zip(runs, states, strict=True)]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *carries)
        stacked, outcome = many_rows(stacked, num_rows)
        reward, first = (np.asarray(column) for column in outcome)  # [rows, K, N]
        advanced = [
            run.take(jax.tree.map(lambda leaf, k=k: leaf[k], stacked), reward[:, k], first[:, k])
            for k, run in enumerate(runs)
        ]
        return advanced, num_rows

    return advance
