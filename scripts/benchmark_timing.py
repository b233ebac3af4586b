"""Timing parts in turns, and what the times say about their limits."""

import dataclasses
import gc
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import psutil

from dqnlab import machine
from scripts.benchmark_flop import count_flop
from scripts.benchmark_parts import Case, Part, prepared
from scripts.peers import Turn
from scripts.training import Run


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
            "groups": run.env.groups,
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
        # Of the whole process: in a sweep, of all values so far.
        "host_peak_bytes": machine.peak_memory(),
        "device_peak_bytes": device.get("peak_bytes_in_use"),
    }
