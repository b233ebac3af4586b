"""Which pixels of a game a Q-value depends on."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from agents import networks
from agents.agent import Agent
from dqnlab.looking import saliency
from dqnlab.types import Array, Params, PyTree, UserError

METHODS = ("gradient", "perturbation")
Saliency = Callable[[Params, PyTree, Array, PyTree, Array], Array]


def make(agent: Agent, method: str = "gradient") -> Saliency:
    """A jitted `saliency(params, net_state, frames, core, action)` -> heat, for any agent.

    It takes frames[B, H, W, K] or [B, H, W, C, K] (uint8, oldest first), the recurrent state
    *before* them (`agent.core(B)` for feed-forward agents) and the action int32[B] whose Q-value is
    asked about; it gives float32[B, H, W], the maximum of each picture 1. Noise in the weights is
    off.

    trained = agents.load("runs/Pong-prioritized-s0-...")
    heat_of = saliency.make(trained.agent)
    heat = heat_of(trained.params, trained.net_state, frames, trained.agent.core(B), action)

    `gradient` costs one forward and backward pass (fit for every frame of a game that is watched);
    `perturbation` costs about 300 forward passes and is smoother. Parameters are arguments:
    another checkpoint of the same net compiles nothing anew.

    Raises UserError for an unknown method; the function it returns, for games without images.
    """
    if method not in METHODS:
        raise UserError(f"saliency method is {method!r}; it must be one of {', '.join(METHODS)}")

    def heat(
        params: Params, net_state: PyTree, frames: Array, core: PyTree, action: Array
    ) -> Array:
        frames = networks.fold(frames)
        if frames.ndim != 4:
            raise UserError(f"saliency needs images; these observations are {frames.shape[1:]}")
        actions, num_frames = jnp.asarray(action), len(frames)

        def chosen(x: Array) -> Array:  # [P * B, ...] -> [P * B]
            # The same key for each of the P variants: a net that draws at random (iqn its quantile
            # fractions) must differ by what was changed only.
            def q_values(each: Array) -> Array:
                key = jax.random.PRNGKey(0)
                return agent.q_values(params, net_state, key, each, core, False)[0]

            q = jax.vmap(q_values)(x.reshape(-1, num_frames, *x.shape[1:]))
            index = jnp.broadcast_to(actions[None, :, None], (*q.shape[:2], 1))
            return jnp.take_along_axis(q, index, axis=2).reshape(-1)

        if method == "gradient":
            return saliency.heat(saliency.gradient(chosen, frames), smooth=frames.shape[1] / 60)
        return saliency.heat(saliency.perturbation(lambda x: chosen(x)[:, None], frames))

    return jax.jit(heat)
