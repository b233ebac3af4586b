"""What viewers may change, and how a message of theirs is checked."""

import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from dqnlab.types import UserError

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 0.0)  # times the console's 60 frames a second; 0: no limit
_MAX_MESSAGE = 500


class Controls(NamedTuple):
    """The state of the page's controls: one for all viewers."""

    paused: bool
    speed: float
    epsilon: float
    sticky_actions: float | None  # None where there is no emulator
    checkpoint: str
    heat: bool  # whether saliency is computed
    human: bool  # a person plays
    action: int  # that the person holds


class Command(NamedTuple):
    """A change of a control, or `step` or `new_game`, whose value means nothing."""

    name: str
    value: Any


def parse(text: str, info: dict[str, Any]) -> Command:
    """A viewer's message, {"name": value}. UserError where it is none, naming what is allowed."""
    num_actions, checkpoints = len(info["actions"]), info["checkpoints"]
    checks: dict[str, tuple[Callable[[Any], bool], str]] = {
        "paused": (_is_bool, "true or false"),
        "heat": (_is_bool, "true or false"),
        "human": (_is_bool, "true or false"),
        "step": (_is_bool, "true"),
        "new_game": (_is_bool, "true"),
        "speed": (lambda x: _is_number(x) and x in SPEEDS, f"one of {SPEEDS}"),
        "epsilon": (_is_share, "within 0 .. 1"),
        "checkpoint": (
            lambda x: type(x) is str and x in checkpoints,
            f"one of {', '.join(checkpoints)}",
        ),
        "action": (
            lambda x: type(x) is int and 0 <= x < num_actions,
            f"an integer within 0 .. {num_actions - 1}",
        ),
    }
    if info["has_sticky"]:
        checks["sticky_actions"] = (_is_share, "within 0 .. 1")
    try:
        message = json.loads(text[:_MAX_MESSAGE])
    except (ValueError, RecursionError):
        raise UserError("the message is no JSON") from None
    if not isinstance(message, dict) or len(message) != 1 or not set(message) <= set(checks):
        raise UserError(f"the message must be one of {', '.join(checks)} with a value")
    ((name, value),) = message.items()
    is_allowed, allowed = checks[name]
    if not is_allowed(value):
        raise UserError(f"{name} must be {allowed}")
    return Command(name, value)


def _is_bool(x: Any) -> bool:
    return isinstance(x, bool)


def _is_number(x: Any) -> bool:
    return type(x) in (int, float) and math.isfinite(x)


def _is_share(x: Any) -> bool:
    return _is_number(x) and 0 <= x <= 1
