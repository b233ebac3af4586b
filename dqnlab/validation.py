"""Checks of arguments, with one wording of errors."""

import operator
from typing import Any

import numpy as np

from dqnlab.types import UserError

MAX_SEED = 2**32 - 1  # a key of JAX is made of 32 bits


def integer(name: str, value: Any, least: int, most: int | None = None) -> int:
    """Return `value`, a Python or NumPy integer, as an int.

    Raises UserError if it is no integer (True and 3.0 are none) or out of range.
    """
    allowed = f"of at least {least}" if most is None else f"within {least} .. {most}"
    problem = UserError(f"{name} is {value!r}; it must be an integer {allowed}")
    try:
        number = operator.index(value)
    except TypeError:
        raise problem from None
    if isinstance(value, bool | np.bool_) or number < least:
        raise problem
    if most is not None and number > most:
        raise problem
    return number


def seed(value: Any, name: str = "seed", count: int = 1) -> int:
    """Return a seed as an int; `count` of them, one after the other, must be in range."""
    number = integer(name, value, 0)
    if number + count - 1 > MAX_SEED:
        last = f" and the last of {count} is {number + count - 1}" if count > 1 else ""
        raise UserError(
            f"{name} is {number}{last}; seeds are integers within 0 .. {MAX_SEED} (for a larger "
            f"number take its remainder modulo 2**32, {number % 2**32})"
        )
    return number
