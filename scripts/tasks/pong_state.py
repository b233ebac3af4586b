"""Where the ball and the paddles are in a frame of Pong, labelled by the console's memory."""

import dataclasses
from pathlib import Path
from typing import Any, Literal, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from dqnlab import batches, objective, transfer
from dqnlab.layers.conv import Conv2D
from dqnlab.nets.torso import NatureTorso, unit_scale
from dqnlab.objective import Loss
from dqnlab.types import Array, Params, UserError
from envs import datasets
from scripts.tasks import task
from scripts.tasks.task import Splits, Task, Trained

BINS = 21
SCREEN = (160.0, 210.0, 210.0, 210.0)  # pixels along each target's axis


@dataclasses.dataclass(frozen=True)
class Config(task.Config):
    """How the net is trained, and on how many games."""

    epochs: int = 6
    learning_rate: float = 4e-3
    batch_size: int = 32
    schedule: str = "warmup_cosine"
    batches_per_launch: int = 8
    episodes: int = 40
    """Games recorded; the last 4 are tested on, the 2 before them validated on."""
    net: Literal["heatmaps", "torso"] = "heatmaps"
    """A small net of convolutions that keeps places, or the one that agents have."""
    centre_frames: bool = False
    """Of the net `torso`: take each frame's background off first, as agents' `laptop` does."""
    torso_width: float = 1
    """Of the net `torso`: factor on its channels; the agent `prioritized` has 0.5."""
    labels: int = 0
    """Frames of the training part that are used, evenly spaced; 0 for all."""
    init_torso: Path | None = None
    """Run folder of an agent or a supervised net whose torso this one starts with."""
    freeze_torso: bool = False
    """Leave the torso as it is: a fixed feature extractor."""


def load(config: Config, seed: int) -> Splits:
    """Stacks of 4 frames as agents see them, at most 300 of a game; every seed sees the same."""
    recorded = datasets.record(["Pong"], episodes=config.episodes, frames=300, every=4, stack=4)
    parts = []
    for part in datasets.split(recorded, num_test=4, num_valid=2):
        position, is_visible = datasets.pong_state(part.ram)
        parts.append({"x": part.obs, "y": position, "mask": is_visible})
    train = parts[0]
    if config.labels:
        chosen = np.linspace(0, len(train["x"]) - 1, config.labels).astype(int)
        train = batches.take(train, chosen)
    return Splits(train, parts[1], parts[2], {"targets": list(datasets.PONG_TARGETS)})


class Located(NamedTuple):
    """Where things are, as distributions over BINS equal parts of the screen's side."""

    positions: Array  # [B, 4] screen pixels: the means
    log_parts: Array  # [B, 4, BINS]


def make(config: Config, info: dict[str, Any]) -> tuple[hk.TransformedWithState, Loss]:
    """Four distributions over places, by heat maps or by the DQN's own torso and dense layers."""
    if config.torso_width <= 0 or (16 * config.torso_width) % 1:
        raise UserError(f"--torso-width is {config.torso_width}; a multiple of 1/16, above 0")

    def forward(x: Array, is_training: bool) -> Located:
        if config.net == "heatmaps":
            return _located(_heatmaps(x))
        features = NatureTorso(centred=config.centre_frames, width=config.torso_width)(x)
        if config.freeze_torso:
            features = jax.lax.stop_gradient(features)
        x = jax.nn.relu(hk.Linear(256, name="hidden")(features))
        logits = hk.Linear(4 * BINS, name="parts")(x).reshape(-1, 4, BINS)
        return _located(jax.nn.log_softmax(logits))

    def criterion(outputs: Located, batch: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        weights = batch["mask"].astype(jnp.float32)
        count = jnp.maximum(weights.sum(), 1.0)
        entropy = -(_two_hot(batch["y"]) * outputs.log_parts).sum(axis=-1)
        error = jnp.abs(outputs.positions - batch["y"])
        return (weights * entropy).sum() / count, {"pixels": (weights * error).sum() / count}

    net = hk.transform_with_state(forward)
    return net, objective.supervised(net, criterion)


def _heatmaps(frames: Array) -> Array:
    """A map of 21 x 21 places for the ball, the player and the enemy -> their margins' logs."""
    x = unit_scale(frames, jnp.float32)
    x = jax.nn.standardize(x, axis=(1, 2, 3))  # most pixels are background: now they are near 0
    init = hk.initializers.VarianceScaling(2.0, "fan_in", "truncated_normal")
    x = jax.nn.relu(Conv2D(32, 8, 4, w_init=init)(x))
    x = jax.nn.relu(Conv2D(32, 3, w_init=init)(x))
    maps = Conv2D(3, 3, name="maps")(x)
    # Where each may be at all: digits of the score look like paddles.
    maps = maps + hk.get_parameter("prior", (1, BINS, BINS, 3), init=jnp.zeros)
    logs = jax.nn.log_softmax(maps.reshape(-1, BINS**2, 3), axis=1).reshape(maps.shape)
    rows, columns = (jax.nn.logsumexp(logs, axis=axis).swapaxes(1, 2) for axis in (2, 1))
    return jnp.stack([columns[:, 0], rows[:, 0], rows[:, 1], rows[:, 2]], axis=1)


def _located(log_parts: Array) -> Located:
    centres = (jnp.arange(BINS) + 0.5) / BINS
    return Located(jnp.exp(log_parts) @ centres * jnp.array([SCREEN]), log_parts)


def _two_hot(positions: Array) -> Array:
    """[B, 4] -> [B, 4, BINS]: the distribution over the two nearest parts with that mean."""
    place = jnp.clip(positions / jnp.array([SCREEN]) * BINS - 0.5, 0, BINS - 1)
    return jnp.maximum(0, 1 - jnp.abs(place[..., None] - jnp.arange(BINS)[None, None]))


def start(config: Config, splits: Splits, seed: int, params: Params) -> Params:
    """The torso of another run, where asked for."""
    if config.init_torso is None:
        return params
    if config.net != "torso":
        raise UserError("--init-torso is for --net torso")
    torso = transfer.load_torso(config.init_torso)
    return transfer.with_torso(params, torso, str(config.init_torso))


def report(trained: Trained, splits: Splits, folder: Path) -> dict[str, Any]:
    """Mean absolute error in pixels of the 210 x 160 screen, where the thing is on the screen."""
    test = splits.test
    error = np.abs(trained.predict(test["x"]).positions - test["y"])
    names = trained.info["targets"]
    each = {name: float(error[test["mask"][:, i], i].mean()) for i, name in enumerate(names)}
    return {
        "mean_error_pixels": float(np.mean(list(each.values()))),
        **{f"{name.replace(' ', '_')}_pixels": value for name, value in each.items()},
        "always_the_median_pixels": _baseline(splits),
    }


def _baseline(splits: Splits) -> float:
    train, test, errors = splits.train, splits.test, []
    for i in range(4):
        guess = np.median(train["y"][train["mask"][:, i], i])
        errors.append(np.abs(test["y"][test["mask"][:, i], i] - guess).mean())
    return float(np.mean(errors))


TASK = Task(
    about="ball and paddle positions from Pong frames, labels from the console's memory",
    goal="<= 1.0 pixel of the 210 x 160 screen, mean error on unseen games",
    minutes=6,
    defaults=Config(),
    load=load,
    make=make,
    report=report,
    start=start,
)
