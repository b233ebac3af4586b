"""What each setting may be; everything else is refused before a run begins."""

import math

from agents import schedules
from agents.settings import (
    INITIALIZERS,
    MUNCHAUSEN_POLICIES,
    PADDINGS,
    PRECISIONS,
    REPLAYS,
    TORSOS,
    Settings,
)
from dqnlab import optim
from dqnlab.types import UserError

_AT_LEAST_ONE = (
    "num_envs",
    "batch_size",
    "replay_capacity",
    "update_period",
    "target_update_period",
    "n_step",
    "hidden",
    "num_quantiles",
    "num_taus",
    "num_action_taus",
    "num_cosines",
    "sequence_length",
    "sequence_period",
    "rollout_steps",
    "epochs",
)
_AT_LEAST_ZERO = (
    "learning_starts",
    "first_cosine",
    "augmentation_pad",
    "burn_in",
)
_SHARES = (
    "discount",
    "epsilon_initial",
    "epsilon_final",
    "evaluation_epsilon",
    "munchausen_alpha",
    "augmentation_intensity",
    "priority_exponent",
    "importance_exponent",
    "importance_exponent_final",
    "priority_uniform_share",
    "priority_max_share",
    "td_lambda",
)
_ABOVE_ZERO = (
    "learning_rate",
    "optimizer_epsilon",
    "munchausen_tau",
    "v_max",
)
_NONE_OR_ABOVE_ZERO = (
    "learning_rate_final",
    "reward_clip",
    "max_grad_norm",
    "huber_delta",
    "noisy_sigma",
    "noisy_limit",
)
_CHOICES = {
    "torso": TORSOS,
    "torso_padding": PADDINGS,
    "initializer": INITIALIZERS,
    "precision": PRECISIONS,
    "replay": REPLAYS,
    "munchausen_policy": MUNCHAUSEN_POLICIES,
    "optimizer": optim.OPTIMIZERS,
}


def check(settings: Settings) -> None:
    """Raise UserError for the first setting that is impossible, naming what is allowed."""
    s = settings
    for name in _AT_LEAST_ONE:
        _require(getattr(s, name) >= 1, s, name, "an integer of at least 1")
    for name in _AT_LEAST_ZERO:
        _require(getattr(s, name) >= 0, s, name, "an integer of at least 0")
    value = s.pool_size
    _require(value is None or value >= 1, s, "pool_size", "None or an integer of at least 1")
    for name in schedules.LENGTHS:
        length = getattr(s, name)
        is_fine = schedules.is_length(length) or (name == "epsilon_off_steps" and length is None)
        _require(
            is_fine, s, name, "a whole number of agent steps or a share of the run (0.0 .. 1.0)"
        )
    for name in _SHARES:
        _require(0 <= getattr(s, name) <= 1, s, name, "between 0 and 1")
    for name in _ABOVE_ZERO:
        _require(0 < getattr(s, name) < math.inf, s, name, "a finite number above 0")
    for name in _NONE_OR_ABOVE_ZERO:
        value = getattr(s, name)
        _require(value is None or 0 < value < math.inf, s, name, "None or a number above 0")
    for name, allowed in _CHOICES.items():
        _require(getattr(s, name) in allowed, s, name, f"one of {', '.join(allowed)}")
    is_decay = s.learning_rate_final is None or s.learning_rate_final <= s.learning_rate
    at_most = f"None or at most learning_rate ({s.learning_rate})"
    _require(is_decay, s, "learning_rate_final", at_most)
    is_whole = s.torso_width > 0 and (16 * s.torso_width) % 1 == 0
    _require(is_whole, s, "torso_width", "a multiple of 1/16, above 0")
    _require(s.num_atoms >= 2, s, "num_atoms", "an integer of at least 2")
    _require(-math.inf < s.munchausen_l0 <= 0, s, "munchausen_l0", "a finite number, at most 0")
    _require(s.batch_size <= s.replay_capacity, s, "batch_size", "at most replay_capacity")
    if s.replay == "rollout":
        size = s.num_envs * s.rollout_steps
        _require(
            size % s.batch_size == 0,
            s,
            "batch_size",
            f"a divisor of num_envs * rollout_steps ({size})",
        )
    if s.replay.endswith("sequence"):
        longest = s.replay_capacity // s.num_envs - s.burn_in - s.n_step
        _require(
            s.sequence_length <= longest,
            s,
            "sequence_length",
            f"at most {longest}: replay_capacity / num_envs - burn_in - n_step",
        )
    is_multiple = s.target_update_period % s.update_period == 0
    multiple = f"a multiple of update_period ({s.update_period})"
    _require(is_multiple, s, "target_update_period", multiple)
    is_plain = s.torso_padding == "valid" or not s.layer_norm
    _require(is_plain, s, "torso_padding", "valid with layer_norm")
    is_plain = s.torso_padding == "valid" or not s.centre_frames
    _require(is_plain, s, "torso_padding", "valid with centre_frames")
    is_clipped = s.huber_delta is not None or not s.clip_weighted_errors
    _require(is_clipped, s, "clip_weighted_errors", "off where huber_delta is None")
    is_one = not (s.double and s.munchausen_alpha)
    _require(is_one, s, "double", "off with Munchausen targets, which average over all actions")


def _require(is_fine: bool, settings: Settings, name: str, allowed: str) -> None:
    if not is_fine:
        raise UserError(f"{name} is {getattr(settings, name)}; it must be {allowed}")
