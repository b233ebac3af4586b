"""The one entry: a batch of games by name."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from dqnlab.types import Env, UserError
from envs import names, protocols, screen
from envs.atari import make_atari
from envs.catch import make_catch
from envs.cue import make_cue
from envs.gym import make_gym
from envs.protocols import Protocol

JAX_GAMES: dict[str, Callable[..., Env]] = {"catch": make_catch, "cue": make_cue}
DEFAULT_PROTOCOL = "machado2018"  # of Atari games
_SCREEN = {"grayscale": False, "height": 210, "width": 160}  # of the Atari 2600
_GYM = "gym:"


class Game(NamedTuple):
    """A game as its name was understood."""

    kind: Literal["atari", "jax", "gymnasium"]
    name: str  # the one spelling that means this game: what `spec.game` says


def find(game: str) -> Game:
    """Return the game that a name means. UserError for an unknown one, with the nearest names.

    An id that Gymnasium knows, with its version, means that environment, and never an Atari game
    of the same name; ale-py's own ids mean the Atari game.
    """
    plain = game.removeprefix(_GYM)
    if ":" in plain:  # module:Id
        return Game("gymnasium", plain)
    if game.startswith(_GYM):
        return Game("gymnasium", plain if _is_gymnasium_alone(plain) else game)
    if game in names.gymnasium_ids() and names.has_version(game):
        return Game("gymnasium", game)
    if game.lower() in JAX_GAMES:
        return Game("jax", game.lower())
    atari = names.find_atari(game)
    if namesakes := _namesakes(game):
        others = [*namesakes, *([] if atari is None else [f"{atari} (Atari)"])]
        raise UserError(f"unknown game {game!r}: did you mean {' or '.join(others)}?")
    if atari is None and game in names.gymnasium_ids():
        return Game("gymnasium", game)
    if atari is None:
        known = [*JAX_GAMES, *names.atari_games(), *names.gymnasium_ids()]
        raise names.unknown("game", game, known)
    return Game("atari", atari)


def find_protocol(game: str, protocol: str | Protocol | None = None) -> Protocol | None:
    """Return the protocol of a game: the one given, or of an Atari game the default, else None.

    Raises UserError for an unknown game or protocol, and for one given for a game that has none.
    """
    found = find(game)
    given = None if protocol is None else protocols.find(protocol)
    if found.kind == "atari":
        return given or protocols.find(DEFAULT_PROTOCOL)
    if given is not None:
        raise UserError(
            f"protocol is {given.name!r}; {found.name} has rules of its own, and protocols are for "
            "Atari games"
        )
    return None


def make(
    game: str,
    num_envs: int,
    protocol: str | Protocol | None = None,
    training: bool = True,
    groups: int = 1,
    with_screen: bool = False,
    **options: Any,
) -> Env:
    """N copies of a game; the seed is given to `env.reset(seed)`.

    Args:
      game: an Atari game in any usual spelling (`Pong`, `ms-pacman`, `ALE/Pong-v5`), `catch`,
        `cue`, or a Gymnasium id (`CartPole-v1`, `gym:CartPole-v1`, `module:Id`).
      num_envs: N.
      protocol: of Atari games, machado2018 by default; others have their own rules, and none.
      training: False gives full games for evaluation: no life-loss terminals, other frame cap.
      groups: of Atari games that step apart; others step as one.
      with_screen: fill in `Env.screen`, which shows the first game as a person sees it.
      **options: of the game's own factory: pictures and threads of `envs.atari.make_atari`,
        `delay` of `envs.cue.make_cue`.

    Raises:
      UserError: for an unknown game or protocol, with the nearest names, for arguments out of
        range, and with `with_screen` for games that have no pictures.
    """
    kind, name = find(game)
    found = find_protocol(game, protocol)
    if kind == "gymnasium":
        env_id = name.removeprefix(_GYM)
        env = make_gym(env_id, num_envs, name=name, with_screen=with_screen, **options)
    elif kind == "jax":
        env = JAX_GAMES[name](num_envs, **options)
    else:
        assert found is not None
        env = make_atari(name, num_envs, found, training, groups=groups, **options)
        if with_screen:
            colour = make_atari(name, num_envs, found, training, **{**options, **_SCREEN})
            env = screen.from_second(env, colour)
    if with_screen and env.screen is None:
        env = screen.from_observations(env)
    return env


def _is_gymnasium_alone(env_id: str) -> bool:
    """Whether this id means the Gymnasium environment without `gym:` before it, too."""
    try:
        return find(env_id) == Game("gymnasium", env_id)
    except UserError:
        return False


def _namesakes(game: str) -> list[str]:
    """Gymnasium ids that differ from this one by their version or spelling only."""
    if not names.has_version(game):
        return []
    own = names.key(game)
    return [each for each in names.gymnasium_ids() if names.key(each) == own]
