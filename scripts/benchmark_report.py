"""What was measured, for a person: lines, a table, a figure."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from dqnlab.plurals import count
from scripts import outputs
from scripts.benchmark_options import AXES


def describe(point: Mapping[str, Any]) -> str:
    """One case as lines for a person."""
    settings, summary = point["settings"], point["summary"]
    learning = "no updates"
    if "learn" in point["parts"]:
        steps = summary["steps_per_update"]
        learning = f"batch {settings['batch_size']} per {steps:g} agent steps"
    lines = [
        f"{point['label']}: {point['game']}, {count(settings['num_envs'], 'game')}, "
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


def table_of_updates(points: Sequence[Mapping[str, Any]]) -> str:
    """What a gradient step of each agent costs, and how much of that its arithmetic explains.

    The last column is the CPU time of a GFLOP over that of the first agent: above 1, the agent is
    slower than its arithmetic alone would make it.
    """
    heads = ("updates/s", "steps/s", "GFLOP each", "CPU ms each", "GFLOP x", "CPU x", "CPU/GFLOP x")
    lines = [f"{'agent':<18}" + "".join(f"{head:>13}" for head in heads)]
    costs = [
        (p["summary"]["gflop_per_update"], 1e3 * p["parts"]["learn"]["cpu_seconds_per_unit"])
        for p in points
    ]
    for point, (gflop, cpu) in zip(points, costs, strict=True):
        more_gflop, more_cpu = gflop / costs[0][0], cpu / costs[0][1]
        cells = (
            f"{point['parts']['learn']['median_per_second']:.1f}",
            f"{point['summary']['loop_steps_per_second']:,.0f}",
            f"{gflop:.2f}",
            f"{cpu:.1f}",
            f"{more_gflop:.2f}",
            f"{more_cpu:.2f}",
            f"{more_cpu / more_gflop:.2f}",
        )
        lines.append(f"{point['label']:<18}" + "".join(f"{cell:>13}" for cell in cells))
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
    image = io.BytesIO()
    figure.savefig(image, format=path.suffix[1:].lower(), dpi=120)
    outputs.write(path, image.getvalue())


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
