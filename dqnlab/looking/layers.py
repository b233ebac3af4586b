"""What every layer of a net takes and gives, without a change to the net."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import haiku as hk
import jax
from jax.extend import core

from dqnlab.types import Array, Params


class Layer(NamedTuple):
    """One call of one module."""

    input: Array | None  # its first argument, where that is an array
    output: Array


def layers(forward: Callable[[Any], Any], x: Any) -> dict[str, Layer]:
    """Run `forward(x)` and keep the arrays that pass each Haiku module, in the order of the calls.

    Names are Haiku's ("nature_torso/conv2_d_1"); a module that is called again has "#2" and so on
    after it. Outputs are those of the module: of a convolution, before the ReLU that follows it;
    of a module that gives a tuple, the first array. Differentiable and jittable. Modules inside a
    loop over time (`lax.scan`) are left out: they have no one output. A module without `__call__`
    passes data by its other methods (an autoencoder's `encode` and `decode`): those count as calls.
    """
    found: dict[str, Layer] = {}
    calls: dict[str, int] = {}
    outside = core.get_opaque_trace_state()

    def keep(following: Any, args: Any, kwargs: Any, context: Any) -> Any:
        result = following(*args, **kwargs)
        output = _first_array(result)
        if not _is_layer_call(context) or output is None:
            return result
        if core.get_opaque_trace_state() != outside:
            return result
        name = context.module.module_name
        calls[name] = calls.get(name, 0) + 1
        name = name if calls[name] == 1 else f"{name}#{calls[name]}"
        found[name] = Layer(_first_array(args[:1]), output)
        return result

    with hk.intercept_methods(keep):
        forward(x)
    return found


def with_weights(found: Mapping[str, Layer], params: Params) -> dict[str, Layer]:
    """The layers that own parameters: not the nets and blocks that only hold others."""
    return {name: layer for name, layer in found.items() if name.partition("#")[0] in params}


def narrowest(found: Mapping[str, Layer], params: Params, batch_size: int) -> Array:
    """The net's own description of each example: float[B, F], its smallest hidden layer.

    Among what the layers take and what blocks give: the last hidden layer of a classifier or a
    Q-network (with its nonlinearity), the code of an autoencoder. The input and the output of the
    whole net do not count. ValueError where the net has no hidden layer.
    """
    owners = with_weights(found, params)
    blocks = [layer.output for name, layer in found.items() if name not in owners]
    taken = [layer.input for layer in owners.values()]
    hidden = [x for x in (*taken[1:], *blocks[:-1]) if x is not None and len(x) == batch_size]
    if not hidden:
        raise ValueError("the net has no hidden layer with one row per example")
    return min(reversed(hidden), key=lambda x: x.size).reshape(batch_size, -1)


def _is_layer_call(context: Any) -> bool:
    if context.method_name == "__call__":
        return True
    return not callable(context.module) and not context.method_name.startswith("_")


def _first_array(value: Any) -> Array | None:
    while isinstance(value, tuple) and value:
        value = value[0]
    return value if isinstance(value, jax.Array) and value.ndim else None
