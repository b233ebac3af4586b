"""Any Gymnasium environment with discrete actions and image or vector observations."""

import dataclasses
from typing import Any

import gymnasium
import numpy as np
from gymnasium import error, spaces
from gymnasium.vector import AutoresetMode, VectorEnv

from dqnlab.types import Env, EnvSpec, TimeStep, UserError
from envs import host


@dataclasses.dataclass
class _Progress:
    token: int  # the number of steps since the reset, handed out as `env_state`
    ended: np.ndarray  # bool[N]: the next step of this game is its reset


def make_gym(env_id: str, num_envs: int) -> Env:
    """N copies of a registered Gymnasium environment, one after another in this process.

    Images (uint8 `[H, W]` or `[H, W, C]`) stay uint8 and are seen in stacks of 4; vectors (one
    dimension) become float32 and are seen alone.

    Raises UserError for an unknown id, a missing dependency, and spaces other than these.
    """
    host.check_num_envs(num_envs)
    games = _make_vector(env_id, num_envs)
    try:
        num_actions, first_action = _check_actions(env_id, games.single_action_space)
        obs_dtype, stack = _check_observations(env_id, games.single_observation_space)
    except UserError:
        games.close()
        raise
    registered = gymnasium.spec(env_id)
    spec = EnvSpec(
        game=env_id,
        num_envs=num_envs,
        num_actions=num_actions,
        action_meanings=tuple(str(first_action + i) for i in range(num_actions)),
        obs_shape=tuple(games.single_observation_space.shape or ()),
        obs_dtype=obs_dtype,
        stack=stack,
        frame_skip=1,
        protocol={
            "name": "gymnasium",
            "id": registered.id,
            "max_episode_steps": registered.max_episode_steps,
        },
        traceable=False,
    )
    return _run(spec, games, first_action)


def _make_vector(env_id: str, num_envs: int) -> VectorEnv[Any, Any, Any]:
    try:
        return gymnasium.make_vec(
            env_id,
            num_envs=num_envs,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.NEXT_STEP},
        )
    except (error.DependencyNotInstalled, ImportError) as missing:
        raise UserError(f"{env_id} needs a package that is not installed: {missing}") from missing
    except error.Error as other:
        raise UserError(f"Gymnasium cannot make {env_id}: {other}") from other


def _check_actions(env_id: str, space: Any) -> tuple[int, int]:
    if not isinstance(space, spaces.Discrete):
        raise UserError(f"{env_id} has actions {space}: only Discrete actions are supported")
    return int(space.n), int(space.start)


def _check_observations(env_id: str, space: Any) -> tuple[str, int]:
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        return "float32", 1
    if isinstance(space, spaces.Box) and len(space.shape) in (2, 3) and space.dtype == np.uint8:
        return "uint8", 4
    raise UserError(
        f"{env_id} has observations {space}: supported are Box of one dimension (vectors) "
        "and uint8 Box of shape [H, W] or [H, W, C] (images)"
    )


def _run(spec: EnvSpec, games: VectorEnv[Any, Any, Any], first_action: int) -> Env:
    num_envs, dtype = spec.num_envs, np.dtype(spec.obs_dtype)
    now = _Progress(0, np.zeros(num_envs, np.bool_))

    def reset(seed: Any) -> tuple[int, TimeStep]:
        obs, _ = games.reset(seed=host.game_seeds(seed, num_envs).tolist())
        now.token, now.ended = 0, np.zeros(num_envs, np.bool_)
        zeros = np.zeros(num_envs, np.float32)
        all_first = np.ones(num_envs, np.bool_)
        return 0, TimeStep(obs.astype(dtype), zeros, zeros + 1, all_first)

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
            obs.astype(dtype), reward.astype(np.float32), (~terminated).astype(np.float32), first
        )
        return now.token, timestep

    def restart(mine: np.ndarray, seed: Any) -> np.ndarray:
        mask = np.isin(np.arange(num_envs), mine)
        seeds = host.game_seeds(seed, num_envs).tolist()
        obs, _ = games.reset(seed=seeds, options={"reset_mask": mask})
        now.ended[mask] = False
        return np.asarray(obs[mine].astype(dtype))

    limit = spec.protocol["max_episode_steps"]
    return Env(spec, reset, step, games.close, restart=restart, max_episode_steps=limit)
