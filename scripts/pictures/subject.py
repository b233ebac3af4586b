"""What the pictures are made of: a trained net with inputs that it met, agent and task alike."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from dqnlab import batches
from dqnlab.looking import layers, saliency
from dqnlab.types import Array, Params, PyTree, UserError
from envs import names

BATCH = 64


class Absent(UserError):
    """A picture that this net cannot have."""


class Subject(NamedTuple):
    """A trained net, and N inputs of it."""

    title: str  # which net, after how much training
    params: Params
    forward: Callable[[Params, Any, PyTree], PyTree]  # (params, x, context) -> outputs; no noise
    x: PyTree  # [N, ...]: frames of the agent's own play, or the test part
    context: PyTree  # [N, ...]: the recurrent state before each input; () without one
    output: str  # what a number of the output is: "Q-value", "logit", "output"
    names: tuple[str, ...] | None  # of O outputs [N, O]; None for outputs of other shapes
    labels: np.ndarray | None  # int32[N]: the true class
    moments: np.ndarray | None  # int[N, 2]: game and agent step
    vocabulary: dict[str, str]  # of source and target, for nets that translate

    def run(self, function: Callable[..., Any], x: Any = None, context: Any = None) -> Any:
        """`function(forward_of_x, x)` over all inputs (or these), jitted, in batches.

        The weights are arguments of the compiled program; as constants they would be folded.
        """
        if x is None:
            x, context = self.x, self.context
        forward = self.forward

        @jax.jit
        def jitted(params: Params, inputs: Any, context: PyTree) -> Any:
            size = len(jax.tree.leaves(inputs)[0])

            def of(x: Any) -> Any:  # of these inputs, or of several variants of each
                if len(jax.tree.leaves(x)[0]) == size:
                    return forward(params, x, context)
                variants = jax.tree.map(lambda each: each.reshape(-1, size, *each.shape[1:]), x)
                # The same noise for each variant, where the net draws any (iqn).
                outputs = jax.vmap(lambda each: forward(params, each, context))(variants)
                return jax.tree.map(lambda y: y.reshape(-1, *y.shape[2:]), outputs)

            return function(of, inputs)

        def each(batch: tuple[Any, PyTree]) -> Any:
            return jitted(self.params, *batch)

        return batches.map_batches(each, (x, context), BATCH)

    def one(self, index: int) -> tuple[Any, PyTree]:
        """Input number `index` and its context, as a batch of one."""
        return batches.take((self.x, self.context), np.array([index]))

    def outputs(self) -> np.ndarray:
        """float32[N, O]. Absent where the outputs are no row of numbers for each input."""
        if self.names is None:
            raise Absent("its outputs are no row of named numbers")
        return np.asarray(self.run(lambda forward, x: forward(as_input(x))), np.float32)

    def features(self) -> np.ndarray:
        """float32[N, F]: the narrowest hidden layer (dqnlab/looking/layers.py)."""

        def hidden(forward: Any, x: Any) -> Array:
            found = layers.layers(forward, as_input(x))
            return layers.narrowest(found, self.params, len(jax.tree.leaves(x)[0]))

        try:
            return np.asarray(self.run(hidden), np.float32)
        except ValueError as error:
            raise Absent(str(error)) from error

    def images(self) -> np.ndarray:
        """The inputs, where they are images with values in 0..1 or bytes.

        [N, H, W, C], or [N, H, W, C, K] for stacks of K frames in C colours.
        """
        x = self.x
        if not isinstance(x, np.ndarray) or x.ndim not in (4, 5):
            raise Absent("its inputs are no images")
        if x.dtype != np.uint8 and not (x.min() >= 0 and x.max() <= 1):
            raise Absent(f"its inputs lie in {x.min():.3g}..{x.max():.3g}, outside 0..1")
        return x

    def layer_names(self) -> list[str]:
        """Layers with weights, in the order in which the input passes them."""
        x, context = self.one(0)
        names: list[str] = []

        def look() -> None:
            found = layers.layers(lambda x: self.forward(self.params, x, context), as_input(x))
            names.extend(layers.with_weights(found, self.params))

        jax.eval_shape(look)  # traced, not computed; what jax itself returns is sorted by name
        return names


def as_input(x: Any) -> Any:
    """Bytes as float 0..1, in whatever structure the inputs have; tokens stay what they are."""
    return jax.tree.map(lambda each: saliency.as_float(each), x)


def find_layer(subject: Subject, name: str) -> str:
    """The layer that a user means by its name or the end of it; UserError where there is none."""
    known = subject.layer_names()
    ends = [each for each in known if each == name or each.endswith(f"/{name}")]
    if not ends:
        raise names.unknown("layer", name, ["output", *known])
    return ends[0]


def find_unit(subject: Subject, text: str) -> tuple[str, int]:
    """The layer and number of a unit given as LAYER:INDEX, or as output:NAME."""
    layer, colon, unit = text.rpartition(":")
    if not colon or not layer:
        raise UserError(f"--unit is {text!r}; it must be LAYER:INDEX, e.g. output:0")
    if layer == "output" and subject.names and unit in subject.names:
        return layer, subject.names.index(unit)
    if layer != "output":
        layer = find_layer(subject, layer)
    if not unit.isdigit():
        raise UserError(f"--unit is {text!r}; {unit!r} is no number of a unit of {layer}")
    return layer, int(unit)


def picture(image: np.ndarray) -> np.ndarray:
    """What to show of one input [H, W, C]: colours as they are, of stacked frames the newest.

    Of stacks [H, W, C, K] it is the newest frame, in colour where C is 3.
    """
    newest = image[..., -1] if image.ndim == 4 else image
    return np.asarray(newest if newest.shape[-1] == 3 else newest[..., -1])


def frames(image: np.ndarray) -> list[np.ndarray]:
    """Every picture in one input, oldest first: colours of a stack [H, W, 3, K], else channels."""
    if image.ndim == 4 and image.shape[2] == 3:
        return list(np.moveaxis(image, -1, 0))
    return list(np.moveaxis(image.reshape(*image.shape[:2], -1), -1, 0))


def where(subject: Subject, index: int) -> str:
    """Which input this is, for a title."""
    if subject.moments is not None:
        game, step = subject.moments[index]
        return f"game {game}, step {step}"
    if subject.labels is not None and subject.names is not None:
        return f"{subject.names[subject.labels[index]]} (no. {index})"
    return f"no. {index}"
