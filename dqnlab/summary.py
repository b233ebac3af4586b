"""What a net is made of: each layer's output shape and number of parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import haiku as hk
import jax

from dqnlab.types import PyTree


class Layer(NamedTuple):
    """A module with parameters of its own."""

    name: str
    output: str  # shapes of its first call, e.g. "(32, 128)"
    parameters: int


def layers(net: hk.TransformedWithState, x: PyTree) -> list[Layer]:
    """The layers of a net for a batch like `x`, in the order of their calls; nothing is computed.

    Args:
      net: of a function of (x, is_training).
      x: a batch, as arrays or `jax.ShapeDtypeStruct`s.
    """
    key = jax.random.PRNGKey(0)
    params, state = jax.eval_shape(lambda x: net.init(key, x, True), x)
    outputs: dict[str, str] = {}

    def record(
        method: Callable[..., Any], args: Any, kwargs: Any, context: hk.MethodContext
    ) -> Any:
        output = method(*args, **kwargs)
        if context.method_name == "__call__":
            leaves = jax.tree.leaves(output)
            shapes = ", ".join(str(tuple(leaf.shape)) for leaf in leaves)
            outputs.setdefault(context.module.module_name, shapes)
        return output

    with hk.intercept_methods(record):
        jax.eval_shape(
            lambda params, state, x: net.apply(params, state, key, x, False), params, state, x
        )
    # A module without a call of its own, and parameters outside of modules, have no output here.
    names = [*(name for name in outputs if name in params), *(params.keys() - outputs.keys())]
    sizes = {name: sum(leaf.size for leaf in params[name].values()) for name in names}
    return [Layer(name, outputs.get(name, "-"), sizes[name]) for name in names]


def text(rows: list[Layer], num_state: int = 0) -> str:
    """A table of the layers with the totals, trainable and not (`num_state` numbers of state)."""
    names = [*(row.name for row in rows), "not trainable"]
    width = max(map(len, names))
    wide = max(len(row.output) for row in [*rows, Layer("", "output", 0)])
    lines = [f"{'layer':{width}}  {'output':{wide}}  parameters"]
    lines += [f"{row.name:{width}}  {row.output:{wide}}  {row.parameters:>10,}" for row in rows]
    total = sum(row.parameters for row in rows)
    lines.append(f"{'trainable':{width}}  {'':{wide}}  {total:>10,}")
    if num_state:
        lines.append(f"{'not trainable':{width}}  {'':{wide}}  {num_state:>10,}")
    return "\n".join(lines)
