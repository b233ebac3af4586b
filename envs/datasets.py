"""Frames of Atari games as data for supervised nets: recorded once, cached, split by episode.

The player presses a random button of the game's own and holds it for 1 to 16 agent steps: paddles
and ships then cross the screen, where a new button at every step would leave them trembling in
the middle. Every episode has a seed of its own, made from (seed, game, number of the episode).
Sticky actions as in machado2018 (25 %), 4 emulator frames to an agent step.
"""

import functools
import hashlib
import io
import json
import os
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import ale_py
import numpy as np
from ale_py import roms

from dqnlab import files, machine, validation
from dqnlab.types import UserError
from envs import names

SIZE = 84  # pixels of a frame's side, as the agents see it
PONG_TARGETS = ("ball x", "ball y", "player y", "enemy y")
_FORMAT = 1  # of the cache; to be raised with every change of what is recorded
_LONGEST_HOLD = 16
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


class Frames(NamedTuple):
    """N observations, in the order in which they were played."""

    obs: np.ndarray  # uint8[N, 84, 84, K]: grey, oldest frame of the stack first
    ram: np.ndarray  # uint8[N, 128]: the console's memory after the newest frame
    game: np.ndarray  # int32[N]: index into the names asked for
    episode: np.ndarray  # int32[N]: 0 .. episodes - 1 within a game


def record(
    games: Sequence[str],
    *,
    episodes: int,
    frames: int,
    every: int = 8,
    stack: int = 1,
    seed: int = 0,
    folder: Path | None = None,
    on_game: Callable[[str], None] | None = None,
) -> Frames:
    """Play the games, or read from the cache, game by game, what has been recorded before.

    Args:
      games: names in any usual spelling.
      episodes: played of each game.
      frames: observations kept of an episode; fewer where it ends sooner.
      every: agent steps between two that are kept; at least `stack`, so that none overlap.
      stack: K, frames of an observation.
      folder: of the cache; default $DQNLAB_DATA, else dqnlab/frames in the user's cache folder.
      on_game: called with each game's name before it is played.

    Raises:
      UserError: an unknown game, or a number out of range.
    """
    sizes = {"episodes": episodes, "frames": frames, "stack": stack, "every": every}
    sizes = {name: validation.integer(name, value, 1) for name, value in sizes.items()}
    episodes, frames, stack, every = sizes.values()
    seed = validation.seed(seed)
    if every < stack:
        raise UserError(f"every is {every}; below the stack of {stack} observations would overlap")
    if not games:
        raise UserError("games is empty; it must name at least one")
    found = [names.rom_of(game) for game in games]  # all of them, before any is played
    key = {**sizes, "seed": seed, "format": _FORMAT, "ale_py": metadata.version("ale-py")}

    def play(game: str, rom: str) -> Frames:
        if on_game is not None:
            on_game(game)
        parts = []
        for episode in range(episodes):
            entropy = (seed, *game.encode(), episode)
            kept = list(_play(rom, np.random.SeedSequence(entropy), frames, every, stack))
            screens, ram = (np.stack(arrays) for arrays in zip(*kept, strict=True))
            numbers = np.full((2, len(kept)), [[0], [episode]], np.int32)
            parts.append(Frames(np.moveaxis(shrink(screens), 1, -1), ram, *numbers))
        return _joined(parts)

    folder = folder or cache_folder()
    parts = []
    for index, (game, rom) in enumerate(found):
        part = _cached(folder, {**key, "game": game}, functools.partial(play, game, rom))
        parts.append(part._replace(game=np.full(len(part.game), index, np.int32)))
    return _joined(parts)


def cache_folder() -> Path:
    """Where recordings are kept: $DQNLAB_DATA, else dqnlab/frames in the user's cache folder."""
    if os.environ.get("DQNLAB_DATA"):
        return Path(os.environ["DQNLAB_DATA"])
    try:
        return machine.cache_folder() / "frames"
    except OSError as error:
        raise UserError(f"no folder to keep frames in: {error.strerror}, or DQNLAB_DATA") from error


def split(
    data: Frames, num_test: int, num_valid: int = 0, *, need_all_games: bool = True
) -> tuple[Frames, Frames, Frames]:
    """(train, valid, test): whole episodes, the last ones of each game are held out.

    A frame that is the same byte for byte in an earlier part (title screens, and games that
    begin alike) is left out of the later one: nothing that is scored has been trained on.

    Raises UserError where no episode would be left to train on, or `need_all_games` and a game
    has no frame left in a part: some show one still picture until the right button is pressed.
    """
    episodes = int(data.episode.max()) + 1
    first_test, first_valid = episodes - num_test, episodes - num_test - num_valid
    if num_test < 0 or num_valid < 0 or first_valid < 1:
        raise UserError(
            f"{num_test} episodes to test and {num_valid} to validate leave none of {episodes}"
        )
    part = (data.episode >= first_valid).astype(int) + (data.episode >= first_test)
    digests = [hashlib.sha256(frame.tobytes()).digest() for frame in data.obs]
    earliest: dict[bytes, int] = {}
    for digest, which in zip(digests, part, strict=True):
        earliest[digest] = min(which, earliest.get(digest, which))
    is_new = np.array([earliest[d] == w for d, w in zip(digests, part, strict=True)])
    parts = [Frames(*(column[(part == i) & is_new] for column in data)) for i in range(3)]
    for name, wanted, kept in zip(("valid", "test"), (num_valid, num_test), parts[1:], strict=True):
        missing = set(data.game.tolist()) - set(kept.game.tolist())
        if need_all_games and wanted and missing:
            raise UserError(
                f"the {name} part holds no new frame of games {sorted(missing)}: record more"
            )
    return parts[0], parts[1], parts[2]


