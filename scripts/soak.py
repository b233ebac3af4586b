"""Train for a long time and watch the process: memory, files, threads and speed must stay flat.

python scripts/soak.py --minutes 120
python scripts/soak.py --minutes 10 -- --game Breakout --num-envs 4

What comes after `--` goes to train_dqn.py. The first third is warming up (compiling, filling the
replay); the rest must not grow. Exit code 0 where it did not, 1 where it did.
"""

import dataclasses
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

if __package__ in (None, ""):  # run as a file: make `scripts`, `agents` and `envs` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psutil

from dqnlab import metrics
from dqnlab.plurals import count
from dqnlab.types import UserError
from scripts import flags, outputs, startup

_TRAIN = Path(__file__).with_name("train_dqn.py")
# A replay that is soon full, resets and checkpoints often: what leaks, leaks often.
_SOAK = (
    "--game Pong --frames 2000000000 --replay-capacity 8000 --learning-starts 1000 "
    "--update-period 16 --checkpoint-every 8000 --log-every 1600 --reseed-every 2000 "
    "--eval-episodes 0"
).split()
GROWTH = 0.01  # of memory, over the watched time
_SAMPLES_NEEDED = 12


class Sample(NamedTuple):
    """One look at the process."""

    seconds: float
    memory: int  # resident bytes
    files: int  # open file descriptors
    threads: int


@dataclasses.dataclass(frozen=True)
class Options:
    """How long, how often, where to."""

    minutes: float = 120.0
    """How long to train."""
    every: float = 5.0
    """Seconds between two looks at the process."""
    out: Path | None = None
    """Write the samples and the verdict to this file, as JSON."""


def watch(process: subprocess.Popen[bytes], minutes: float, every: float) -> list[Sample]:
    """Look at the process until the time is over. UserError where it ends before."""
    seen, start, samples = psutil.Process(process.pid), time.monotonic(), []
    while (now := time.monotonic() - start) < 60 * minutes:
        if process.poll() is not None:
            raise UserError(f"training ended by itself with exit code {process.returncode}")
        with seen.oneshot():
            samples.append(Sample(now, seen.memory_info().rss, seen.num_fds(), seen.num_threads()))
        time.sleep(every)
    return samples


def judge(samples: Sequence[Sample]) -> dict[str, float]:
    """How much each grew from the first to the second half of the watched two thirds.

    Of memory the peaks: the allocator gives back and takes again 16 MB at a time, and the kernel
    puts unused pages out; a leak must pass its own peak. Of files and threads the medians: a
    checkpoint that is being written opens files.
    """
    watched = samples[len(samples) // 3 :]
    if len(watched) < _SAMPLES_NEEDED:
        raise UserError(
            f"{count(len(watched), 'sample')} after warming up, {_SAMPLES_NEEDED} are needed to "
            "judge; train longer"
        )
    halves = watched[: len(watched) // 2], watched[len(watched) // 2 :]

    def grown(name: str) -> float:
        first, second = ([getattr(each, name) for each in half] for half in halves)
        return statistics.median(second) - statistics.median(first)

    before, after = (max(each.memory for each in half) for half in halves)
    return {
        "memory growth": after / before - 1,
        "memory GB": after / 1e9,
        "files grown by": grown("files"),
        "threads grown by": grown("threads"),
    }


def is_flat(verdict: dict[str, float]) -> bool:
    """Whether nothing grew."""
    return (
        verdict["memory growth"] < GROWTH
        and verdict["files grown by"] <= 0
        and verdict["threads grown by"] <= 0
    )


def describe(run_dir: Path) -> str:
    """How far it came, and its speed: median of the second and of the last third of the rows."""
    rows = metrics.read(run_dir / metrics.FILE)
    if not rows:
        raise UserError("training has no row of metrics yet; train longer")
    values = [row["frames_per_second"] for row in rows]
    third = max(1, len(values) // 3)
    middle, end = values[third : 2 * third] or values, values[-third:]
    speed = f"{statistics.median(middle):,.0f}/s in the middle third, "
    speed += f"{statistics.median(end):,.0f}/s in the last"
    return f"{rows[-1]['frames']:,} in all; {speed}"


def main(args: list[str] | None = None) -> int:
    """Train, watch, stop it by SIGTERM, judge. Returns the exit code."""
    args = sys.argv[1:] if args is None else args
    cut = args.index("--") if "--" in args else len(args)
    options = flags.cli(Options, args=args[:cut], description=__doc__)
    for name in ("minutes", "every"):
        if not 0 < getattr(options, name) < float("inf"):
            raise UserError(f"--{name} is {getattr(options, name)}; it must be above 0")
    outputs.check({"--out": options.out})
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        command = [sys.executable, str(_TRAIN), *_SOAK, *args[cut + 1 :], "--quiet"]
        process = subprocess.Popen([*command, "--run-dir", str(run_dir)])
        try:
            samples = watch(process, options.minutes, options.every)
            asked = time.monotonic()
            process.send_signal(signal.SIGTERM)
            try:
                code = process.wait(60)
            except subprocess.TimeoutExpired:
                raise UserError("training did not end within 60 s of SIGTERM") from None
            ending = time.monotonic() - asked
            verdict = judge(samples)
            trained = describe(run_dir)
        finally:
            process.kill()
            process.wait()
    for name, value in verdict.items():
        print(f"{name:<18} {value:+.2%}" if name == "memory growth" else f"{name:<18} {value:g}")
    print(f"{'frames':<18} {trained}")
    print(f"{'SIGTERM':<18} saved and left after {ending:.1f} s with exit code {code}")
    if options.out is not None:
        content: dict[str, Any] = {"verdict": verdict, "samples": samples, "frames": trained}
        content |= {"sigterm_s": ending, "exit_code": code}
        outputs.write(options.out, json.dumps(content).encode())
    return 0 if is_flat(verdict) and code == 128 + signal.SIGTERM else 1


if __name__ == "__main__":
    with startup.user_errors():
        sys.exit(main())
