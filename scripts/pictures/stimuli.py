"""The inputs that units answer to most, beside the real inputs that they answer to most."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from agents import networks
from dqnlab.looking import layers, stimulus
from dqnlab.types import Array, UserError
from scripts.pictures.subject import Absent, Subject, as_input, frames

Unit = tuple[str, int]  # layer, or "output", and number
STARTS, STEPS, OUTPUTS = 2, 150, 4


class Optimum(NamedTuple):
    """What a unit answers to most."""

    image: np.ndarray  # [H, W, C], found by gradient ascent
    value: float
    real: np.ndarray  # [H, W, C]: of the real inputs
    real_value: float


def units(subject: Subject) -> list[Unit]:
    """Units worth a look: of each hidden layer that which varies most, and the first outputs."""
    found = []
    for name in subject.layer_names()[: -1 if subject.names else None]:  # the last is the output
        try:
            found.append((name, int(_answers(subject, name).std(axis=0).argmax())))
        except Absent:  # no row for each input
            continue
    return found + [("output", i) for i in range(min(OUTPUTS, len(subject.names or ())))]


def draw(subject: Subject, chosen: list[Unit], seed: int, smooth: float) -> Figure:
    """A row per unit: each channel of the optimum, and of the real input with the highest value.

    `smooth` is the sigma in pixels of a blur of the gradient: stimuli that are easier to read.
    """
    images = np.asarray(as_input(subject.images()))
    shape = images.shape[1:]
    images = networks.fold(images)
    channels = len(frames(np.zeros(shape)))
    size = (max(9.0, 1.0 + 3.2 * channels), 0.8 + 2.0 * len(chosen))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(chosen), 2 * channels, squeeze=False)
    optima = {
        name: _optima(subject, images, name, [i for n, i in chosen if n == name], seed, smooth)
        for name in dict.fromkeys(name for name, _ in chosen)
    }
    for axes, (name, index) in zip(grid, chosen, strict=True):
        found = optima[name][index]
        shown = [*frames(found.image.reshape(shape)), *frames(found.real.reshape(shape))]
        for each, image in zip(axes, shown, strict=True):
            each.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            each.set_xticks([])
            each.set_yticks([])
        order = ", oldest frame first" if channels > 1 else ""
        axes[0].set_ylabel(_unit_name(subject, name, index), fontsize=9)
        axes[0].set_title(f"optimum: {found.value:.3g}{order}", fontsize=10, loc="left")
        text = f"highest of {len(images)} real: {found.real_value:.3g}"
        axes[channels].set_title(text, fontsize=10, loc="left")
    figure.suptitle(
        f"{subject.title}: optimal stimuli within the distance from the mean input that real "
        "inputs have",
        fontsize=11,
        wrap=True,
    )
    return figure


def _optima(
    subject: Subject, images: np.ndarray, name: str, wanted: list[int], seed: int, smooth: float
) -> dict[int, Optimum]:
    """Of several units of one layer at once, from several starts each."""
    real = _answers(subject, name)
    for index in wanted:
        if not 0 <= index < real.shape[1]:
            raise UserError(f"{name} has units 0 to {real.shape[1] - 1}; there is no {index}")
    best_real = real[:, wanted].argmax(axis=0)
    ball = stimulus.ball_of(jnp.asarray(images))
    noise = jax.random.normal(jax.random.PRNGKey(seed), (STARTS, *images.shape[1:]))
    start = jnp.broadcast_to(ball.centre, noise.shape) + 0.05 * noise
    starts = np.concatenate([np.asarray(start)] * len(wanted))
    indices = np.repeat(np.array(wanted, np.int32), STARTS)
    context = jax.tree.map(lambda c: c[np.repeat(best_real, STARTS)], subject.context)

    def climb(forward: Any, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        start, index = inputs

        def value(x: Array) -> Array:
            return jnp.take_along_axis(_answer(forward, x, name), index[:, None], axis=1)[:, 0]

        return stimulus.maximize(value, start, *ball, steps=STEPS, smooth=smooth)

    found, values = subject.run(climb, (starts, indices), context)
    optima = {}
    for row, index in enumerate(wanted):
        top = STARTS * row + int(values[STARTS * row : STARTS * (row + 1)].argmax())
        place = best_real[row]
        optima[index] = Optimum(
            found[top], float(values[top]), images[place], float(real[place, index])
        )
    return optima


def _answers(subject: Subject, name: str) -> np.ndarray:
    """float32[N, U]: what a layer answers to the real inputs."""
    if name == "output" and subject.names is None:
        raise Absent("its outputs are no row of named numbers")
    answers = subject.run(lambda forward, x: _answer(forward, as_input(x), name))
    return np.asarray(answers, np.float32)


def _answer(forward: Any, x: Any, name: str) -> Array:
    """float32[B, U], before the nonlinearity; of a map, its centre."""
    answer = forward(x) if name == "output" else layers.layers(forward, x)[name].output
    size = len(jax.tree.leaves(x)[0])
    if answer.ndim < 2 or len(answer) != size:
        raise Absent(f"{name} answers {list(answer.shape)} to {size} inputs, not one row for each")
    while answer.ndim > 2:
        answer = answer[:, answer.shape[1] // 2]
    return answer.astype(jnp.float32)


def _unit_name(subject: Subject, name: str, index: int) -> str:
    if name == "output" and subject.names is not None:
        return f"{subject.output} of {subject.names[index]}"
    return f"{name.split('/')[-1]}: {index}"
