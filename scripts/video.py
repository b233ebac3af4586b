"""A game seen as a person sees it: full resolution, in colour, as an MP4 file."""

import contextlib
import os
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np

import envs
from agents.evaluation import Episode, evaluate
from agents.policy import Policy
from dqnlab.types import TimeStep, UserError
from envs.protocols import Protocol

_HEIGHT = 420  # pixels of a film, about: an Atari screen twice as large
_GIF_WIDTH = 160


def record(
    policy: Policy, protocol: Protocol | str | None, path: Path, *, epsilon: float, seed: int
) -> Episode:
    """Let the agent play one game and write what it looks like to `path`.

    One picture per agent step, at the game's own speed; memory stays constant however long the
    game is. UserError, before anything is played, for a game that has no pictures, and where the
    disk refuses; the file is there whole or not at all.
    """
    part = path.with_name(f".{path.name}.tmp.mp4")
    try:
        episode = _record(policy, protocol, part, epsilon=epsilon, seed=seed)
        _check_whole(part)
        os.replace(part, path)
    except OSError as error:  # of the disk, or of the process that encodes
        reason = error.strerror or " ".join(str(error).split()[:20])
        raise UserError(f"the video {path} cannot be written: {reason}") from error
    finally:
        part.unlink(missing_ok=True)
    return episode


def _check_whole(path: Path) -> None:
    # The process that encodes may fail at its last bytes, and nothing says so.
    try:
        with _forking():
            imageio_ffmpeg.count_frames_and_secs(str(path))
    except RuntimeError as error:
        raise OSError("its last bytes are missing; is the disk full?") from error


def _record(
    policy: Policy, protocol: Protocol | str | None, path: Path, *, epsilon: float, seed: int
) -> Episode:
    env = envs.make(policy.spec.game, 1, protocol, training=False, with_screen=True)
    screen = env.screen
    assert screen is not None
    env.reset(seed)
    height, width = screen.draw().shape[:2]
    scale = max(1, round(_HEIGHT / height))
    # The codec's colours have half the resolution: sides are even.
    rows, columns = (side * scale // 2 * 2 for side in (height, width))
    writer = open_writer(path, (rows, columns), screen.steps_per_second)

    def on_step(timestep: TimeStep, action: np.ndarray, q: np.ndarray) -> None:
        picture = screen.draw().repeat(scale, axis=0).repeat(scale, axis=1)
        writer.send(np.ascontiguousarray(picture[:rows, :columns]))

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


def check(policy: Policy, protocol: Protocol | str | None) -> None:
    """Raise UserError where the policy's game has no pictures."""
    envs.make(policy.spec.game, 1, protocol, training=False, with_screen=True).close()


def as_gif(path: Path, seconds: float = 20.0) -> bytes:
    """The beginning of a video, small: what TensorBoard can play."""
    scale = f"scale={_GIF_WIDTH}:-1:flags=area"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *f"-v error -t {seconds} -i".split(), str(path)]
    command += ["-vf", scale, *"-f gif -".split()]
    with _forking():
        return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def open_writer(path: Path, shape: tuple[int, int], fps: float) -> imageio_ffmpeg.write_frames:
    """Return a coroutine that takes pictures as uint8[H, W, 3], H and W even."""
    height, width = shape
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = imageio_ffmpeg.write_frames(
        str(path),
        (width, height),
        fps=fps,
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
