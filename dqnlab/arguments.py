"""The arguments of `Model` and of the estimators, checked before any work."""

import math
import numbers
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
import optax

from dqnlab import objective, optim, schedules
from dqnlab.types import UserError, choose


def check(loss: Any, optimizer: Any, learning_rate: Any, l1: Any, l2: Any, seed: Any) -> None:
    """Raise UserError for what `Model` cannot be made with."""
    if isinstance(loss, str):
        choose(objective.CRITERIA, loss, "loss")
    elif not callable(loss):
        raise UserError(f"loss is {loss!r}; it must be a name or a criterion (outputs, batch)")
    if not isinstance(optimizer, str | optax.GradientTransformation):
        raise UserError(f"optimizer is {optimizer!r}; it must be a name or an optax transformation")
    if learning_rate is not None:
        if not isinstance(optimizer, str):
            raise UserError(
                "learning_rate is for an optimizer given by name: optax's have their own"
            )
        if not callable(learning_rate):
            check_number("learning_rate", learning_rate, is_above=True)
    check_number("l1", l1)
    check_number("l2", l2)
    check_integer("seed", seed, least=0)
    if seed >= 2**32:
        raise UserError(f"seed is {seed}; it must be below 2**32")


def check_fit(
    epochs: Any,
    batch_size: Any,
    validation_split: Any,
    validation_data: Any,
    patience: Any,
    callbacks: Any,
) -> None:
    """Raise UserError for what `Model.fit` cannot run with."""
    check_integer("epochs", epochs)
    check_integer("batch_size", batch_size)
    check_number("validation_split", validation_split)
    if validation_split >= 1:
        raise UserError(f"validation_split is {validation_split}; it must be a share below 1")
    if validation_data is not None:
        if validation_split:
            raise UserError("validation_split and validation_data are given; one of them is needed")
        if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
            raise UserError("validation_data must be (x, y) or (x, y, sample_weight)")
    if patience is not None:
        check_integer("patience", patience)
        if validation_data is None and not validation_split:
            raise UserError(
                f"patience is {patience}; it needs validation_split or validation_data to watch"
            )
    if not isinstance(callbacks, Iterable):
        raise UserError(f"callbacks is {callbacks!r}; it must be a list of functions")


def check_estimator(parameters: dict[str, Any]) -> None:
    """Raise UserError for parameters that `Classifier` and `Regressor` cannot learn with."""
    hidden_units(parameters["hidden"])
    for name in ("epochs", "batch_size", "n_iter_no_change"):
        check_integer(name, parameters[name])
    check_number("learning_rate", parameters["learning_rate"], is_above=True)
    check_number("weight_decay", parameters["weight_decay"])
    for name, table, what in (
        ("schedule", schedules.SCHEDULES, "schedule"),
        ("optimizer", dict.fromkeys(optim.NAMES), "optimizer"),
    ):
        if not isinstance(parameters[name], str):
            raise UserError(f"{name} is {parameters[name]!r}; it must be one of {', '.join(table)}")
        choose(table, parameters[name], what)
    check_number("dropout", parameters["dropout"])
    check_number("validation_fraction", parameters["validation_fraction"], is_above=True)
    for name in ("dropout", "validation_fraction"):
        if parameters[name] >= 1:
            raise UserError(f"{name} is {parameters[name]!r}; it must be a share below 1")
    for name in ("early_stopping", "warm_start"):
        if not isinstance(parameters[name], bool | np.bool_):
            raise UserError(f"{name} is {parameters[name]!r}; it must be True or False")


def hidden_units(hidden: Any) -> tuple[int, ...]:
    """Return the units of each hidden layer: from a number, or a list or tuple of numbers."""
    sizes = hidden if isinstance(hidden, list | tuple | np.ndarray) else [hidden]
    for size in sizes:
        try:
            check_integer("hidden", size)
        except UserError:
            raise UserError(
                f"hidden is {hidden!r}; it must be the units of a layer, or a tuple of them"
            ) from None
    return tuple(int(size) for size in sizes)


def check_integer(name: str, value: Any, least: int = 1) -> None:
    """Raise UserError unless the value is a whole number, Python's or NumPy's, of at least that."""
    try:
        whole = operator.index(value)
    except TypeError:
        whole = None
    if whole is None or isinstance(value, bool) or whole < least:
        raise UserError(f"{name} is {value!r}; it must be a whole number of at least {least}")


def check_number(name: str, value: Any, is_above: bool = False) -> None:
    """Raise UserError unless the value is a finite number of at least 0, or above it."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value < 0 or (is_above and value == 0):
        limit = "above 0" if is_above else "0 or more"
        raise UserError(f"{name} is {value!r}; it must be a number {limit}")
