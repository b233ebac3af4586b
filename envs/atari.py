"""Atari games on ale-py's C++ vector environment, with a guard for each of its traps.

What the agent sees follows Mnih et al. 2015: grey frames, the maximum of the last two emulator
frames, resized to 84x84. Not its defaults: frames are not stacked (the replay does that), rewards
not clipped (the learner does that), life loss is derived here (ale-py's own resets the game).
"""

import dataclasses
import os
import weakref
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from ale_py.vector_env import AtariVectorEnv

from dqnlab import machine, validation
from dqnlab.types import Env, EnvSpec, TimeStep, UserError
from envs import host, names, watchdog
from envs.protocols import Protocol


@dataclasses.dataclass
class _Games:
    """What has to be remembered between two steps of a batch."""

    emulators: list[AtariVectorEnv]  # one for each group; empty after close
    pid: int
    token: int  # the number of steps since the reset, handed out as `env_state`
    lives: np.ndarray  # int32[N]
    ended: np.ndarray  # bool[N]: the next step of this game is its reset
    is_sent: list[bool]  # of each group: its step has begun and is not received


@dataclasses.dataclass
class _LastCall:
    """What the watchdog reports; apart from the games, so that it does not keep them alive."""

    step: int = 0
    actions: np.ndarray | None = None


def make_atari(
    name: str,
    num_envs: int,
    protocol: Protocol,
    training: bool = True,
    *,
    grayscale: bool = True,
    height: int = 84,
    width: int = 84,
    num_threads: int | None = None,
    groups: int = 1,
    timeout_s: float = 60.0,
) -> Env:
    """N copies of an Atari game.

    With `grayscale=False, height=210, width=160` it shows the same games in full colour: the
    same seed and actions give the same rewards and ends, whatever the picture. Game i of N with
    seed s is the same for every N, so that game 0 of a batch can be filmed alone.

    Observations are uint8 `[N, height, width]`, or `[N, height, width, 3]` in colour. The token
    that stands for the state grows with each step, because the emulator cannot go back: a step
    from any but the last token is a ValueError.

    Args:
      name: the game in any usual spelling.
      num_envs: N.
      protocol: see `envs.protocols`.
      training: applies the protocol's life loss and frame cap of training, not of evaluation.
      grayscale: grey or RGB.
      height: of the frames.
      width: of the frames.
      num_threads: of each group's emulator; as many as the process may use by default.
      groups: so many groups of N / groups games step apart, by `Env.send` and `Env.recv`. The games
        are the same for any number of groups.
      timeout_s: a step that takes longer ends the process, see `envs.watchdog`.

    Raises:
      UserError: for an unknown game, a broken ROM or an argument out of range.
    """
    game, rom = names.rom_of(name)
    num_envs = host.check_num_envs(num_envs)
    height = validation.integer("height", height, 1, 1024)
    width = validation.integer("width", width, 1, 1024)
    if num_threads is not None:
        num_threads = validation.integer("num_threads", num_threads, 1, 1024)
    groups = validation.integer("groups", groups, 1)
    if num_envs % groups:
        raise UserError(
            f"groups is {groups!r}; it must be an integer that divides num_envs {num_envs}"
        )
    if not timeout_s > 0:
        raise UserError(f"timeout_s is {timeout_s}, must be positive")

    group_size = num_envs // groups
    emulators = [
        AtariVectorEnv(
            rom,
            group_size,
            # ale-py's own default counts the machine's cores, not those that we may use.
            num_threads=num_threads or min(group_size, machine.num_cores()),
            max_num_frames_per_episode=(
                protocol.max_frames_train if training else protocol.max_frames_eval
            ),
            repeat_action_probability=protocol.sticky_actions,
            full_action_space=protocol.full_action_space,
            autoreset_mode=gymnasium.vector.AutoresetMode.NEXT_STEP,
            img_height=height,
            img_width=width,
            grayscale=grayscale,
            stack_num=1,
            frameskip=protocol.frame_skip,
            noop_max=protocol.noop_max,
            episodic_life=False,  # would reset the whole game at each lost life
            life_loss_info=False,  # would report it as if the game were over
            reward_clipping=False,
            use_fire_reset=False,
        )
        for _ in range(groups)
    ]
    meanings = tuple(action.name for action in emulators[0].ale.get_action_set())
    spec = EnvSpec(
        game=game,
        num_envs=num_envs,
        num_actions=len(meanings),
        action_meanings=meanings,
        obs_shape=(height, width) if grayscale else (height, width, 3),
        obs_dtype="uint8",
        stack=4,
        frame_skip=protocol.frame_skip,
        protocol={**dataclasses.asdict(protocol), "training": training},
        traceable=False,
    )
    return _run(spec, emulators, protocol.life_loss_terminal and training, timeout_s)


