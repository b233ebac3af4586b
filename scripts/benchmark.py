"""Measure how fast each part of training is on this machine, and what limits it.

python scripts/benchmark.py

python scripts/benchmark.py --sweep games --plot games.png

python scripts/benchmark.py --against sb3 --peer-python /path/to/its/python
"""

import dataclasses
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a file: make `scripts`, `agents` and `envs` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jax
import psutil

from dqnlab import machine, run_folder
from dqnlab.plurals import count
from dqnlab.types import UserError
from scripts import outputs, peers, startup
from scripts.benchmark_options import Options, parse, plain_case, sweep_cases
from scripts.benchmark_parts import Case, DoesNotFitError, prepared
from scripts.benchmark_peers import compare
from scripts.benchmark_report import describe, describe_comparison, draw, table, table_of_updates
from scripts.benchmark_suites import suite_cases
from scripts.benchmark_timing import calls_within, measure


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


def profile(case: Case, seconds: float, folder: Path) -> None:
    """Write a trace of some calls of the learner, then of some vector steps of the loop."""
    with prepared(case) as (_, parts):
        calls = {name: calls_within(parts[name], seconds) for name in ("learn", "loop")}
        with jax.profiler.trace(folder, create_perfetto_trace=True):
            for name in calls:
                with jax.profiler.TraceAnnotation(name):
                    parts[name].run(calls[name])
    print(
        f"trace of {count(calls['learn'], 'call')} of the learner and {calls['loop']} of the loop\n"
        "Perfetto: open https://ui.perfetto.dev and load "
        f"{folder}/plugins/profile/*/perfetto_trace.json.gz\n"
        f"TensorBoard: pip install tensorboard xprof; tensorboard --logdir {folder}; tab Profile"
    )


def about_machine(device: str) -> dict[str, Any]:
    """Return the properties of the machine that the figures depend on."""
    return {
        "cpu": machine.cpu_name(),
        "cores": machine.num_cores(),
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
    options = parse(sys.argv[1:] if args is None else args, __doc__)
    about = about_machine(startup.select_device(options.device))
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
            print("\n" + (table_of_updates if suite == "agents" else table)(result["points"]))
    if options.json is not None:
        outputs.write(options.json, json.dumps(result, indent=2).encode() + b"\n")
    if options.plot is not None and options.sweep is not None:
        draw(result["points"], options.sweep, options.plot)
    return 0


if __name__ == "__main__":
    with startup.user_errors():
        sys.exit(main())
