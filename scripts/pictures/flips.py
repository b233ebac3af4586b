"""How small a change of the input changes the answer."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from matplotlib.figure import Figure

from dqnlab.looking import adversarial
from dqnlab.types import Array
from scripts.pictures.attribution import telling
from scripts.pictures.subject import Subject, as_input, picture

LEVELS = (0.25, 0.5, 1, 2, 4, 8, 16)  # of 255 grey levels


def draw(subject: Subject, seed: int) -> Figure:
    """The share of answers that change, by size of the change; and one such change, enlarged."""
    x = np.asarray(as_input(subject.images()))
    outputs = subject.outputs()
    answers = outputs.argmax(axis=1).astype(np.int32)
    random = np.sign(np.random.default_rng(seed).normal(size=x.shape)).astype(np.float32)
    signs, along, at_random = subject.run(_attack, (x, answers, random), subject.context)
    figure = Figure(figsize=(14, 3.8), layout="constrained")
    axes = figure.subplots(1, 4, width_ratios=(1.6, 1, 1, 1))
    for after, label in ((along, "along the gradient's sign"), (at_random, "random signs")):
        shares = 100 * np.mean(after != answers[:, None], axis=0)
        axes[0].plot(LEVELS, shares, "o-", label=label)
    axes[0].set_xscale("log", base=2)
    axes[0].set_xticks(LEVELS, [f"{level:g}" for level in LEVELS])
    axes[0].set_xlabel("change of each pixel (of 255 grey levels)")
    axes[0].set_ylabel("answers that change (%)")
    axes[0].set_ylim(-2, 102)
    axes[0].grid(alpha=0.3)
    axes[0].legend()
    _draw_example(axes[1:], subject, x, signs, along, outputs)
    figure.suptitle(f"{subject.title}: fast gradient sign, {len(x)} inputs", fontsize=11)
    return figure


def _attack(forward: Any, inputs: Any) -> tuple[Array, Array, Array]:
    """The gradient's signs, and the answers int[B, levels] along them and along random ones."""
    x, answers, random = inputs
    signs = adversarial.gradient_sign(adversarial.doubt(forward, answers), x)

    def after(signs: Array) -> Array:
        def answer(level: Array) -> Array:
            return forward(jnp.clip(x + level / 255 * signs, 0.0, 1.0)).argmax(axis=-1)

        return lax.map(answer, jnp.asarray(LEVELS, jnp.float32)).T

    return signs, after(signs), after(random)


def _draw_example(
    axes: Any,
    subject: Subject,
    x: np.ndarray,
    signs: np.ndarray,
    along: np.ndarray,
    outputs: np.ndarray,
) -> None:
    # The surest answer that is turned over by the smallest change that turns over a quarter.
    is_new = along != outputs.argmax(axis=1)[:, None]
    place = next((i for i in range(len(LEVELS)) if is_new[:, i].mean() > 0.25), len(LEVELS) - 1)
    level = LEVELS[place]
    pool = np.flatnonzero(is_new[:, place]) if is_new[:, place].any() else np.arange(len(x))
    index = pool[telling(outputs[pool], 1)[0]]
    changed = np.clip(x[index] + level / 255 * signs[index], 0, 1)
    assert subject.names is not None
    before, now = subject.names[outputs[index].argmax()], subject.names[along[index, place]]
    factor = 255 / (2 * level)  # the change fills the scale from black to white
    shown = (
        (picture(x[index]), f"input: {before}"),
        (picture(changed), f"changed by {level:g} levels: {now}"),
        (picture(np.clip(factor * (changed - x[index]) + 0.5, 0, 1)), f"difference x {factor:.0f}"),
    )
    for each, (image, title) in zip(axes, shown, strict=True):
        each.imshow(image, cmap="gray", vmin=0, vmax=1)
        each.set_title(title, fontsize=10)
        each.set(xticks=[], yticks=[])
