"""A game seen as a person sees it: full resolution, in colour, as an MP4 file."""

import contextlib
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np

import envs
from agents.evaluation import Episode, evaluate
from agents.policy import Policy
from dqnlab.types import TimeStep

FRAMES_PER_SECOND = 15  # one picture per agent step of 4 emulator frames, at 60 Hz
_SCALE = 2


def record(policy: Policy, protocol: str, path: Path, *, epsilon: float, seed: int) -> Episode:
    """Let the agent play one game and write what it looks like to `path`.

    The agent's own frames are 84x84 and grey. A second emulator with the same seed is given the
    same actions and shows the game in colour; memory stays constant however long the game is.
    Only for Atari games: others have no such pictures.
    """
    pictures = {"grayscale": False, "height": 210, "width": 160}
    picture_env = envs.make(policy.spec.game, 1, protocol, training=False, **pictures)
    env = envs.make(policy.spec.game, 1, protocol, training=False)
    picture_state, picture = picture_env.reset(seed)
    writer = open_writer(path, picture.obs.shape[1:3])
    is_over = False

    def on_step(timestep: TimeStep, action: np.ndarray, q: np.ndarray) -> None:
        nonlocal picture_state, picture, is_over
        if not is_over:
            frame = np.asarray(picture.obs[0]).repeat(_SCALE, axis=0).repeat(_SCALE, axis=1)
            writer.send(np.ascontiguousarray(frame))
        picture_state, picture = picture_env.step(picture_state, action)
        is_over = is_over or bool(picture.first[0])

    try:
        return evaluate(
            policy.agent,
            policy.params,
            policy.net_state,
            env,
            episodes=1,
            epsilon=epsilon,
            seed=seed,
            on_step=on_step,
        )[0]
    finally:
        writer.close()
        env.close()
        picture_env.close()


def as_gif(path: Path, seconds: float = 20.0) -> bytes:
    """The beginning of a video at the game's own resolution: what TensorBoard can play."""
    scale = f"scale=iw/{_SCALE}:ih/{_SCALE}:flags=neighbor"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *f"-v error -t {seconds} -i".split(), str(path)]
    command += ["-vf", scale, *"-f gif -".split()]
    with _forking():
        return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def open_writer(path: Path, shape: tuple[int, int]) -> imageio_ffmpeg.write_frames:
    """A coroutine that takes pictures of a game [H, W], scaled up, as uint8[2 H, 2 W, 3]."""
    height, width = shape
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = imageio_ffmpeg.write_frames(
        str(path),
        (width * _SCALE, height * _SCALE),
        fps=FRAMES_PER_SECOND,
        macro_block_size=1,
        ffmpeg_log_level="error",
    )
    with _forking():
        writer.send(None)
    return writer


@contextlib.contextmanager
def _forking() -> Iterator[None]:
    # JAX warns of forks; these become ffmpeg at once and touch nothing of JAX's.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called")
        yield