def _run(spec: EnvSpec, emulators: list[AtariVectorEnv], life_loss: bool, timeout_s: float) -> Env:
    num_envs, num_groups = spec.num_envs, len(emulators)
    size = num_envs // num_groups
    cap = "max_frames_train" if spec.protocol["training"] else "max_frames_eval"
    games = _Games(
        emulators,
        os.getpid(),
        token=0,
        lives=np.zeros(num_envs),
        ended=np.zeros(num_envs, np.bool_),
        is_sent=[False] * num_groups,
    )
    last = _LastCall()
    watched = watchdog.start(
        timeout_s, lambda: f"{spec.game}, step {last.step}, actions {last.actions}"
    )
    weakref.finalize(emulators[0], watched.stop)  # also for an Env that nobody closed
    del emulators

    def reset(seed: Any) -> tuple[int, TimeStep]:
        running = _check_usable(games)
        seeds = host.game_seeds(seed, num_envs)
        for group in range(num_groups):
            if games.is_sent[group]:
                recv(group)
        told = [each.reset(seed=part) for each, part in zip(running, _parts(seeds), strict=True)]
        obs = _join([obs for obs, _ in told])
        games.token, games.lives = 0, np.concatenate([info["lives"] for _, info in told])
        games.ended = np.zeros(num_envs, np.bool_)
        zeros = np.zeros(num_envs, np.float32)
        return games.token, TimeStep(obs[:, 0], zeros, zeros + 1, np.ones(num_envs, np.bool_))

    def step(env_state: Any, actions: Any) -> tuple[int, TimeStep]:
        _check_usable(games)
        if env_state != games.token:
            raise ValueError(f"env_state is {env_state}, but these games are at {games.token}")
        actions = host.check_actions(actions, num_envs, spec.num_actions)
        for group, part in enumerate(_parts(actions)):
            send(group, part)
        timesteps = [recv(group) for group in range(num_groups)]
        return games.token, TimeStep(*map(_join, zip(*timesteps, strict=True)))

    def send(group: int, actions: Any) -> None:
        running = _check_usable(games)
        if games.is_sent[group]:
            raise ValueError(f"group {group} has a step under way: receive it before the next")
        # The emulator waits for ever on an action that it does not know.
        actions = host.check_actions(actions, size, spec.num_actions)
        games.token += 1
        last.step, last.actions = games.token, actions
        running[group].send(actions)
        games.is_sent[group] = True

    def recv(group: int) -> TimeStep:
        running = _check_usable(games)
        if not games.is_sent[group]:
            raise ValueError(f"group {group} was sent no actions: its step would never end")
        watched.enter()
        try:
            obs, reward, terminated, truncated, info = running[group].recv()
        finally:
            watched.leave()
        games.is_sent[group] = False
        mine = slice(group * size, (group + 1) * size)
        first, lives = games.ended[mine].copy(), info["lives"]
        if life_loss:
            lost = (lives < games.lives[mine]) & (lives > 0) & ~first
            discount = ~(terminated | lost)
        else:
            discount = ~terminated
        games.lives[mine], games.ended[mine] = lives, terminated | truncated
        return TimeStep(obs[:, 0], reward.astype(np.float32), discount.astype(np.float32), first)

    def restart(mine: np.ndarray, seed: Any) -> np.ndarray:
        running = _check_usable(games)
        seeds = host.game_seeds(seed, num_envs)
        mask = np.isin(np.arange(num_envs), mine)
        shown: dict[int, np.ndarray] = {}
        for group, (part, its_seeds) in enumerate(zip(_parts(mask), _parts(seeds), strict=True)):
            if part.any():
                if games.is_sent[group]:
                    raise ValueError(f"group {group} has a step under way: receive it first")
                obs, info = running[group].reset(seed=its_seeds[part], options={"reset_mask": part})
                index = group * size + np.flatnonzero(part)
                games.lives[index], games.ended[index] = info["lives"][part], False
                shown |= dict(zip(index.tolist(), obs[part, 0], strict=True))
        return np.stack([shown[game] for game in mine.tolist()])

    def close() -> None:
        games.emulators = []  # frees the C++ side; `AtariVectorEnv.close` does not
        watched.stop()

    def _parts(values: np.ndarray) -> list[np.ndarray]:
        return np.split(values, num_groups)

    return Env(
        spec,
        reset,
        step,
        close,
        lives=lambda: games.lives.copy(),
        groups=num_groups,
        send=send,
        recv=recv,
        restart=restart,
        max_episode_steps=spec.protocol[cap] // spec.frame_skip,
    )


def _join(parts: Sequence[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _check_usable(games: _Games) -> list[AtariVectorEnv]:
    if not games.emulators:
        raise RuntimeError("these games are closed")
    if os.getpid() != games.pid:
        # The emulator's threads do not exist in a forked child: it would wait for ever.
        raise RuntimeError("these games belong to the parent process: make them after the fork")
    return games.emulators
