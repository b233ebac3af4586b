"""Runs a peer in the interpreter that has it, one turn at a time: the program of `peers.start`.

It and what it imports need the standard library and the peer only, and keep to the syntax of older
Pythons, which some peers want.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)
from scripts import peer_loops  # noqa: E402

del sys.path[0]  # a peer might import our modules by mistake


class Gate:
    """The other end of `peers.start`: the loop stops here between two turns."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)  # what the peer prints must not get between the answers
        self._begin: tuple[float, float] | None = None
        self._asked = self._done = 0.0

    def step(self, agent_steps: float) -> None:
        """Count steps; where the turn is over, report it and wait for the next one."""
        self._done += agent_steps
        if self._begin is not None and self._done < self._asked:
            return
        if self._begin is not None:
            wall, cpu = self._begin
            seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
            self._say({"units": self._done, "seconds": seconds, "cpu_seconds": cpu_seconds})
        line = sys.stdin.readline()
        if not line:
            os._exit(0)  # from within the peer's loop, which would go on for days
        self._asked, self._done = float(line), 0.0
        self._begin = time.perf_counter(), time.process_time()

    def fail(self, error: BaseException) -> None:
        """Report why the peer does not run."""
        self._say({"error": " ".join(f"{type(error).__name__}: {error}".split())})

    def _say(self, answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=self._answers, flush=True)


def main() -> None:
    """Run the peer that the command line names, in the interpreter that has it."""
    gate = Gate()
    try:
        peer_loops.LOOPS[sys.argv[1]](json.loads(sys.argv[2]), gate.step)
    except BaseException as error:
        traceback.print_exc()
        gate.fail(error)


if __name__ == "__main__":
    main()
