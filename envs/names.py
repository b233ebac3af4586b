"""Which Atari game a user means, whatever the spelling, and what to say when there is none."""

import difflib
import functools
import re
from collections.abc import Iterable

import ale_py  # importing it registers the ALE/* games with Gymnasium
import gymnasium
from ale_py import roms

from dqnlab.types import UserError

# "ALE/Pong-v5", "PongNoFrameskip-v4" and "PongDeterministic-v0" all mean the game, not the
# settings that these names once carried: settings come from the protocol.
_DECORATION = re.compile(r"^ale/|(noframeskip|deterministic)?(-v\d+)?$")

# A version that is Gymnasium's: ids with Atari's own decorations mean no other environment.
_VERSION = re.compile(r"^(?!ale/).*(?<!noframeskip)(?<!deterministic)-v\d+$")

gymnasium.register_envs(ale_py)


def key(name: str) -> str:
    """The spelling-free form of a name: `MsPacman`, `ms-pacman` and `Ms. Pacman` agree."""
    return re.sub(r"[^a-z0-9]", "", _DECORATION.sub("", name.strip().lower()))


def unknown(what: str, name: str, allowed: Iterable[str]) -> UserError:
    """The error for a name that is not in `allowed`, with the nearest ones."""
    by_key = {key(candidate): candidate for candidate in allowed}  # of versions, the last listed
    nearest = [by_key[k] for k in difflib.get_close_matches(key(name), by_key, n=3)]
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else _list(list(by_key.values()))
    return UserError(f"unknown {what} {name!r}: {hint}")


def _list(names: list[str]) -> str:
    shown = names[:20]
    return f"known: {', '.join(shown)}{', ...' if len(names) > len(shown) else ''}"


@functools.cache
def atari_games() -> dict[str, str]:
    """Canonical name -> ROM name of every game that ale-py registers: `MsPacman` -> `ms_pacman`.

    ale-py also ships combat, joust, maze_craze and warlords, which end the process when loaded;
    it does not register them, so they are unknown here too.
    """
    return {
        env_id.removeprefix("ALE/").removesuffix("-v5"): spec.kwargs["game"]
        for env_id, spec in gymnasium.registry.items()
        if env_id.startswith("ALE/")
    }


def has_version(name: str) -> bool:
    """Whether a name ends in a version as ids of Gymnasium do, without Atari's own decorations."""
    return _VERSION.match(name.lower()) is not None


def is_atari_spelling(name: str) -> bool:
    """Whether a name can mean an Atari game: one with a version must be an id of ale_py's."""
    spec = gymnasium.registry.get(name)
    if spec is None:
        return not has_version(name)
    return str(spec.entry_point).startswith("ale_py.")


def gymnasium_ids() -> list[str]:
    """Every id that Gymnasium knows now, without those that ale-py registered."""
    return [
        env_id
        for env_id, spec in gymnasium.registry.items()
        if not str(spec.entry_point).startswith("ale_py.")
    ]


@functools.cache
def _atari_by_key() -> dict[str, str]:
    return {key(game): game for game in atari_games()}


def find_atari(name: str) -> str | None:
    """The canonical name (`MsPacman`) of an Atari game in any usual spelling, or None."""
    return _atari_by_key().get(key(name))


def rom_of(name: str) -> tuple[str, str]:
    """The canonical name and the ROM name of a game whose ROM file is there and intact.

    Raises UserError for an unknown game, and for a missing or altered ROM: the emulator would
    end the whole process on an unknown checksum, so it never gets to see one.
    """
    game = find_atari(name)
    if game is None:
        raise unknown("Atari game", name, atari_games())
    rom = atari_games()[game]
    try:
        roms.get_rom_path(rom)  # compares the file with ale-py's md5.json
    except OSError as error:
        raise UserError(f"cannot load the ROM of {game}: {error}") from error
    return game, rom
