"""A queue of training runs as child processes, whose state is on the disk at every moment."""

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from dqnlab import records, run_folder
from dqnlab.plurals import count
from dqnlab.types import UserError
from scripts import report_content
from scripts.interrupts import Interrupts

STATE = "suite.json"
_TRAIN = Path(__file__).with_name("train_dqn.py")
_POLL_S = 0.5


class Job(NamedTuple):
    """One run of the suite."""

    game: str
    agent: str
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        """Its folder's name."""
        return self.folder.name


@dataclasses.dataclass(frozen=True)
class State:
    """What is known of a run beside its folder."""

    frames: int = 0  # that it has finished: trained and evaluated
    failures: int = 0
    error: str = ""  # last line that it printed when it failed


class Suite(NamedTuple):
    """The queue's memory: `states` is on the disk whenever it changes."""

    folder: Path
    flags: list[str]  # for every new run
    frames: int
    attempts: int
    states: dict[str, State]


def open_suite(folder: Path, flags: list[str], frames: int, attempts: int) -> Suite:
    """The suite of a folder, new or gone on with. UserError where it was begun with other flags."""
    path, states = folder / STATE, {}
    if path.exists():
        saved = records.check(
            run_folder.read_json(path), {"flags": list, "states": dict}, str(path)
        )
        if saved["flags"] != flags:
            raise UserError(
                f"{folder} was begun with {' '.join(saved['flags'])}, not {' '.join(flags)}: "
                "name another --out"
            )
        states = {
            name: records.load(State, state, f"{path}: {name}")
            for name, state in saved["states"].items()
        }
    return Suite(folder, flags, frames, attempts, states)


def is_done(suite: Suite, job: Job) -> bool:
    """Whether the run is trained for all frames, and evaluated."""
    return suite.states.get(job.name, State()).frames >= suite.frames


def work(suite: Suite, jobs: list[Job], slots: int, interrupts: Interrupts) -> None:
    """Run what is not done, `slots` at a time, until all is done or a signal asks to stop."""
    left = [job for job in jobs if not is_done(suite, job) and not _gave_up(suite, job)]
    print(f"{count(len(jobs), 'run')}, {len(left)} to do, in {suite.folder}", flush=True)
    running: dict[str, tuple[Job, subprocess.Popen[bytes]]] = {}
    passed_on = False
    while running or (left and not interrupts.is_set()):
        if interrupts.is_set() and not passed_on:
            passed_on = True
            for _, process in running.values():
                process.send_signal(interrupts.signal or signal.SIGINT)
        elif not interrupts.is_set():
            _fill(suite, left, running, slots)
        for job, process in list(running.values()):
            if process.poll() is not None:
                del running[job.name]
                if not passed_on and _record(suite, job, process.returncode):
                    left.append(job)
        time.sleep(_POLL_S)


def _fill(
    suite: Suite,
    left: list[Job],
    running: dict[str, tuple[Job, subprocess.Popen[bytes]]],
    slots: int,
) -> None:
    # Children of a suite that was killed go on: they keep their lock, and a slot.
    orphans = [job for job in left if _is_locked(job.folder)]
    for job in [job for job in left if job not in orphans]:
        if len(running) + len(orphans) >= slots:
            return
        left.remove(job)
        running[job.name] = job, _start(suite, job, slots)


def _is_locked(folder: Path) -> bool:
    if not folder.exists():
        return False
    try:
        with run_folder.lock(folder):
            return False
    except UserError:
        return True


def _start(suite: Suite, job: Job, slots: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(_TRAIN), "--frames", str(suite.frames)]
    if any((job.folder / "checkpoints").glob("[0-9]*")):
        command += ["--resume", str(job.folder)]
    else:
        shutil.rmtree(job.folder, ignore_errors=True)  # without a checkpoint it holds nothing yet
        command += ["--game", job.game, "--agent", job.agent, "--seed", str(job.seed)]
        command += ["--run-dir", str(job.folder), *suite.flags]
    verb = "resumed" if "--resume" in command else "started"
    print(f"{time.strftime('%H:%M:%S')}  {job.name} {verb}", flush=True)
    environment = dict(os.environ)
    if slots > 1 and "XLA_CLIENT_MEM_FRACTION" not in environment:  # each its share of a GPU
        environment.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 / slots:.2f}")
    with open(_log(job), "ab") as log:
        # A session of its own: Ctrl-C reaches the children once, through us.
        return subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, start_new_session=True
        )


def _log(job: Job) -> Path:
    return job.folder.with_name(job.name + ".log")


def _record(suite: Suite, job: Job, code: int) -> bool:
    """Write down how a run ended; whether to try it again."""
    before = suite.states.get(job.name, State())
    if code == 0:
        state = State(frames=suite.frames)
    else:
        state = dataclasses.replace(before, failures=before.failures + 1, error=_last_words(job))
    suite.states[job.name] = state
    content: dict[str, Any] = {
        "flags": suite.flags,
        "states": {name: dataclasses.asdict(each) for name, each in suite.states.items()},
    }
    run_folder.write_json(suite.folder / STATE, content)
    ending = "done" if code == 0 else f"failed with exit code {code}: {state.error}"
    print(f"{time.strftime('%H:%M:%S')}  {job.name} {ending}", flush=True)
    return code != 0 and not _gave_up(suite, job)


def _gave_up(suite: Suite, job: Job) -> bool:
    return suite.states.get(job.name, State()).failures >= suite.attempts


def _last_words(job: Job) -> str:
    try:
        lines = _log(job).read_text("utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1][:300] if lines else "it said nothing"


def describe(job: Job, state: State) -> dict[str, Any]:
    """A row of the summary."""
    result: dict[str, Any] = {}
    with contextlib.suppress(UserError):  # a damaged one is no figure, and not the table's end
        result = report_content.read_evaluation(job.folder) or {}
    begun = "begun" if job.folder.exists() else "not begun"
    failed = f"failed {count(state.failures, 'time')}: {state.error}"
    return {
        "state": "done" if state.frames else failed if state.failures else begun,
        "frames": result.get("frames"),
        "evaluation": result.get("mean"),
        "human-normalised": result.get("human_normalized"),
    }
