"""Optimizer presets: the published settings under one call; optax has the rest."""

import optax

from dqnlab.types import UserError

OPTIMIZERS = ("adam", "radam", "centered_rmsprop")


def make(
    name: str, learning_rate: float, epsilon: float, max_grad_norm: float | None = None
) -> optax.GradientTransformation:
    """An optimizer by name, with clipping by global norm before it where asked for.

    adam              arXiv:1412.6980, betas 0.9 and 0.999.
    radam             arXiv:1908.03265, the same betas.
    centered_rmsprop  Mnih et al. 2015: decay 0.95 for both moments, epsilon inside the square
                      root. Their code sums gradients over the batch of 32 where ours averages;
                      their 0.01 is therefore 0.01 / 32**2 here (as in DQN Zoo).

    Raises UserError for an unknown name.
    """
    if name == "adam":
        optimizer = optax.adam(learning_rate, eps=epsilon)
    elif name == "radam":
        optimizer = optax.radam(learning_rate, eps=epsilon)
    elif name == "centered_rmsprop":
        optimizer = optax.rmsprop(
            learning_rate, decay=0.95, eps=epsilon, centered=True, eps_in_sqrt=True
        )
    else:
        raise UserError(f"optimizer {name!r} is unknown; allowed: {', '.join(OPTIMIZERS)}")
    if max_grad_norm is None:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(max_grad_norm), optimizer)
