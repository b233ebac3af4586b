"""Any Gymnasium environment with discrete actions and image or vector observations."""

import contextlib
import dataclasses
import importlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium import error, spaces
from gymnasium.vector import AutoresetMode, VectorEnv

from dqnlab.types import Env, EnvSpec, Screen, TimeStep, UserError
from envs import host, images

_FRAMES_PER_SECOND = 15.0  # of a film, where the environment names no `render_fps`
# Pygame, with which many environments draw, greets on stdout; SDL looks for screen and speakers.
_QUIET = {
    "PYGAME_HIDE_SUPPORT_PROMPT": "1",
    "SDL_VIDEODRIVER": "dummy",
    "SDL_AUDIODRIVER": "dummy",
}
Arrange = Callable[[np.ndarray], np.ndarray]  # observations of N games -> what agents are shown


@dataclasses.dataclass
class _Progress:
    token: int  # the number of steps since the reset, handed out as `env_state`
    ended: np.ndarray  # bool[N]: the next step of this game is its reset


def make_gym(
    env_id: str, num_envs: int, *, name: str | None = None, with_screen: bool = False
) -> Env:
    """N copies of a registered Gymnasium environment, one after another in this process.

    Images stay uint8 and become [H, W] or [H, W, C] (see `envs.images`); vectors (one dimension)
    become float32 and are seen alone.

    Args:
      env_id: `Id` or `module:Id`; the module is imported first, to register its environments.
      num_envs: N.
      name: what `spec.game` says; `env_id` by default.
      with_screen: give `Env.screen` where the environment can render, else leave it None.

    Raises:
      UserError: for an unknown module or id, a missing dependency, and spaces other than these.
    """
    num_envs = host.check_num_envs(num_envs)
    _import_module(env_id)
    games = _make_vector(env_id, num_envs)
    if with_screen and "rgb_array" in (games.metadata.get("render_modes") or ()):
        games.close()
        games = _make_vector(env_id, num_envs, render_mode="rgb_array")
    try:
        num_actions, first_action = _check_actions(env_id, games.single_action_space)
        shape, dtype, stack, arrange = _check_observations(env_id, games.single_observation_space)
        made = games.spec
        assert made is not None
        spec = EnvSpec(
            game=name or env_id,
            num_envs=num_envs,
            num_actions=num_actions,
            action_meanings=tuple(str(first_action + i) for i in range(num_actions)),
            obs_shape=shape,
            obs_dtype=dtype,
            stack=stack,
            frame_skip=1,
            protocol={
                "name": "gymnasium",
                "id": made.id,
                "max_episode_steps": made.max_episode_steps,
            },
            traceable=False,
        )
        env = _run(spec, games, first_action, arrange)
        return env._replace(screen=_screen(env_id, games)) if with_screen else env
    except UserError:
        games.close()
        raise


def _import_module(env_id: str) -> None:
    """Import the module of `module:Id`, whose import registers the environment."""
    if ":" not in env_id:
        return
    module, _, plain_id = env_id.partition(":")
    if not all(part.isidentifier() for part in module.split(".")) or ":" in plain_id:
        raise UserError(f"{env_id} is not of the form MODULE:ID, with the name of a Python module")
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name is None or not f"{module}.".startswith(f"{missing.name}."):
            raise _lacks_package(env_id, missing) from missing
        raise UserError(
            f"{env_id}: there is no module {module!r} on Python's path; PYTHONPATH=FOLDER adds a "
            "folder to it"
        ) from missing
    except ImportError as missing:
        raise _lacks_package(env_id, missing) from missing


def _make_vector(env_id: str, num_envs: int, **kwargs: Any) -> VectorEnv[Any, Any, Any]:
    with _refusals(env_id):
        return gymnasium.make_vec(
            env_id,
            num_envs=num_envs,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.NEXT_STEP},
            **kwargs,
        )


