"""Optimizers by name: the published settings under one call, and what optax lacks."""

import fnmatch
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from dqnlab.asgo import asgo
from dqnlab.gradient import average_gradient, windowed_adagrad
from dqnlab.types import Params, PyTree, UserError, choose

# Those that the agents' settings may name.
OPTIMIZERS = ("adam", "radam", "centered_rmsprop", "asgo")

# (learning rate or schedule, epsilon) -> transformation
_MAKERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adam": lambda rate, eps: optax.adam(rate, eps=eps),
    "radam": lambda rate, eps: optax.radam(rate, eps=eps),
    "centered_rmsprop": lambda rate, eps: optax.rmsprop(
        rate, decay=0.95, eps=eps, centered=True, eps_in_sqrt=True
    ),
    "rmsprop": lambda rate, eps: optax.rmsprop(rate, decay=0.9, eps=eps, eps_in_sqrt=False),
    "rmsprop_momentum": lambda rate, eps: optax.rmsprop(
        rate, decay=0.9, eps=eps, eps_in_sqrt=False, momentum=0.9
    ),
    "sgd": lambda rate, eps: optax.sgd(rate),
    "velocity": lambda rate, eps: optax.sgd(rate, momentum=0.9),
    "nesterov": lambda rate, eps: optax.sgd(rate, momentum=0.9, nesterov=True),
    "average_gradient": lambda rate, eps: average_gradient(rate, 1.0, 0.1),
    "adagrad": lambda rate, eps: optax.adagrad(rate, initial_accumulator_value=0.1, eps=eps),
    "windowed_adagrad": lambda rate, eps: windowed_adagrad(rate, window=20, k=0.1),
    "adadelta": lambda rate, eps: optax.adadelta(rate, eps=eps),
    "asgo": asgo,
}
NAMES = tuple(_MAKERS)


def make(
    name: str,
    learning_rate: float | optax.Schedule,
    epsilon: float = 1e-8,
    max_grad_norm: float | None = None,
    weight_decay: float = 0.0,
    dtype: jnp.dtype = jnp.float32,
) -> optax.GradientTransformation:
    """Return an optimizer by name, with clipping by global norm before it if asked for.

    adam              arXiv:1412.6980, betas 0.9 and 0.999.
    radam             arXiv:1908.03265, the same betas.
    centered_rmsprop  Mnih et al. 2015: decay 0.95 for both moments, epsilon inside the square
                      root. Their code sums gradients over the batch of 32 where ours averages;
                      their 0.01 is therefore 0.01 / 32**2 here (as in DQN Zoo).
    rmsprop, rmsprop_momentum  decay 0.9; the second with a velocity of 0.9 behind it.
    sgd               w <- w - eta g.
    velocity          v <- 0.9 v - eta g; w <- w + v.
    nesterov          the same, with the gradient taken where the velocity leads (v, look-ahead).
    average_gradient  m <- 0.9 m + 0.1 g; w <- w - eta g - eta m.
    adagrad           eta / sqrt(0.1 + sum g²).
    windowed_adagrad  the same sum over the last 20 steps.
    adadelta          arXiv:1212.5701, rho 0.9; its learning rate is 1 in the paper.
    asgo              arXiv:2503.20762, see dqnlab/asgo.py.

    Args:
      name: one of these.
      learning_rate: a number, or a schedule.
      epsilon: of the optimizers that have one.
      max_grad_norm: the gradient is scaled down to this norm; None for no clipping.
      weight_decay: w <- (1 - eta lambda) w beside the step, eta the current step size; on arrays
        of two or more axes only (arXiv:1711.05101: not the same as an L2 penalty under Adam).
      dtype: of asgo's products, float32 or bfloat16; everything else is float32.

    Raises UserError for an unknown name, and for numbers out of range.
    """
    chosen = choose(_MAKERS, name, "optimizer")
    _check(learning_rate, max_grad_norm, weight_decay)
    make_one = functools.partial(asgo, dtype=dtype) if name == "asgo" else chosen
    steps = [make_one(learning_rate, epsilon)]
    if max_grad_norm is not None:
        steps.insert(0, clip_by_global_norm(max_grad_norm))
    if weight_decay:
        steps.append(decoupled_decay(learning_rate, weight_decay))
    return steps[0] if len(steps) == 1 else optax.chain(*steps)


def _check(
    learning_rate: float | optax.Schedule, max_grad_norm: float | None, weight_decay: float
) -> None:
    if not callable(learning_rate) and not 0 < learning_rate < float("inf"):
        raise UserError(f"learning_rate is {learning_rate}; it must be above 0 and finite")
    if max_grad_norm is not None and not max_grad_norm > 0:
        raise UserError(f"max_grad_norm is {max_grad_norm}; it must be above 0, or None")
    if not 0 <= weight_decay < float("inf"):
        raise UserError(f"weight_decay is {weight_decay}; it must be 0 or more, and finite")


def clip_by_global_norm(max_norm: float) -> optax.GradientTransformation:
    """As optax's, but by one factor for all arrays.

    optax divides each element by the norm and selects. XLA:CPU makes that a pass of its own over
    all gradients (1.3 CPU ms of 33 in a DQN update); a factor goes into the optimizer's passes.
    """

    def update(
        updates: PyTree, state: optax.EmptyState, params: Params | None = None
    ) -> tuple[PyTree, optax.EmptyState]:
        norm = optax.tree.norm(updates)
        factor = jnp.where(norm < max_norm, 1.0, max_norm / norm)
        return jax.tree.map(lambda g: g * factor.astype(g.dtype), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def decoupled_decay(
    learning_rate: float | optax.Schedule, weight_decay: float
) -> optax.GradientTransformation:
    """Adds -eta lambda w to updates that are ready to apply: the decay of AdamW, for any optimizer.

    optax.adamw has it for Adam alone; behind the others, too, it must come after all scaling.
    """
    schedule = learning_rate if callable(learning_rate) else optax.constant_schedule(learning_rate)

    def init(params: Params) -> optax.ScaleByScheduleState:
        return optax.ScaleByScheduleState(count=jnp.zeros((), jnp.int32))

    def update(
        updates: PyTree, state: optax.ScaleByScheduleState, params: Params | None = None
    ) -> tuple[PyTree, optax.ScaleByScheduleState]:
        rate = schedule(state.count) * weight_decay
        updates = jax.tree.map(lambda u, w: u - rate * w if w.ndim > 1 else u, updates, params)
        return updates, optax.ScaleByScheduleState(state.count + 1)

    return optax.GradientTransformation(init, update)


def by_layer(
    rates: dict[str, float], make_one: Callable[[float], optax.GradientTransformation]
) -> optax.GradientTransformation:
    """A learning rate for each layer: {"conv2_d*": 1e-4, "*": 1e-3}; the first match counts.

    Names are Haiku's module names, patterns those of `fnmatch`. UserError where none matches.
    """

    def labels(params: Params) -> PyTree:
        def label(module: str) -> str:
            for pattern in rates:
                if fnmatch.fnmatchcase(module, pattern):
                    return pattern
            raise UserError(f"no learning rate for layer {module!r}; patterns: {', '.join(rates)}")

        return {module: dict.fromkeys(arrays, label(module)) for module, arrays in params.items()}

    return optax.multi_transform({name: make_one(rate) for name, rate in rates.items()}, labels)
