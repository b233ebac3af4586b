"""What a run shows, with invented rows and an invented clock."""

import re
import time

import pytest

from dqnlab.types import EnvSpec
from scripts import console, first_words
from scripts.console import LiveLine
from scripts.training_progress import COMPILING, Progress


class Clock:
    """Stands for `time`: `now` advances by hand."""

    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made.monotonic)
    return made


@pytest.fixture
def spec():
    """Of 16 games of 4 frames a step."""
    actions = tuple("abcdef")
    return EnvSpec("Pong", 16, 6, actions, (84, 84), "uint8", 4, 4, {"name": "machado2018"}, False)


def row(frames, episodes=0, **others):
    values = {"episode_return_mean": -20.5, "loss": 0.0123, "epsilon": 0.5, "updates": 1}
    return {"frames": frames, "episodes": episodes, "frames_per_second": 800.0, **values, **others}


def test_an_invented_run_is_told_with_the_time_it_takes(clock, spec, capsys):
    """Learning begins at 64,000 frames and is four times as slow; 20 games come after it."""
    progress = Progress(quiet=False)
    progress.expect(6_400_000, 64_000, spec, eval_episodes=20)
    progress.wait(COMPILING)
    clock.now += 30
    for frames in range(64, 64_000, 64):
        clock.now += 64 / 3_200
        progress.step(frames)
    assert "ETA       -" in capsys.readouterr().out
    progress.wait(COMPILING)
    clock.now += 60
    for frames in range(64_000, 320_001, 64):
        clock.now += 64 / 800
        progress.step(frames)
        if frames % 32_000 == 0:
            progress.update(row(frames, frames // 4_000), 0.25, is_last=frames == 320_000)
    progress.close()
    last = capsys.readouterr().out.splitlines()[-1]
    # Training takes 7,600 s; games of 1,000 steps at 50 a second 3 rounds and a video, 80 s.
    assert re.search("ETA 2:0(7:59|8:00)", last)
    assert "loss 0.0123" in last
    assert "return -20.50" in last


def test_before_as_many_games_ended_as_are_played_their_time_is_open(clock, spec, capsys):
    progress = Progress(quiet=False)
    progress.expect(64_000, 0, spec, eval_episodes=20)
    for frames in (6_400, 12_800):
        clock.now += 10
        progress.update(row(frames, episodes=frames // 6_400), 0.1)
    progress.close()
    assert "ETA 0:01:20+" in capsys.readouterr().out.splitlines()[-1]


def test_lines_fit_80_columns_whatever_the_numbers(clock, spec, capsys):
    progress = Progress(quiet=False)
    progress.expect(200_000_000, 80_000, spec, 20)
    for frames in (100_000_000, 120_000_000):
        clock.now += 100_000
        progress.update(row(frames, 1_234_567, episode_return_mean=123_456.78), 1.0, is_last=True)
    progress.close()
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in [*lines, COMPILING + "  999 s"])
    assert "123,456.78" in lines[-1]


def test_steps_are_shown_before_the_first_row_while_they_are_slow(clock, spec, capsys):
    progress = Progress(quiet=False)
    progress.expect(1_000_000, 10_000_000, spec)
    for frames in range(64, 64 * 101, 64):  # one step a second
        clock.now += 1
        progress.step(frames)
    progress.close()
    lines = capsys.readouterr().out.splitlines()
    assert 5 <= len(lines) <= 7
    assert re.search(r"frames +1%.*64/s", lines[-1])


def test_the_history_gets_sparse_and_keeps_the_last_row(clock, spec, capsys):
    """A run of half an hour with a row each 3 seconds."""
    progress = Progress(quiet=False)
    progress.expect(6_000_000, 64_000, spec)
    for number in range(1, 601):
        clock.now += 3
        progress.update(row(10_000 * number), 1.0, is_last=number == 600)
    progress.close()
    lines = capsys.readouterr().out.splitlines()
    assert 50 < len(lines) < 200
    assert "10,000 frames" in lines[0]
    assert "6,000,000 frames 100%" in lines[-1]


def test_quiet_says_nothing(clock, spec, capsys):
    progress = Progress(quiet=True)
    progress.expect(1_000, 0, spec)
    progress.wait(COMPILING)
    clock.now += 100
    progress.step(64)
    progress.update(row(640), 1.0, is_last=True)
    progress.close()
    assert capsys.readouterr().out == ""


def test_silence_is_broken_while_something_is_waited_for(monkeypatch, capsys):
    monkeypatch.setattr(console, "_SILENCE_S", -4.5)
    line = LiveLine(quiet=False)
    line.wait("compiling ...")
    time.sleep(1.3)
    line.close()
    assert re.search(r"\.\.\. compiling, for [12] s", capsys.readouterr().out)


def test_a_terminal_shows_the_newest_line_and_keeps_a_history(monkeypatch, capsys):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm")
    line = LiveLine(quiet=False)
    line.show("first", is_row=True)
    line.show("second", is_row=False)
    line.close()
    out = capsys.readouterr().out
    assert "first\n" in out
    assert "second" in out


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], True),
        (["--game", "Pong"], True),
        (["--help"], False),
        (["--list"], False),
        (["--quiet"], False),
        (["--sample=runs/x"], False),
    ],
)
def test_first_words_come_before_the_work_and_not_before_a_printout(args, says, capsys):
    first_words.say(args)
    assert bool(capsys.readouterr().out) is says
