"""The inputs that units answer to most, beside the real inputs that they answer to most."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
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
    """A row per unit: the optimum, and the real input with the highest value.

    Both are drawn less the mean input, each on its own scale: what an optimum adds is spread over
    all pixels, and is not seen beside the walls and the background that all inputs share. With one
    channel there is room for the pictures themselves too.

    `smooth` is the sigma in pixels of a blur of the gradient: stimuli that are easier to read.
    """
    images = np.asarray(as_input(subject.images()))
    shape = images.shape[1:]
    images = networks.fold(images)
    mean = images.mean(axis=0)
    channels = len(frames(np.zeros(shape)))
    half = max(2, channels)  # panels of an optimum
    size = (max(9.0, 1.0 + 3.2 * channels), 0.8 + 2.0 * len(chosen))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(chosen), 2 * half, squeeze=False)
    optima = {
        name: _optima(subject, images, name, [i for n, i in chosen if n == name], seed, smooth)
        for name in dict.fromkeys(name for name, _ in chosen)
    }
    order = ", oldest frame first" if subject.moments is not None and channels > 1 else ""
    for axes, (name, index) in zip(grid, chosen, strict=True):
        found = optima[name][index]
        for image, panels in ((found.image, axes[:half]), (found.real, axes[half:])):
            if channels == 1:
                (shown,) = frames(image.reshape(shape))
                panels[0].imshow(shown, cmap="gray", interpolation="nearest")
            _draw_difference(panels[-channels:], (image - mean).reshape(shape))
        for each in axes:
            each.set(xticks=[], yticks=[])
        axes[0].set_ylabel(_unit_name(subject, name, index), fontsize=9)
        axes[0].set_title(f"optimum: {found.value:.3g}{order}", fontsize=10, loc="left")
        text = f"highest of {len(images)} real: {found.real_value:.3g}"
        axes[half].set_title(text, fontsize=10, loc="left")
    figure.suptitle(
        f"{subject.title}: optimal stimuli no farther from the mean input than real inputs are\n"
        "red: brighter than the mean input, blue: darker; every picture on its own scale",
        fontsize=11,
    )
    return figure


def _draw_difference(panels: Sequence[Axes], difference: np.ndarray) -> None:
    """One panel per picture in an input, on a scale that no few pixels decide."""
    size = max(float(np.quantile(np.abs(difference), 0.995, method="lower")), 1e-12)
    for image, axes in zip(frames(difference), panels, strict=True):
        if image.ndim == 3:  # in colours; grey is what the mean input has
            image = np.clip(0.5 + image / (2 * size), 0, 1)
        axes.imshow(image, cmap="coolwarm", vmin=-size, vmax=size, interpolation="nearest")


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