def pong_state(ram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where things are in Pong: (float32[N, 4], bool[N, 4] whether they are on the screen).

    Centres in pixels of the 210 x 160 screen, in the order of PONG_TARGETS. Between two points the
    ball is nowhere, and at the start the enemy has no paddle.
    """
    ball_x, ball_y, player, enemy = (ram[:, i].astype(np.float32) for i in (49, 54, 51, 50))
    positions = np.stack([ball_x - 48.5, ball_y - 13.0, player - 6.0, enemy - 7.5], axis=1)
    has_ball, has_enemy = ball_y > 0, enemy >= 34
    return positions, np.stack([has_ball, has_ball, player > 0, has_enemy], axis=1)


def _joined(parts: Sequence[Frames]) -> Frames:
    return Frames(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _play(
    rom: str, seed: np.random.SeedSequence, frames: int, every: int, stack: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One episode's (uint8[K, 210, 160], uint8[128]), one for every `every` agent steps."""
    rng = np.random.default_rng(seed)
    game = _load(rom, int(rng.integers(2**31)))
    actions = np.array(game.getMinimalActionSet())
    seen: deque[np.ndarray] = deque(maxlen=stack)
    step, hold = 0, 0
    while step < frames * every:
        if hold == 0:
            hold, action = int(rng.integers(1, _LONGEST_HOLD + 1)), rng.choice(actions)
        step, hold = step + 1, hold - 1
        screens = []
        for frame in range(4):
            game.act(action)
            if frame >= 2:
                screens.append(game.getScreenGrayscale())
        if -step % every < stack:  # seen by one that is kept
            seen.append(np.maximum(*screens))
        if step % every == 0:
            yield np.stack(seen), game.getRAM().copy()
        if game.game_over():
            if step < every:  # an episode too short to keep anything of goes on with another
                game.reset_game()
                continue
            return


def _load(rom: str, seed: int, sticky_actions: float = 0.25) -> ale_py.ALEInterface:
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    game = ale_py.ALEInterface()
    game.setInt("random_seed", seed)
    game.setFloat("repeat_action_probability", sticky_actions)
    path = roms.get_rom_path(rom)
    assert path is not None  # `names.rom_of` has seen it
    game.loadROM(path)
    return game


def shrink(screens: np.ndarray) -> np.ndarray:
    """uint8[..., 210, 160] -> uint8[..., 84, 84], each pixel the mean of the area that it covers.

    What ale-py's vector env does with OpenCV, up to the last bit of the rounding.
    """
    rows, columns = (_area_weights(size) for size in screens.shape[-2:])
    narrow = np.tensordot(screens.astype(np.float32), columns, (-1, 1))
    return np.rint(np.tensordot(narrow, rows, (-2, 1)).swapaxes(-1, -2)).astype(np.uint8)


@functools.cache
def _area_weights(size: int) -> np.ndarray:
    """float32[84, size]: how much of output i each input pixel covers; rows sum to 1."""
    edges = np.arange(SIZE + 1) * size / SIZE
    pixels = np.arange(size)
    ends = np.minimum(edges[1:, None], pixels + 1)
    starts = np.maximum(edges[:-1, None], pixels)
    covered: np.ndarray = np.maximum(ends - starts, 0) * SIZE / size
    return covered.astype(np.float32)


def _cached(folder: Path, key: dict[str, object], make: Callable[[], Frames]) -> Frames:
    """What `make` makes, read from a file named by `key` where there is an intact one."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"{key['game']}-{digest}.npz"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(path.with_suffix(".lock"), "wb") as lock:
            machine.lock(lock, wait=True)  # of two that want the same, one waits for the other
            if path.exists() and (read := _read(path)) is not None:
                return read
            made = make()
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **made._asdict())
            files.write_atomic(path, buffer.getvalue())
            return made
    except OSError as error:
        raise UserError(f"{folder} cannot be used: {error}; $DQNLAB_DATA names another") from error


def _read(path: Path) -> Frames | None:
    try:
        # NumPy leaves a file open that it opened itself and could not read.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return Frames(**{name: archive[name] for name in Frames._fields})
    except _UNREADABLE:  # damaged: it is recorded again
        return None
