"""Step sizes over the course of training, by name; optax has the rest."""

from collections.abc import Callable

import jax.numpy as jnp
import optax

from dqnlab.types import Array, UserError, choose

_WARMUP = 0.05  # share of the steps
_DECAY = 0.1  # beta of inverse_power, as a share of the steps
_GAMMA = 0.75  # Bottou's choice

# (learning rate, total steps) -> schedule
SCHEDULES: dict[str, Callable[[float, int], optax.Schedule]] = {
    "constant": lambda rate, steps: optax.constant_schedule(rate),
    "linear": lambda rate, steps: optax.linear_schedule(rate, 0.0, steps),
    "cosine": lambda rate, steps: optax.cosine_decay_schedule(rate, steps),
    "warmup_cosine": lambda rate, steps: optax.warmup_cosine_decay_schedule(
        0.0, rate, max(1, round(_WARMUP * steps)), max(2, steps)
    ),
    "exponential": lambda rate, steps: optax.exponential_decay(rate, steps, 0.01),
    "inverse_power": lambda rate, steps: inverse_power(
        rate * max(1.0, _DECAY * steps) ** _GAMMA, max(1.0, _DECAY * steps), _GAMMA
    ),
    "piecewise": lambda rate, steps: optax.piecewise_constant_schedule(
        rate, {-(-steps // 2): 0.1, -(-steps * 3 // 4): 0.1}
    ),
}
DEPEND_ON_STEPS = frozenset(SCHEDULES) - {"constant"}


def make(name: str, learning_rate: float, steps: int) -> optax.Schedule:
    """A schedule over `steps` updates, by name.

    constant       the learning rate.
    linear         down to 0.
    cosine         half a cosine down to 0.
    warmup_cosine  up from 0 over the first 5 %, then the same.
    exponential    by the same factor each step, down to 1 %.
    inverse_power  alpha / (beta + t)^0.75 with beta a tenth of the steps.
    piecewise      a tenth of it after half of the steps, a hundredth after three quarters.

    Raises UserError for an unknown name, or a learning rate or number of steps out of range.
    """
    chosen = choose(SCHEDULES, name, "schedule")
    if not 0 < learning_rate < float("inf"):
        raise UserError(f"learning_rate is {learning_rate}; it must be above 0 and finite")
    if steps < 1:
        raise UserError(f"a schedule over {steps} steps: at least 1")
    return chosen(learning_rate, steps)


def inverse_power(alpha: float, beta: float, gamma: float) -> optax.Schedule:
    """alpha / (beta + t)^gamma at step t = 0, 1, ...

    The sum of the steps diverges and that of their squares converges, as Robbins and Monro ask,
    for 1/2 < gamma <= 1.
    """

    def schedule(step: Array) -> Array:
        return alpha / (beta + jnp.asarray(step, jnp.float32)) ** gamma

    return schedule
