"""Frozen dataclasses from JSON: every key known, every value of its field's type."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from dqnlab.types import UserError

T = TypeVar("T")


def load(cls: type[T], values: Any, where: str) -> T:
    """A dataclass from the JSON of its `dataclasses.asdict`; lists become tuples again.

    Args:
      cls: its fields are numbers, strings, paths, `Literal`s, tuples, dicts, other such
        dataclasses, or unions of them.
      values: a JSON object.
      where: the words that errors begin with.

    Raises:
      UserError: a key is unknown or missing, or a value is not what its field can hold.
    """
    hints = typing.get_type_hints(cls)
    fields = {field.name: hints[field.name] for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return cls(**check(values, fields, where))


def check(values: Any, fields: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`values`, converted, where they have exactly the keys and types of `fields`."""
    if not isinstance(values, dict):
        raise UserError(f"{where}: {values!r} is no JSON object")
    for key in values.keys() - fields.keys():
        near = difflib.get_close_matches(key, fields, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(fields)}"
        raise UserError(f"{where}: unknown key {key!r}; {hint}")
    if missing := [key for key in fields if key not in values]:
        raise UserError(f"{where}: {', '.join(missing)} missing")
    return {key: _convert(values[key], fields[key], f"{where}: {key}") for key in fields}


def _convert(value: Any, hint: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        if value in arguments:
            return value
    elif origin in (typing.Union, types.UnionType):
        for each in arguments:
            try:
                return _convert(value, each, where)
            except UserError:
                continue
    elif origin is tuple and isinstance(value, list):
        if len(arguments) == 2 and arguments[1] is ...:
            arguments = (arguments[0],) * len(value)
        if len(arguments) == len(value):
            pairs = zip(value, arguments, strict=True)
            return tuple(_convert(each, kind, where) for each, kind in pairs)
    elif dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return load(hint, value, where)
    elif hint is Path and isinstance(value, str):
        return Path(value)
    elif hint is float and type(value) is int:
        return float(value)
    elif hint is Any or type(value) is (origin or hint):  # `type`, as True is an instance of int
        return value
    allowed = getattr(hint, "__name__", None) if origin is None else None
    raise UserError(f"{where} is {value!r}; it must be {allowed or hint}")
