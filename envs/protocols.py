"""How scores are measured: the settings under which published numbers can be compared."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from dqnlab import records
from dqnlab.types import UserError
from envs import names


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Every setting of the emulator that changes scores. Frames are emulator frames, 60 a second.

    No protocol presses FIRE at a reset: none of the papers below does, the agent has to learn it.

    Raises UserError for values that the emulator would accept in silence, hang or crash on.
    """

    name: str
    sticky_actions: float  # probability that the emulator repeats the previous action
    noop_max: int  # a game starts with 0 .. noop_max - 1 no-ops; 0 for none
    life_loss_terminal: bool  # training only: a lost life has discount 0, and the game goes on
    max_frames_train: int  # truncates, counted after the no-ops
    max_frames_eval: int
    frame_skip: int = 4
    full_action_space: bool = False  # all 18 actions instead of those that the game uses

    def __post_init__(self) -> None:
        if not 0 <= self.sticky_actions <= 1:
            raise UserError(f"sticky_actions is {self.sticky_actions}, must be within 0 .. 1")
        if not 0 <= self.noop_max <= 30:
            raise UserError(f"noop_max is {self.noop_max}, must be within 0 .. 30")
        if self.frame_skip < 1:
            raise UserError(f"frame_skip is {self.frame_skip}, must be at least 1")
        for field in ("max_frames_train", "max_frames_eval"):
            # A cap inside a skip makes the emulator pool a fresh frame with a stale one.
            if (frames := getattr(self, field)) < 1 or frames % self.frame_skip:
                raise UserError(
                    f"{field} is {frames}, must be a positive multiple of frame_skip "
                    f"({self.frame_skip})"
                )


# Machado et al. 2018 (arXiv 1709.06009) ask for all 18 actions; the minimal set is Dopamine's
# choice (arXiv 1812.06110), whose published curves are what runs here are compared with.
_MACHADO2018 = Protocol(
    name="machado2018",
    sticky_actions=0.25,
    noop_max=0,
    life_loss_terminal=False,
    max_frames_train=108_000,
    max_frames_eval=108_000,
)

# Mnih et al. 2015 (doi 10.1038/nature14236): up to 30 no-ops (the emulator draws 0 .. 29),
# 5 minutes a game at evaluation. Life loss ends the learner's return; scores are of full games.
_NATURE2015 = Protocol(
    name="nature2015",
    sticky_actions=0.0,
    noop_max=30,
    life_loss_terminal=True,
    max_frames_train=108_000,
    max_frames_eval=18_000,
)

# Kaiser et al. 2020 (arXiv 1903.00374) as run by SPR (arXiv 2007.05929) and BBF (arXiv 2305.19452).
_ATARI100K = Protocol(
    name="atari100k",
    sticky_actions=0.0,
    noop_max=30,
    life_loss_terminal=True,
    max_frames_train=108_000,
    max_frames_eval=108_000,
)

PROTOCOLS: dict[str, Protocol] = {p.name: p for p in (_MACHADO2018, _NATURE2015, _ATARI100K)}


def find(protocol: str | Protocol) -> Protocol:
    """The protocol of that name; one that is already a Protocol is returned as it is.

    Raises UserError for an unknown name.
    """
    if isinstance(protocol, Protocol):
        return protocol
    if protocol not in PROTOCOLS:
        raise names.unknown("protocol", protocol, PROTOCOLS)
    return PROTOCOLS[protocol]


def of_run(saved: Mapping[str, Any]) -> Protocol | None:
    """Return the protocol that `EnvSpec.protocol` holds; None for games that have none.

    Raises UserError where it holds something else.
    """
    if "sticky_actions" not in saved:
        return None
    name = saved.get("name")
    if isinstance(name, str) and name in PROTOCOLS:
        return PROTOCOLS[name]
    known = {field.name for field in dataclasses.fields(Protocol)}
    values = {key: value for key, value in saved.items() if key in known}
    return records.load(Protocol, values, "the protocol of the run")
