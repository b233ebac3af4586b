"""Counting the floating-point operations of a traced program."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np


def count_flop(jaxpr: Any) -> float:
    """Floating-point operations of the matrix products and convolutions in a program.

    Of the branches of a `cond` the cheapest counts: they are ways to compute the same thing on
    different platforms (dqnlab.layers.Conv2D), and the others compute more than has to be. Those
    that call a kernel (dqnlab.native) do not show what it computes.
    """
    total = 0.0
    for equation in jaxpr.eqns:
        kind, params = equation.primitive.name, equation.params
        inside = [count_flop(inner) for inner in _programs(params.values())]
        if kind == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total += 2 * equation.outvars[0].aval.size * math.prod(shape[i] for i in contracted)
        elif kind == "conv_general_dilated":
            total += _convolution_flop(equation)
        elif kind == "cond":
            branches = zip(params["branches"], inside, strict=True)
            shown = [flop for branch, flop in branches if not _calls_kernel(branch.jaxpr)]
            total += min(shown or inside)
        else:
            total += sum(inside) * (params["length"] if kind == "scan" else 1)
    return total


def _calls_kernel(jaxpr: Any) -> bool:
    return any(
        equation.primitive.name == "ffi_call"
        or any(_calls_kernel(inner) for inner in _programs(equation.params.values()))
        for equation in jaxpr.eqns
    )


def _programs(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, tuple | list):
            yield from _programs(value)
        elif hasattr(value, "eqns"):
            yield getattr(value, "jaxpr", value)


def _convolution_flop(equation: Any) -> float:
    params = equation.params
    numbers = params["dimension_numbers"]
    image, kernel, out = (v.aval.shape for v in (*equation.invars, *equation.outvars))
    batch, channels, *sizes = (out[i] for i in numbers.out_spec)
    total: float = 2.0 * batch * channels * kernel[numbers.rhs_spec[1]]
    # A gradient's dilation and padding fill in zeros, which do not count: along each axis, the
    # pairs of an output position and a tap that meet an element of the image.
    for axis, (before, _) in enumerate(params["padding"]):
        spread = params["lhs_dilation"][axis]
        position = np.arange(sizes[axis]) * params["window_strides"][axis]
        tap = np.arange(kernel[numbers.rhs_spec[axis + 2]]) * params["rhs_dilation"][axis]
        met = position[:, None] + tap[None, :] - before
        last = (image[numbers.lhs_spec[axis + 2]] - 1) * spread
        total *= float(np.sum((met >= 0) & (met <= last) & (met % spread == 0)))
    return total
