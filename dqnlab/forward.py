"""A caller's net as a Haiku function of (x, is_training), its inputs and its outputs."""

import inspect
from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from dqnlab.types import PyTree, UserError

_EXAMPLES = 13  # of the batch that shapes are found with; no axis of a net is likely to be as long


def transform(net: Callable[..., Any] | hk.TransformedWithState) -> hk.TransformedWithState:
    """Transform a function of (x) or (x, is_training); other arguments keep their defaults.

    Raises UserError for anything else.
    """
    if isinstance(net, hk.TransformedWithState):
        return net
    if isinstance(net, hk.Transformed):
        raise UserError("the net is hk.transform's result: give the function itself")
    if isinstance(net, hk.Module | type) or not callable(net):
        what = f"the class {net.__name__}" if isinstance(net, type) else f"a {type(net).__name__}"
        raise UserError(f"the net is {what}; it must be a function of (x) that makes its modules")
    flag = _flag(net)
    if flag is None:
        return hk.transform_with_state(lambda x, is_training: net(x))
    if flag.kind is inspect.Parameter.POSITIONAL_ONLY:
        return hk.transform_with_state(lambda x, is_training: net(x, is_training))
    return hk.transform_with_state(lambda x, is_training: net(x, **{flag.name: is_training}))


def _flag(net: Callable[..., Any]) -> inspect.Parameter | None:
    # The argument that says whether the net is trained: by name, or the only one without default.
    parameters = inspect.signature(net).parameters
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = [each for each in parameters.values() if each.kind not in several]
    wrong = UserError(f"the net takes {list(parameters)}; it must be (x) or (x, is_training)")
    if not parameters or (named and named[0].kind is inspect.Parameter.KEYWORD_ONLY):
        raise wrong
    rest = [each for each in named[1:] if each.default is inspect.Parameter.empty]
    flags = [each for each in named[1:] if each.name == "is_training"] or rest
    if len(rest) > 1 or (rest and rest != flags):
        raise wrong
    return flags[0] if flags else None


def inputs(net: hk.TransformedWithState, x: PyTree) -> PyTree:
    """Return shape and type of one example as the net takes it: float32, or whole numbers.

    A net of whole numbers, such as an embedding of tokens, fails for float32; every other net gets
    float32, so that bytes give what floats give.
    """
    floats = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], jnp.float32), x)
    given = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], _wide(a.dtype)), x)
    if floats == given:
        return floats
    try:
        outputs(net, floats)
    except Exception as error:
        try:
            outputs(net, given)
        except Exception:
            raise error from None
        return given
    return floats


def outputs(net: hk.TransformedWithState, one: PyTree) -> Any:
    """Return shapes and types of the outputs for a batch of examples like `one`."""

    def apply(x: PyTree) -> Any:
        key = jax.random.PRNGKey(0)
        return net.apply(*net.init(key, x, True), key, x, False)[0]

    batch = jax.tree.map(lambda a: jax.ShapeDtypeStruct((_EXAMPLES, *a.shape), a.dtype), one)
    shapes = jax.eval_shape(apply, batch)
    for leaf in jax.tree.leaves(shapes):
        if leaf.shape[:1] != (_EXAMPLES,):
            raise UserError(
                f"inputs are {_text(one)}; for {_EXAMPLES} examples the net returns "
                f"{list(leaf.shape)}, whose first axis is not {_EXAMPLES}. "
                "Several inputs go into a tuple or a dict, not into a list"
            )
    return shapes


def check_same(x: PyTree, one: PyTree, name: str) -> None:
    """Raise UserError unless examples `x` are like `one`, which the net has learnt from."""
    found = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), x)
    is_same = str(jax.tree.structure(found)) == str(jax.tree.structure(one)) and all(
        ours.shape == theirs.shape and not (_is_float(ours.dtype) and not _is_float(theirs.dtype))
        for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(one), strict=True)
    )
    if not is_same:
        raise UserError(f"{name}: inputs are {_text(found)}; the net has learnt from {_text(one)}")


def _is_float(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.floating))


def _text(one: PyTree) -> str:
    leaves = jax.tree_util.tree_leaves_with_path(one)
    return ", ".join(
        f"{jax.tree_util.keystr(path)} {leaf.dtype}{['N', *leaf.shape]}".strip().replace("'N'", "N")
        for path, leaf in leaves
    )


def _wide(dtype: Any) -> Any:
    return jnp.int32 if jnp.issubdtype(dtype, jnp.integer) else dtype
