"""All agents by name. A new one is a row here, and a file if its loss is new.

It has the shared `laptop` numbers; a row in presets.py gives it others.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import optax

from agents import c51, dqn, iqn, networks, pqn, qr_dqn, r2d2
from agents.agent import Agent
from agents.replay import Replay, prioritized, rollout, sequence, uniform
from agents.settings import Settings, choose, whole
from dqnlab import optim
from dqnlab.layers.lstm import zero_state
from dqnlab.types import EnvSpec, UserError


class Entry(NamedTuple):
    """One agent of the family: a loss with the settings that its presets hold."""

    make: Callable[[Settings, EnvSpec], Agent]
    paper: str
    summary: str
    replays: tuple[str, ...] = ("uniform", "prioritized")


AGENTS: dict[str, Entry] = {
    "dqn": Entry(dqn.make, "Mnih et al. 2015", "deep Q-network"),
    "double_dqn": Entry(dqn.make, "1509.06461", "the online network chooses, the target values"),
    "dueling": Entry(dqn.make, "1511.06581", "separate value and advantage streams"),
    "prioritized": Entry(dqn.make, "1511.05952", "transitions drawn in proportion to TD error"),
    "noisy": Entry(dqn.make, "1706.10295", "learnt noise in the weights in place of epsilon"),
    "c51": Entry(c51.make, "1707.06887", "a categorical distribution of the return"),
    "qr_dqn": Entry(qr_dqn.make, "1710.10044", "fixed quantiles of the return"),
    "iqn": Entry(iqn.make, "1806.06923", "quantiles of the return at sampled fractions"),
    "m_dqn": Entry(dqn.make, "2007.14430", "the log-policy added to the reward"),
    "m_iqn": Entry(iqn.make, "2007.14430", "the same with implicit quantiles"),
    "rainbow": Entry(
        c51.make, "1710.02298", "c51 + double, dueling, noisy, prioritized, 3-step returns"
    ),
    "rainbow_dopamine": Entry(
        c51.make, "1812.06110", "what Dopamine calls Rainbow: c51 + prioritized, 3-step returns"
    ),
    "btr": Entry(
        iqn.make,
        "2411.03820",
        "Beyond the Rainbow: Impala, spectral norm, Munchausen, IQN, noisy dueling, prioritized",
    ),
    "der": Entry(c51.make, "1906.05243", "data-efficient Rainbow: an update each step, n = 10"),
    "drq_eps": Entry(
        dqn.make, "2004.13649, 2108.13264", "double dueling DQN on randomly shifted images"
    ),
    "pqn": Entry(
        pqn.make,
        "2407.04811",
        "no replay, no target network: LayerNorm, many games, lambda-returns",
        ("rollout",),
    ),
    "r2d2": Entry(
        r2d2.make,
        "Kapturowski et al. 2019",
        "a memory (LSTM), trained on sequences with the state they began with",
        ("sequence", "prioritized_sequence"),
    ),
}


def make(name: str, settings: Settings, spec: EnvSpec) -> Agent:
    """The agent of that name. UserError for an unknown one, or settings that it cannot use."""
    entry = choose(AGENTS, name, "agent")
    if settings.replay not in entry.replays:
        raise UserError(
            f"replay is {settings.replay!r}; {name} learns from: {', '.join(entry.replays)}"
        )
    if settings.clip_weighted_errors and entry.make is not dqn.make:
        raise UserError(f"clip_weighted_errors is True; {name} has no single TD error to clip")
    return entry.make(settings, spec)


def make_replay(settings: Settings, spec: EnvSpec) -> Replay:
    """The replay that the settings ask for."""
    return _REPLAYS[settings.replay](settings, spec)


def make_optimizer(settings: Settings) -> optax.GradientTransformation:
    """The optimizer that the settings ask for, with its learning rate's rise and fall."""
    rate: float | optax.Schedule = settings.learning_rate
    if settings.learning_rate_final is not None:
        start = settings.learning_rate_decay_starts
        begin = settings.updates_after(start)
        steps = settings.updates_after(start + settings.learning_rate_decay_steps) - begin
        rate = optax.linear_schedule(
            settings.learning_rate, settings.learning_rate_final, max(steps, 1), begin
        )
    warmup = settings.updates_after(settings.learning_starts + settings.learning_rate_warmup_steps)
    if warmup:
        rate = _rising(rate, warmup)
    return optim.make(
        settings.optimizer,
        rate,
        settings.optimizer_epsilon,
        settings.max_grad_norm,
        dtype=networks.compute_type(settings.precision),
    )


def check_name(name: str) -> None:
    """Raise UserError for an agent that does not exist."""
    choose(AGENTS, name, "agent")


def _rising(rate: float | optax.Schedule, warmup: int) -> optax.Schedule:
    """`rate`, of which the first `warmup` updates have a share that grows to 1."""
    later = rate if callable(rate) else optax.constant_schedule(rate)
    return lambda update: later(update) * jnp.minimum(1.0, (update + 1) / warmup)


def _uniform(settings: Settings, spec: EnvSpec) -> Replay:
    return uniform.make(
        spec,
        capacity=settings.replay_capacity,
        batch_size=settings.batch_size,
        n_step=settings.n_step,
        gamma=settings.discount,
    )


def _prioritized(settings: Settings, spec: EnvSpec) -> Replay:
    return prioritized.make(
        spec,
        capacity=settings.replay_capacity,
        batch_size=settings.batch_size,
        n_step=settings.n_step,
        gamma=settings.discount,
        exponent=settings.priority_exponent,
        importance=_importance(settings),
        uniform_share=settings.priority_uniform_share,
    )


def _importance(settings: Settings) -> prioritized.Schedule:
    return prioritized.Schedule(
        start=settings.importance_exponent,
        end=settings.importance_exponent_final,
        begin_steps=settings.learning_starts,
        num_steps=whole(settings.importance_exponent_steps),
    )


def _sequence(settings: Settings, spec: EnvSpec) -> Replay:
    is_prioritized = settings.replay == "prioritized_sequence"
    return sequence.make(
        spec,
        capacity=settings.replay_capacity,
        batch_size=settings.batch_size,
        shape=sequence.Shape(
            settings.burn_in, settings.sequence_length, settings.n_step, settings.sequence_period
        ),
        gamma=settings.discount,
        core=zero_state(spec.num_envs, settings.hidden),
        exponent=settings.priority_exponent if is_prioritized else None,
        importance=_importance(settings),
    )


def _rollout(settings: Settings, spec: EnvSpec) -> Replay:
    return rollout.make(
        spec,
        num_rows=settings.rollout_steps,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        gamma=settings.discount,
        lambda_=settings.td_lambda,
    )


_REPLAYS: dict[str, Callable[[Settings, EnvSpec], Replay]] = {
    "uniform": _uniform,
    "prioritized": _prioritized,
    "sequence": _sequence,
    "prioritized_sequence": _sequence,
    "rollout": _rollout,
}
