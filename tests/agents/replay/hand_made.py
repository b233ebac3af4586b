"""Hand-made episodes with poisoned reset rows, and what they mean, in plain Python."""

import numpy as np

from dqnlab.types import EnvSpec, TimeStep


def spec_of(num_envs: int, stack: int) -> EnvSpec:
    return EnvSpec("model", num_envs, 3, ("a", "b", "c"), (2,), "uint8", stack, 1, {}, False)


def play(rng: np.random.Generator, rows: int, num_envs: int, end: float) -> list[TimeStep]:
    """Rows of games with NEXT_STEP resets; a row's frame is unlike the 250 before it.

    Some terminations are of a life only, with no reset after them.
    """
    over = np.ones(num_envs, bool)
    steps = []
    for row in range(rows):
        first = over
        draw = rng.random((3, num_envs))
        terminated = ~first & (draw[0] < end / 2)
        over = ~first & ((terminated & (draw[1] < 0.8)) | (draw[2] < end / 2))
        frame = 1 + (row * num_envs + np.arange(num_envs)) % 250
        obs = np.stack([frame, 255 - frame], axis=1).astype(np.uint8)
        reward = np.where(first, 99.0, rng.normal(size=num_envs)).astype(np.float32)
        steps.append(TimeStep(obs, reward, np.where(terminated, 0, 1).astype(np.float32), first))
    return steps


def stack_at(steps: list[TimeStep], row: int, game: int, stack: int) -> np.ndarray:
    """The last frames of the episode up to `row`, zeros before its start: [2, K]."""
    frames = [np.zeros(2, np.uint8)] * stack
    for back in range(stack):
        frames[stack - 1 - back] = steps[row - back].obs[game]
        if steps[row - back].first[game]:
            break
    return np.stack(frames, axis=-1)


def goes_on(steps: list[TimeStep], row: int, game: int) -> bool:
    """Whether a transition leads out of this row."""
    return not steps[row + 1].first[game]
