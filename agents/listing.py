"""What `--list` prints: every agent with its paper, its presets and its size."""

import math

import jax

from agents import presets, registry
from agents.agent import Agent
from dqnlab.types import EnvSpec

# An Atari game with the full set of actions.
ATARI = EnvSpec("Atari", 1, 18, ("",) * 18, (84, 84), "uint8", 4, 4, {}, False)


def num_parameters(agent: Agent) -> tuple[int, int]:
    """How many parameters act, and how many more scale the noise of noisy layers.

    Papers count the first: a noisy layer without its noise is a plain one.
    """
    params, _ = jax.eval_shape(agent.init, jax.random.PRNGKey(0))
    sizes = [
        (name.endswith("_sigma"), math.prod(array.shape))
        for module in params.values()
        for name, array in module.items()
    ]
    noise = sum(size for is_sigma, size in sizes if is_sigma)
    return sum(size for _, size in sizes) - noise, noise


def table() -> str:
    """Return, for each agent, its summary, its paper and its presets with their sizes."""
    lines = ["Agents. Numbers of parameters are for 18 actions.", ""]
    for name, entry in registry.AGENTS.items():
        sizes = []
        for kind, settings in presets.presets_of(name).items():
            acting, noise = num_parameters(registry.make(name, settings, ATARI))
            extra = f" + {noise:,} of noise" if noise else ""
            sizes.append(f"{kind} ({acting:,}{extra} parameters)")
        lines += [f"{name:17}{entry.summary}", f"{'':17}paper: {entry.paper}"]
        lines += [f"{'':17}presets: {', '.join(sizes)}", ""]
    return "\n".join(lines[:-1])
