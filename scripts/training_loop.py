"""The loop of a training run, or of several in one program; what comes before and after it."""

import itertools
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from agents import game_log, policy, registry, schedules, seeds
from dqnlab import machine, native, run_folder
from dqnlab.metrics import PARTIAL, MetricsWriter
from dqnlab.plurals import count
from dqnlab.types import UserError
from scripts import evaluate, extras, video
from scripts.interrupts import Interrupts
from scripts.training import Run
from scripts.training_progress import COMPILING, EVALUATION_ENVS, Progress


def train(
    runs: Sequence[Run],
    interrupts: Interrupts,
    progress: Progress,
    writers: Sequence[MetricsWriter],
) -> None:
    """Go on until all frames are seen or a signal asks to stop; checkpoints on the way.

    Several runs differ in their seeds only, and their games are written in JAX: one program
    advances all of them.
    """
    run, options = runs[0], runs[0].options
    for each in runs[1:]:
        each.dead_units = run.dead_units  # one program for all
    advance = run.advance if len(runs) == 1 else _together(runs)
    total = -(-options.frames // run.frames_per_row)
    log_rows, save_rows = run.rows_of(options.log_every), run.rows_of(options.checkpoint_every)
    started, started_rows, base = time.monotonic(), run.rows, run.seconds

    def log(is_partial: bool = False) -> None:
        nonlocal started, started_rows, base
        new_frames = (run.rows - started_rows) * run.frames_per_row
        speed = new_frames / (run.seconds - base) if new_frames else None
        started_rows, base, started = run.rows, run.seconds, time.monotonic()
        rows = [each.metrics_row(speed) for each in runs]
        for writer, row in zip(writers, rows, strict=True):
            writer.write({**row, PARTIAL: True} if is_partial else row)
        progress.update(_mean(rows), run.replay_fill, is_last=is_partial or run.rows >= total)

    should_stop = _between_steps(run, interrupts, progress)
    progress.expect(
        options.frames,
        _first_update(run) * run.frames_per_row,
        run.spec,
        options.eval_episodes,
    )
    while run.rows < total and not interrupts.is_set():
        to_log, to_save = log_rows - run.rows % log_rows, save_rows - run.rows % save_rows
        size = min(to_log, to_save, total - run.rows)
        done = advance(size, should_stop(size))
        for each in runs:
            each.seconds = base + time.monotonic() - started
        if run.rows % log_rows == 0 and done:
            log()
        if run.rows % save_rows == 0 and done:
            for each, writer in zip(runs, writers, strict=True):
                each.save()
                _write_histograms(each, writer)
    for each in runs:
        if each.rows != each.saved_rows:
            each.save(is_due=run.rows >= total)
    if run.rows % log_rows:
        log(is_partial=True)


def _first_update(run: Run) -> int:
    """Vector steps at the next gradient step; the run's last where none follows."""
    total = -(-run.options.frames // run.frames_per_row)
    return next(filter(run.runner.is_due, range(run.rows + 1, total + 1)), total)


def _between_steps(
    run: Run, interrupts: Interrupts, progress: Progress
) -> Callable[[int], Callable[[], bool]]:
    """Make (vector steps to take) -> what a driver asks before each: whether to stop.

    It also shows the progress, and what is compiled: acting in the first step and learning in the
    first update, or on the device the program of each number of steps.
    """
    first, sizes = {run.rows, _first_update(run) - 1}, set[int]()

    def before(size: int) -> Callable[[], bool]:
        at = itertools.count(run.rows)
        is_new = run.spec.traceable and size not in sizes
        sizes.add(size)

        def should_stop() -> bool:
            row = next(at)
            if is_new or (row in first and not run.spec.traceable):
                progress.wait(COMPILING)
            else:
                progress.step(row * run.frames_per_row)
            return interrupts.is_set()

        return should_stop

    return before


def _write_histograms(run: Run, writer: MetricsWriter) -> None:
    """The distribution of every layer's weights, for TensorBoard."""
    for module, arrays in run.state.train.params.items():
        for name, array in arrays.items():
            writer.write_histogram(f"weights/{module}/{name}", array, run.agent_steps)


def _together(runs: Sequence[Run]) -> Callable[[int, Callable[[], bool]], int]:
    advance_all = seeds.advance_together(runs[0].runner, runs[0].env, [run.driver for run in runs])

    def advance(num_rows: int, should_stop: Callable[[], bool]) -> int:
        states, done = advance_all([run.state for run in runs], num_rows, should_stop)
        for run, state in zip(runs, states, strict=True):
            run.state, run.rows = state, run.rows + done
        return done

    return advance


def _mean(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One row for all seeds; what is None for one of them is None."""
    if len(rows) == 1:
        return rows[0]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return {
        name: None if None in values else type(values[0])(sum(values) / len(values))
        for name, values in columns.items()
    }


def finish(run: Run, progress: Progress, writer: MetricsWriter) -> None:
    """Evaluate the final weights, write a video, say where everything lies."""
    options = run.options
    trained = policy.load(run.dir, "last")
    epsilon = options.settings.evaluation_epsilon
    seed = game_log.env_seed(options.seed, game_log.EVALUATION, 0)
    progress.say(f"evaluating: {count(options.eval_episodes, 'game')}")
    result = evaluate.score(
        trained,
        protocol=options.protocol,
        episodes=options.eval_episodes,
        epsilon=epsilon,
        seed=seed,
        num_envs=EVALUATION_ENVS,
        on_progress=evaluate.show_progress(progress, options.eval_episodes),
    )
    run_folder.write_json(run.dir / "eval.json", result)
    progress.say(evaluate.describe(result))
    if not run.spec.traceable:  # games in JAX are boards of a few pixels
        path = run.dir / "videos" / "final.mp4"
        try:
            video.check(trained, options.protocol)
        except UserError as error:
            progress.say(f"no video   {error}")
        else:
            video.record(trained, options.protocol, path, epsilon=epsilon, seed=seed)
            writer.write_picture("video", video.as_gif(path), run.agent_steps)
            progress.say(f"video      {path}")
    plot = f"{os.path.relpath(sys.executable)} scripts/plot_runs.py"
    viewer = "tensorboard --logdir" if extras.is_installed("tensorboard") else plot
    progress.say(f"curves     {viewer} {run.dir}")
    progress.say(f"run folder {run.dir}")


def describe(runs: Sequence[Run], device: str) -> str:
    """What is about to happen, the replay's memory included. UserError where it cannot fit."""
    options, spec = runs[0].options, runs[0].spec
    settings = options.settings
    replay = jax.eval_shape(registry.make_replay(settings, spec).init)
    replay_bytes = len(runs) * sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(replay))
    # Several runs are put together for a program and taken apart again: two of each.
    needed, place = replay_bytes * min(len(runs), 2), jax.devices()[0]
    available = machine.free_device_memory(place)
    if available is not None and needed > available:
        fits = int(settings.replay_capacity * 0.8 * available / needed)
        raise UserError(
            f"the replay would take {needed / 1e9:.2f} GB and {available / 1e9:.2f} GB are "
            f"free on {place.device_kind}: use --replay-capacity {fits} or less"
        )
    rules = ", ".join(f"{k} {v}" for k, v in spec.protocol.items() if k != "name")
    seed = f"seed {options.seed}"
    if len(runs) > 1:
        seed = f"seeds {options.seed} to {runs[-1].options.seed}, each with a replay"
    return "\n".join(
        [
            f"game       {spec.game}, {spec.num_envs} at once, {spec.num_actions} actions",
            f"protocol   {spec.protocol['name']}" + (rules and f": {rules}"),
            f"agent      {options.agent}, preset {options.preset}, {seed}",
            f"device     {device}",
            f"network    computes in {settings.precision}{_by(settings.precision)}",
            f"replay     {replay.ring.first.size:,} frames, {replay_bytes / 1e9:.2f} GB",
            f"schedules  {schedules.describe(settings, spec.frame_skip)}",
            *(f"run folder {run.dir}" for run in runs),
        ]
    )


def _by(precision: str) -> str:
    """What multiplies, where there is a choice: two runs are equal only by the same."""
    if jax.devices()[0].platform != "cpu":
        return ""
    missing = native.missing(precision)
    return (
        f" by dqnlab's kernels ({native.instructions(precision)})"
        if missing is None
        else f" by XLA; dqnlab's kernels lack {missing}"
    )
