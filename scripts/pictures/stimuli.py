"""The inputs that units answer to most, beside the real inputs that they answer to most."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from dqnlab.looking import layers, stimulus
from dqnlab.types import Array, UserError
from scripts.pictures.subject import Absent, Subject, as_input

Unit = tuple[str, int]
STARTS, STEPS, OUTPUTS = 4, 300, 4


def units(subject: Subject) -> list[Unit]:
    """Units worth a look: the first outputs, and of each layer that which varies most."""
    spread = subject.run(
        lambda forward, x: _last_axis(layers.layers(forward, as_input(x)), subject)
    )
    order = [name for name in subject.layer_names() if name in spread]
    hidden = order[: -1 if subject.names else None]  # the last layer is the output
    most = [(name, int(np.std(np.float32(spread[name]), axis=0).argmax())) for name in hidden]
    outputs = [("output", i) for i in range(min(OUTPUTS, len(subject.names or ())))]
    return most + outputs


def draw(subject: Subject, chosen: list[Unit], seed: int) -> Figure:
    """A row per unit: each channel of the optimum, and of the real input with the highest value."""
    images = np.asarray(as_input(subject.images()))
    channels = images.shape[-1]
    columns = 2 * channels
    figure = Figure(
        figsize=(max(7.0, 1.0 + 1.6 * columns), 0.8 + 2.0 * len(chosen)), layout="constrained"
    )
    grid = figure.subplots(len(chosen), columns, squeeze=False)
    for axes, unit in zip(grid, chosen, strict=True):
        best, value, real = _optimum(subject, images, unit, seed)
        shown = (best, images[real.argmax()])
        for column in range(columns):
            image = shown[column // channels][..., column % channels]
            axes[column].imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes[column].set_xticks([])
            axes[column].set_yticks([])
        name = _unit_name(subject, unit)
        axes[0].set_ylabel(name, fontsize=9)
        frames = ", oldest frame first" if channels > 1 else ""
        axes[0].set_title(f"optimum: {value:.3g}{frames}", fontsize=10, loc="left")
        axes[channels].set_title(
            f"highest of {len(real)} real: {real.max():.3g}", fontsize=10, loc="left"
        )
    figure.suptitle(
        f"{subject.title}: optimal stimuli within the distance from the mean input that real "
        "inputs have",
        fontsize=11,
        wrap=True,
    )
    return figure


def _optimum(
    subject: Subject, images: np.ndarray, unit: Unit, seed: int
) -> tuple[np.ndarray, float, np.ndarray]:
    """The best input [H, W, C], its value, and the value of each real input."""
    real = np.asarray(subject.run(lambda f, x: value_of(f, subject, unit)(as_input(x))), np.float32)
    ball = stimulus.ball_of(jnp.asarray(images))
    noise = jax.random.normal(jax.random.PRNGKey(seed), (STARTS, *images.shape[1:]))
    start = jnp.broadcast_to(ball.centre, noise.shape) + 0.05 * noise
    context = jax.tree.map(lambda c: np.repeat(c[real.argmax()][None], STARTS, 0), subject.context)

    def climb(forward: Any, start: Array) -> tuple[Array, Array]:
        value = value_of(forward, subject, unit)
        return stimulus.maximize(value, start, *ball, steps=STEPS)

    best, values = subject.run(climb, np.asarray(start), context)
    return best[values.argmax()], float(values.max()), real


def value_of(forward: Any, subject: Subject, unit: Unit) -> Any:
    """x[B, ...] -> float32[B]: the unit's output before its nonlinearity; of a map, its centre."""
    name, index = unit

    def value(x: Array) -> Array:
        answer = forward(x) if name == "output" else layers.layers(forward, x)[name].output
        answer = _centre(answer, len(x), name)
        if index >= answer.shape[-1]:
            raise UserError(f"{name} has units 0 to {answer.shape[-1] - 1}; there is no {index}")
        return answer[:, index].astype(jnp.float32)

    if name == "output" and subject.names is None:
        raise Absent("its outputs are no row of named numbers")
    return value


def _centre(answer: Array, size: int, name: str) -> Array:
    """[B, ..., U] -> [B, U]."""
    if len(answer) != size:
        raise Absent(f"{name} answers {list(answer.shape)} to {size} inputs, not one row for each")
    while answer.ndim > 2:
        answer = answer[:, answer.shape[1] // 2]
    return answer


def _last_axis(found: dict[str, layers.Layer], subject: Subject) -> dict[str, Array]:
    owners = layers.with_weights(found, subject.params)
    size = len(next(iter(owners.values())).output)
    return {
        name: _centre(layer.output, size, name)
        for name, layer in owners.items()
        if len(layer.output) == size
    }


def _unit_name(subject: Subject, unit: Unit) -> str:
    name, index = unit
    if name == "output" and subject.names is not None:
        return f"{subject.output} of {subject.names[index]}"
    return f"{name.split('/')[-1]}: {index}"
