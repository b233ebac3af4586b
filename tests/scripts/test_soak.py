"""The soak run: it sees a leak, and a short real run ends as it should."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from dqnlab.types import UserError
from scripts import soak
from scripts.soak import Sample

ROOT = Path(__file__).resolve().parents[2]


def samples(leak: float = 0.0, fds: float = 0.0, threads: float = 0.0) -> list[Sample]:
    """An hour, a look each minute, after a steep start; with noise, and bursts of checkpoints."""
    rng = random.Random(0)
    return [
        Sample(
            60.0 * i,
            int(min(i / 10, 1) * 2e9 * (1 + leak * i / 60) + rng.randrange(10**6)),
            int(40 + fds * i + 3 * (i % 7 == 0)),
            int(20 + threads * i),
        )
        for i in range(60)
    ]


def test_a_flat_run_passes_whatever_its_start_was():
    assert soak.is_flat(soak.judge(samples()))


@pytest.mark.parametrize("grows", [{"leak": 0.05}, {"fds": 0.1}, {"threads": 0.1}])
def test_every_kind_of_growth_is_seen(grows):
    assert not soak.is_flat(soak.judge(samples(**grows)))


def test_memory_given_back_and_taken_again_is_no_growth():
    run = samples()
    for i in range(25, 35):
        run[i] = run[i]._replace(memory=run[i].memory - 16 * 2**20)
    assert soak.is_flat(soak.judge(run))


def test_too_short_a_run_is_not_judged():
    with pytest.raises(UserError, match="train longer"):
        soak.judge(samples()[:15])


@pytest.mark.slow
def test_a_short_real_run_is_watched_and_stopped(tmp_path):
    path = tmp_path / "soak.json"
    done = subprocess.run(
        [sys.executable, "scripts/soak.py", "--minutes", "1", "--every", "1", "--out", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "exit code 143" in done.stdout, done.stderr
    assert len(json.loads(path.read_text())["samples"]) > 20
