"""The agent contract: a record of pure functions (as optax does it), never a base class."""

from collections.abc import Callable
from typing import Any, NamedTuple

from dqnlab.types import Array, Params, PyTree


class Transition(NamedTuple):
    """A batch of n-step transitions, in the vocabulary of the losses.

    `r_t` is the sum of discounted rewards of up to n steps and `discount_t` the factor on the
    value of `s_t` (gamma^n, or 0 after a termination), so `(1 - done)` never appears.
    """

    s_tm1: Array  # [B, *obs_shape, K] K stacked frames, oldest first (vectors: [B, D])
    a_tm1: Array  # int32[B]
    r_t: Array  # float32[B]
    discount_t: Array  # float32[B]
    s_t: Array  # as s_tm1


class LossOutput(NamedTuple):
    """What a loss says about each element of the batch."""

    loss: Array  # float32[B]; the runner takes the (importance-weighted) mean
    priority: Array  # float32[B], >= 0; what a prioritized replay stores
    metrics: dict[str, Array]  # scalars for the log, e.g. {"q_mean": ...}
    net_state: PyTree
    td_error: Array | None = None  # float32[B], of losses of one TD error for each element


class Agent(NamedTuple):
    """One member of the DQN family.

    init      (key) -> (params, net_state)
    core      (batch_size) -> initial recurrent state; () for feed-forward nets
    q_values  (params, net_state, key, obs[B, *obs_shape, K], core, training) -> (q[B, A], core)
    loss      (params, target_params, net_state, key, Transition) -> LossOutput
    has_target  whether `loss` needs target_params; () otherwise
    returns   distributional agents: (params, net_state, key, obs[B, *obs_shape, K])
              -> (values[B, A, M], probabilities[B, A, M]) of the predicted return
    """

    init: Callable[[Array], tuple[Params, PyTree]]
    core: Callable[[int], PyTree]
    q_values: Callable[..., tuple[Array, PyTree]]
    loss: Callable[[Params, Params, PyTree, Array, Any], LossOutput]
    has_target: bool = True
    returns: Callable[..., tuple[Array, Array]] | None = None
