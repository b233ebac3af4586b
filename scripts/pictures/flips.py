"""How small a change of the input changes the answer."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dqnlab.looking import adversarial
from scripts.pictures.attribution import telling
from scripts.pictures.subject import Subject, as_input, picture

LEVELS = (0.25, 0.5, 1, 2, 4, 8, 16)  # of 255 grey levels
FACTOR = 10


def draw(subject: Subject, seed: int) -> Figure:
    """The share of answers that change, by size of the change; and one such change, enlarged."""
    x = np.asarray(as_input(subject.images()))
    outputs = subject.outputs()
    answers = outputs.argmax(axis=1).astype(np.int32)
    signs = np.sign(np.random.default_rng(seed).normal(size=x.shape)).astype(np.float32)
    against, at_random, changed = [], [], {}
    for level in LEVELS:
        changed[level] = _changed(subject, x, answers, level / 255)
        against.append(_flips(subject, changed[level], answers))
        noisy = np.clip(x + level / 255 * signs, 0, 1)
        at_random.append(_flips(subject, noisy, answers))
    figure = Figure(figsize=(14, 3.8), layout="constrained")
    axes = figure.subplots(1, 4, width_ratios=(1.6, 1, 1, 1))
    for flips, label in ((against, "along the gradient's sign"), (at_random, "random signs")):
        axes[0].plot(LEVELS, [100 * each.mean() for each in flips], "o-", label=label)
    axes[0].set_xscale("log", base=2)
    axes[0].set_xticks(LEVELS, [f"{level:g}" for level in LEVELS])
    axes[0].set_xlabel("change of each pixel (of 255 grey levels)")
    axes[0].set_ylabel("answers that change (%)")
    axes[0].set_ylim(-2, 102)
    axes[0].grid(alpha=0.3)
    axes[0].legend()
    _draw_example(axes[1:], subject, x, changed, against, outputs)
    figure.suptitle(f"{subject.title}: fast gradient sign, {len(x)} inputs", fontsize=11)
    return figure


def _draw_example(
    axes: Any,
    subject: Subject,
    x: np.ndarray,
    changed: dict[float, np.ndarray],
    against: list[np.ndarray],
    outputs: np.ndarray,
) -> None:
    # The surest answer that is turned over by the smallest change that turns over a quarter.
    place = next((i for i, flips in enumerate(against) if flips.mean() > 0.25), len(LEVELS) - 1)
    level, flips = LEVELS[place], against[place]
    pool = np.flatnonzero(flips) if flips.any() else np.arange(len(x))
    index = pool[telling(outputs[pool], 1)[0]]
    after = _outputs(subject, changed[level])[index]
    assert subject.names is not None
    before, now = subject.names[outputs[index].argmax()], subject.names[after.argmax()]
    difference = FACTOR * (changed[level][index] - x[index]) + 0.5
    shown = (
        (picture(x[index]), f"input: {before}"),
        (picture(changed[level][index]), f"changed by {level:g} levels: {now}"),
        (picture(difference), f"difference x {FACTOR}"),
    )
    for each, (image, title) in zip(axes, shown, strict=True):
        each.imshow(image, cmap="gray", vmin=0, vmax=1)
        each.set_title(title, fontsize=10)
        each.set_axis_off()


def _changed(subject: Subject, x: np.ndarray, answers: np.ndarray, epsilon: float) -> np.ndarray:
    def attack(forward: Any, inputs: Any) -> Any:
        x, answer = inputs
        loss = adversarial.doubt(forward, answer)
        return adversarial.fast_gradient_sign(loss, x, epsilon)

    return np.asarray(subject.run(attack, (x, answers), subject.context))


def _flips(subject: Subject, x: np.ndarray, answers: np.ndarray) -> np.ndarray:
    return _outputs(subject, x).argmax(axis=1) != answers


def _outputs(subject: Subject, x: np.ndarray) -> np.ndarray:
    return np.asarray(subject.run(lambda forward, x: forward(x), x, subject.context), np.float32)
