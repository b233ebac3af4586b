"""When the schedules of a run begin and end.

A schedule's length is a number of agent steps (an int) or a share of the run (a float, 0.0 to 1.0).
Shares become agent steps once, when a run starts, and are saved so: a run that is resumed with more
frames keeps the schedules that it began with.
"""

import dataclasses
from typing import Any, NamedTuple

from agents.settings import Settings, whole

LENGTHS = (
    "epsilon_decay_steps",
    "epsilon_off_steps",
    "importance_exponent_steps",
    "learning_rate_warmup_steps",
    "learning_rate_decay_starts",
    "learning_rate_decay_steps",
)


class Schedule(NamedTuple):
    """A value that changes linearly during a run."""

    name: str
    start: float
    end: float
    begins: int  # agent steps
    ends: int


def in_steps(settings: Settings, run_steps: int) -> Settings:
    """Return the settings with every length in agent steps, for a run of so many of them."""
    lengths = {name: getattr(settings, name) for name in LENGTHS}
    shares = {name: value for name, value in lengths.items() if isinstance(value, float)}
    fixed: dict[str, Any] = {
        name: round(value * run_steps) if value <= 1 else int(value)  # 1e6 is a float, too
        for name, value in shares.items()
    }
    return dataclasses.replace(settings, **fixed)


def is_length(value: Any) -> bool:
    """Whether `value` is a whole number of agent steps, or a share of a run."""
    if isinstance(value, float):
        return 0 <= value <= 1 or (value > 1 and value.is_integer())
    return isinstance(value, int) and value >= 0


def of(settings: Settings) -> list[Schedule]:
    """List what changes during a run with these settings, whose lengths are in agent steps."""
    s = settings
    learn = s.learning_starts
    found = []
    if s.epsilon_initial != s.epsilon_final:
        ends = learn + whole(s.epsilon_decay_steps)
        found.append(Schedule("epsilon", s.epsilon_initial, s.epsilon_final, learn, ends))
    if s.epsilon_off_steps is not None:
        off = whole(s.epsilon_off_steps)
        found.append(Schedule("epsilon", s.epsilon_final, 0.0, off, off))
    rate, final = s.learning_rate, s.learning_rate_final
    if s.learning_rate_warmup_steps:
        ends = learn + whole(s.learning_rate_warmup_steps)
        found.append(Schedule("learning rate", 0.0, rate, learn, ends))
    if final is not None:
        begins = whole(s.learning_rate_decay_starts)
        ends = begins + whole(s.learning_rate_decay_steps)
        found.append(Schedule("learning rate", rate, final, begins, ends))
    start, end = s.importance_exponent, s.importance_exponent_final
    if s.replay.startswith("prioritized") and start != end:
        ends = learn + whole(s.importance_exponent_steps)
        found.append(Schedule("importance exponent", start, end, learn, ends))
    return found


def describe(settings: Settings, frame_skip: int) -> str:
    """Return one line that says when each schedule ends, in frames."""
    told = [
        f"{each.name} {each.start:g} to {each.end:g} by {each.ends * frame_skip:,}"
        for each in of(settings)
    ]
    return "; ".join(told) or "none"


def warnings(settings: Settings, run_steps: int, frame_skip: int) -> list[str]:
    """Return a line for each schedule that a run of so many agent steps does not finish."""
    run_frames = run_steps * frame_skip
    lines = []
    if settings.learning_starts >= run_steps:
        frames = settings.learning_starts * frame_skip
        lines.append(
            f"learning starts after {frames:,} frames, the run ends after {run_frames:,}: it will "
            "learn nothing; set --learning-starts or --frames"
        )
    lines += [
        f"the schedule of {each.name} ({each.start:g} to {each.end:g}) ends after "
        f"{each.ends * frame_skip:,} frames, the run after {run_frames:,}"
        for each in of(settings)
        if each.ends > run_steps
    ]
    return lines