@contextlib.contextmanager
def _refusals(env_id: str) -> Iterator[None]:
    try:
        yield
    except (error.DependencyNotInstalled, ImportError) as missing:
        raise _lacks_package(env_id, missing) from missing
    except error.Error as other:
        raise UserError(f"Gymnasium cannot make {env_id}: {other}") from other
    except TypeError as other:
        if "keyword argument 'render_mode'" not in str(other):
            raise
        raise UserError(
            f"{env_id} lists rgb_array among its render modes, but takes none"
        ) from other


def _lacks_package(env_id: str, missing: Exception) -> UserError:
    return UserError(f"{env_id} needs a package that is not installed: {missing}")


def _check_actions(env_id: str, space: Any) -> tuple[int, int]:
    if not isinstance(space, spaces.Discrete):
        raise UserError(f"{env_id} has actions {space}: only Discrete actions are supported")
    return int(space.n), int(space.start)


def _check_observations(env_id: str, space: Any) -> tuple[tuple[int, ...], str, int, Arrange]:
    """Return what agents are shown: its shape and type, how many of it, and how it is made."""
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        return space.shape, "float32", 1, lambda obs: obs.astype(np.float32)
    layout = images.layout(space.shape) if isinstance(space, spaces.Box) else None
    if layout is None:
        raise UserError(
            f"{env_id} has observations {space}: supported are Box of one dimension (vectors) and "
            "uint8 Box of shape [H, W], [H, W, C] or [C, H, W] (images)"
        )
    if space.dtype != np.uint8:
        raise UserError(
            f"{env_id} shows images of {space.dtype}: images must be uint8, 0 to 255; "
            "gymnasium.wrappers.TransformObservation can convert them"
        )
    return layout.shape, "uint8", layout.stack, lambda obs: images.arrange(obs, layout)


def _run(
    spec: EnvSpec, games: VectorEnv[Any, Any, Any], first_action: int, arrange: Arrange
) -> Env:
    num_envs = spec.num_envs
    now = _Progress(0, np.zeros(num_envs, np.bool_))

    def reset(seed: Any) -> tuple[int, TimeStep]:
        obs, _ = games.reset(seed=host.game_seeds(seed, num_envs).tolist())
        now.token, now.ended = 0, np.zeros(num_envs, np.bool_)
        zeros = np.zeros(num_envs, np.float32)
        all_first = np.ones(num_envs, np.bool_)
        return 0, TimeStep(arrange(obs), zeros, zeros + 1, all_first)

    def step(env_state: Any, actions: Any) -> tuple[int, TimeStep]:
        if env_state != now.token:
            raise ValueError(f"env_state is {env_state}, but these games are at {now.token}")
        actions = host.check_actions(actions, num_envs, spec.num_actions) + first_action
        obs, reward, terminated, truncated, _ = games.step(actions)
        if not np.isfinite(reward).all():
            raise ValueError(f"{spec.game} gave rewards {reward}")
        first = now.ended
        now.token, now.ended = now.token + 1, terminated | truncated
        timestep = TimeStep(
            arrange(obs), reward.astype(np.float32), (~terminated).astype(np.float32), first
        )
        return now.token, timestep

    def restart(mine: np.ndarray, seed: Any) -> np.ndarray:
        mask = np.isin(np.arange(num_envs), mine)
        seeds = host.game_seeds(seed, num_envs).tolist()
        obs, _ = games.reset(seed=seeds, options={"reset_mask": mask})
        now.ended[mask] = False
        return np.asarray(arrange(obs[mine]))

    limit = spec.protocol["max_episode_steps"]
    return Env(spec, reset, step, games.close, restart=restart, max_episode_steps=limit)


def _screen(env_id: str, games: VectorEnv[Any, Any, Any]) -> Screen | None:
    if games.render_mode != "rgb_array":
        return None
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)

    def draw() -> np.ndarray:
        with _refusals(env_id):
            picture = np.asarray(games.envs[0].render())  # type: ignore[attr-defined]
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise UserError(
                f"{env_id} renders {picture.dtype}{list(picture.shape)}; a picture is "
                "uint8[H, W, 3]"
            )
        return picture

    games.reset(seed=0)
    draw()  # a missing package is better found before a game is played
    return Screen(draw, float(games.metadata.get("render_fps") or _FRAMES_PER_SECOND))
