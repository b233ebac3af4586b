"""All agents by name. A new one is a file with `make`, and a row here."""

import difflib
from collections.abc import Callable
from typing import NamedTuple

from agents import dqn
from agents.agent import Agent
from agents.presets import Settings
from agents.replay import Replay, uniform
from dqnlab.types import EnvSpec, UserError


class Entry(NamedTuple):
    """One agent of the family."""

    make: Callable[[Settings, EnvSpec], Agent]
    paper: str
    summary: str


AGENTS: dict[str, Entry] = {
    "dqn": Entry(
        dqn.make, "Mnih et al. 2015", "deep Q-network; --double and --dueling switch both on or off"
    ),
}


def make(name: str, settings: Settings, spec: EnvSpec) -> Agent:
    """The agent of that name; UserError naming the nearest one otherwise."""
    check_name(name)
    return AGENTS[name].make(settings, spec)


def make_replay(settings: Settings, spec: EnvSpec) -> Replay:
    """The replay that the settings ask for."""
    return uniform.make(
        spec,
        capacity=settings.replay_capacity,
        batch_size=settings.batch_size,
        n_step=settings.n_step,
        gamma=settings.discount,
    )


def check_name(name: str) -> None:
    """Raise UserError for an agent that does not exist."""
    if name not in AGENTS:
        near = difflib.get_close_matches(name, AGENTS, n=1, cutoff=0.0)
        raise UserError(
            f"agent {name!r} is unknown; did you mean {near[0]}? Allowed: {', '.join(AGENTS)}"
        )
