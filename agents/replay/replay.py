"""The replay contract."""

from collections.abc import Callable
from typing import Any, NamedTuple

from agents.replay.ring import Ring
from dqnlab.types import Array, PyTree, TimeStep


class Sample(NamedTuple):
    """What a replay hands to a learner."""

    batch: Any  # a Transition, or sequences; what the agent's loss expects
    weights: Array  # float32[B]: importance weights; 0 takes an element out of the mean
    indices: PyTree  # where the elements came from, for `update`


class ReplayState(NamedTuple):
    """The ring of frames, which is saved as a growing log, and what is saved whole."""

    ring: Ring
    extra: PyTree = ()  # priorities, say


def _unchanged(state: ReplayState, unused: Array) -> ReplayState:
    del unused
    return state


class Replay(NamedTuple):
    """A replay memory as pure functions; every state is donated by the caller.

    init      () -> state
    add       (state, TimeStep[N], action[N], core) -> state; one row of N games
    sample    (state, key) -> Sample
    update    (state, indices, priority[B]) -> state
    min_rows  rows (vector steps) that must have been added before `sample` may be called
    note      (state, q[N, A]) -> state; the action values of the row just added, which a rollout
              bootstraps from
    begin     (state, key) -> state; once before the gradient steps of each `learn`, for what a
              rollout computes once for all of them
    """

    init: Callable[[], ReplayState]
    add: Callable[[ReplayState, TimeStep, Array, PyTree], ReplayState]
    sample: Callable[[ReplayState, Array], Sample]
    update: Callable[[ReplayState, PyTree, Array], ReplayState]
    min_rows: int
    note: Callable[[ReplayState, Array], ReplayState] = _unchanged
    begin: Callable[[ReplayState, Array], ReplayState] = _unchanged
