"""What DQN Zoo needs to run on today's libraries; its own code stays as it is."""

from __future__ import annotations

import sys
import types
from typing import Any


def stand_in_for_what_it_pins() -> None:
    """DQN Zoo's versions of gym, atari-py (2021) and jax (2022) do not install any more.

    Its own code stays as it is: what it calls by old names is given to it under those names.
    """
    import jax
    import jax.lib
    import jax.numpy

    for module, name, value in (
        (jax, "tree_map", jax.tree_util.tree_map),
        (jax.numpy, "DeviceArray", jax.Array),
        (jax.lib, "xla_bridge", types.SimpleNamespace(get_backend=lambda: jax.devices()[0])),
    ):
        try:
            getattr(module, name)
        except AttributeError:
            setattr(module, name, value)
    try:
        import atari_py  # noqa: F401
    except ImportError:
        registration = types.SimpleNamespace(register=lambda **arguments: None)
        gym: Any = types.ModuleType("gym")
        gym.envs = types.SimpleNamespace(registration=registration)
        gym.make = lambda name: _OldGym(name.split("-")[0])  # "pong-xitari-v1"
        sys.modules.update({"gym": gym, "atari_py": types.ModuleType("atari_py")})


class _OldGym:
    """A game on gymnasium with the methods of gym 0.19."""

    def __init__(self, game: str):
        import ale_py  # noqa: F401 (registers the games)
        import gymnasium

        name = "".join(word.capitalize() for word in game.split("_"))
        self._game = gymnasium.make(f"{name}NoFrameskip-v4").unwrapped
        self.ale, self.action_space = self._game.ale, self._game.action_space
        self.observation_space = self._game.observation_space
        self._seed: int | None = None

    def seed(self, seed: int) -> None:
        self._seed = int(seed)

    def reset(self) -> Any:
        seed, self._seed = self._seed, None
        return self._game.reset(seed=seed)[0]

    def step(self, action: Any) -> tuple[Any, float, bool, dict[str, Any]]:
        frame, reward, terminated, truncated, _ = self._game.step(int(action))
        return frame, reward, terminated or truncated, {}
