"""The command line: what all commands parse alike, and a look at it before it is parsed."""

import decimal
from typing import Any, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from dqnlab import validation

T = TypeVar("T")

_TYPES = ConstructorRegistry()


def cli(options: type[T], args: list[str] | None = None, **named: Any) -> T:
    """Parse `args` (by default the command line) as `tyro.cli` does, and check the seed.

    Integers may be written as 1e6.
    """
    parsed: T = tyro.cli(options, args=args, registry=_TYPES, **named)
    if hasattr(parsed, "seed"):
        validation.seed(parsed.seed, "--seed", getattr(parsed, "seeds", 1))
    return parsed


def integer(text: str) -> int:
    """Return the integer that a text such as 1000000, 1_000_000, 1e6 or 2.5e5 stands for.

    Raises ValueError for other texts, 1.5 and 1.0 among them.
    """
    try:
        number = decimal.Decimal(text if "e" in text.lower() else int(text))
        if abs(number) < 2**63 and number == number.to_integral_value():
            return int(number)
    except (ValueError, decimal.InvalidOperation):
        pass
    raise ValueError(f"{text!r} is not an integer below 2**63")


@_TYPES.primitive_rule
def _integers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
    if info.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda texts: integer(texts[0]),
        is_instance=lambda value: isinstance(value, int) and not isinstance(value, bool),
        str_from_instance=lambda value: [str(value)],
    )


def value(args: list[str], flag: str) -> str | None:
    """Return what follows `flag`, written `--x y` or `--x=y`; None if it is not in `args`."""
    for index, this in enumerate(args):
        if this == flag:
            return args[index + 1] if index + 1 < len(args) else ""
        if this.startswith(flag + "="):
            return this.removeprefix(flag + "=")
    return None


def without(args: list[str], flag: str) -> list[str]:
    """Return the command line without `flag` and its value."""
    rest, is_value = [], False
    for this in args:
        if not is_value and not this.startswith(flag + "=") and this != flag:
            rest.append(this)
        is_value = this == flag
    return rest
