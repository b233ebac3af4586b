"""Frozen dataclasses from JSON: every key known, every value of its field's type."""

import dataclasses
import difflib
import functools
import logging
import textwrap
import types
import typing
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, TypeVar

from dqnlab.types import UserError

T = TypeVar("T")

_LINE = 150  # characters of a note

_log = logging.getLogger(__name__)


def load(cls: type[T], values: Any, where: str) -> T:
    """A dataclass from the JSON of its `dataclasses.asdict`; lists become tuples again.

    A key that is missing was written before there was such a field. It gets the field's default,
    and a line in the log says so: a new field's default must mean what was done without it.

    Args:
      cls: its fields are numbers, strings, paths, `Literal`s, tuples, dicts, other such
        dataclasses, or unions of them.
      values: a JSON object.
      where: the words that errors begin with.

    Raises:
      UserError: a key is unknown, or missing where its field has no default, or a value is not
        what its field can hold.
    """
    hints = typing.get_type_hints(cls)
    fields = {field.name: hints[field.name] for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    defaults = {field.name for field in dataclasses.fields(cls) if _has_default(field)}  # type: ignore[arg-type]
    loaded = cls(**check(values, fields, where, defaults))
    if younger := [name for name in fields if name not in values]:
        meant = ", ".join(f"{name} {getattr(loaded, name)!r}" for name in younger)
        meant = textwrap.shorten(meant, _LINE, placeholder=f" ... ({len(younger)} in all)")
        _say(f"note: {where} is older than some settings, which mean there: {meant}")
    return loaded


def check(
    values: Any, fields: Mapping[str, Any], where: str, optional: Container[str] = ()
) -> dict[str, Any]:
    """`values`, converted, where they have the types and keys of `fields`, all but `optional`."""
    if not isinstance(values, dict):
        raise UserError(f"{where}: {values!r} is no JSON object")
    for key in values.keys() - fields.keys():
        near = difflib.get_close_matches(key, fields, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(fields)}"
        raise UserError(f"{where}: unknown key {key!r}; {hint}")
    if missing := [key for key in fields if key not in values and key not in optional]:
        raise UserError(f"{where}: {', '.join(missing)} missing")
    return {
        key: _convert(values[key], fields[key], f"{where}: {key}")
        for key in fields
        if key in values
    }


@functools.cache  # once, however often the file is read
def _say(line: str) -> None:
    _log.warning(line)


def _has_default(field: "dataclasses.Field[Any]") -> bool:
    missing = dataclasses.MISSING
    return field.default is not missing or field.default_factory is not missing


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
