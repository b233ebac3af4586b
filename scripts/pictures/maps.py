"""What every layer answers to one input."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dqnlab.looking import layers
from scripts.pictures.mosaic import mosaic
from scripts.pictures.subject import Subject, as_input, picture, where

QUANTILE = 0.98  # of the sizes of a map's values: where its colours end
LEAST = 0.1  # of the median map's scale


def draw(subject: Subject, index: int) -> Figure:
    """The input, the feature maps of each layer (before the nonlinearity), and the outputs."""
    answers = _answers(subject, index)
    has_image = isinstance(subject.x, np.ndarray) and subject.x.ndim in (4, 5)
    panels = has_image + len(answers) + (subject.names is not None)
    columns = min(4, panels)
    rows = math.ceil(panels / columns)
    figure = Figure(figsize=(4.2 * columns, 0.6 + 3.6 * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[panels:]:
        unused.remove()
    if has_image:
        axes[0].imshow(picture(subject.x[index]), cmap="gray")
        axes[0].set_title(f"input: {where(subject, index)}", fontsize=10)
        axes[0].set_axis_off()
    for each, (name, answer) in zip(axes[has_image:], answers.items(), strict=False):
        _draw_layer(figure, each, name, answer)
    if subject.names is not None:
        x, context = subject.one(index)
        values = subject.run(lambda forward, x: forward(as_input(x)), x, context)[0]
        draw_outputs(axes[panels - 1], subject, values, index)
    figure.suptitle(
        f"{subject.title}: layers before their nonlinearity (a ReLU lets red pass, cuts blue)",
        fontsize=11,
    )
    return figure


def draw_outputs(axes: Axes, subject: Subject, values: np.ndarray, index: int) -> None:
    """The (up to ten largest) outputs; the right class in red."""
    assert subject.names is not None
    order = np.sort(np.argsort(-values, kind="stable")[:10])
    label = None if subject.labels is None else subject.labels[index]
    if subject.moments is not None:  # Q-values differ by little from what they have in common
        axes.plot(values[order], range(len(order)), "o", color="C0")
        axes.grid(alpha=0.3)
        axes.margins(0.15)
    else:
        color = ["C3" if i == label else "C0" for i in order]
        axes.barh(range(len(order)), values[order], color=color)
    axes.set_yticks(range(len(order)), [subject.names[i] for i in order])
    axes.invert_yaxis()
    axes.set_xlabel(subject.output + ("" if label is None else " (right class in red)"))


def _answers(subject: Subject, index: int) -> dict[str, np.ndarray]:
    x, context = subject.one(index)

    def outputs(forward: object, x: object) -> dict[str, object]:
        found = layers.with_weights(layers.layers(forward, as_input(x)), subject.params)  # type: ignore[arg-type]
        return {name: layer.output for name, layer in found.items()}

    found = subject.run(outputs, x, context)
    answers = {name: _only(np.asarray(found[name], np.float32)) for name in subject.layer_names()}
    last = list(answers)[-1]
    if subject.names is not None and answers[last].size == len(subject.names):
        del answers[last]  # the outputs themselves, which are shown with their names
    return answers


def _only(answer: np.ndarray) -> np.ndarray:
    """Without the batch's axis, of length 1: the first, of sequences [T, B, U] the second.

    [T * B, U], all steps of a sequence or all quantile fractions at once, has none to remove.
    """
    if len(answer) == 1:
        return answer[0]
    return answer[:, 0] if answer.ndim > 2 and answer.shape[1] == 1 else answer


def _draw_layer(figure: Figure, axes: Axes, name: str, answer: np.ndarray) -> None:
    end = 1.0
    if answer.ndim == 3:
        tiles = np.moveaxis(answer, -1, 0)
        tiles = tiles / _scales(tiles.reshape(len(tiles), -1))[:, None, None]
        sheet = mosaic(tiles, columns=math.ceil(math.sqrt(len(tiles))))
        kind = f"{len(tiles)} maps of {tiles.shape[1]} x {tiles.shape[2]}"
        unit = "answer / scale of the map"
    elif answer.ndim == 2:
        sheet = answer.T / _scales(answer.T)[:, None]
        kind = f"{answer.shape[1]} units (down), {len(answer)} steps"
        unit = "answer / scale of the unit"
    else:
        flat = answer.reshape(-1)
        end = float(_scales(flat[None])[0])
        columns = math.ceil(math.sqrt(flat.size))
        sheet = np.full(-(-flat.size // columns) * columns, np.nan)
        sheet[: flat.size] = flat
        sheet = sheet.reshape(-1, columns)
        kind = f"{flat.size} units"
        unit = "answer"
    image = axes.imshow(sheet, cmap="coolwarm", vmin=-end, vmax=end, aspect="auto")
    axes.set_title(f"{name.split('/')[-1]}: {kind}", fontsize=10)
    axes.set_axis_off()
    figure.colorbar(image, ax=axes, shrink=0.8, extend="both", label=unit)


def _scales(rows: np.ndarray) -> np.ndarray:
    """[N, M] -> [N]: the size that ends each row's colours, never that of its largest value alone.

    A few places, often at the image's edge, would leave the rest of a map without colour, and a
    few maps the rest of the layer. A map of next to nothing stays pale beside the others.
    """
    sizes = np.quantile(np.abs(rows), QUANTILE, axis=1, method="lower")
    return np.maximum(sizes, max(LEAST * float(np.median(sizes)), 1e-12))
