"""The one entry: a batch of games by name."""

from collections.abc import Callable
from typing import Any

import gymnasium

from dqnlab.types import Env
from envs import names, protocols
from envs.atari import make_atari
from envs.catch import make_catch
from envs.cue import make_cue
from envs.gym import make_gym
from envs.protocols import Protocol

JAX_GAMES: dict[str, Callable[..., Env]] = {"catch": make_catch, "cue": make_cue}


def make(
    game: str,
    num_envs: int,
    protocol: str | Protocol = "machado2018",
    training: bool = True,
    groups: int = 1,
    **options: Any,
) -> Env:
    """N copies of a game; the seed is given to `env.reset(seed)`.

    Args:
      game: an Atari game in any usual spelling (`Pong`, `ms-pacman`, `ALE/Pong-v5`), `catch`,
        `cue`, or a Gymnasium id (`CartPole-v1`, `gym:CartPole-v1`).
      num_envs: N.
      protocol: of Atari games; others have their own rules.
      training: False gives full games for evaluation: no life-loss terminals, other frame cap.
      groups: of Atari games that step apart; others step as one.
      **options: of the game's own factory: pictures and threads of `envs.atari.make_atari`,
        `delay` of `envs.cue.make_cue`.

    Raises:
      UserError: for an unknown game or protocol, with the nearest names, and for arguments out
        of range.
    """
    protocol = protocols.find(protocol)
    if game.startswith("gym:"):
        return make_gym(game.removeprefix("gym:"), num_envs, **options)
    if game.lower() in JAX_GAMES:
        return JAX_GAMES[game.lower()](num_envs, **options)
    if names.find_atari(game) is not None:
        return make_atari(game, num_envs, protocol, training, groups=groups, **options)
    if game in gymnasium.registry:
        return make_gym(game, num_envs, **options)
    raise names.unknown("game", game, [*JAX_GAMES, *names.atari_games(), *_other_gymnasium_ids()])


def _other_gymnasium_ids() -> list[str]:
    return [env_id for env_id in gymnasium.registry if names.find_atari(env_id) is None]
