"""What agents without memory share: acting, and the forward passes of a gradient step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from agents import networks
from agents.agent import Agent, LossOutput, Transition
from agents.settings import Settings
from dqnlab.layers.random_shift import random_shift
from dqnlab.types import Array, EnvSpec, Params, PyTree


class Values(NamedTuple):
    """The output of a network that says what actions are worth, and no more."""

    q: Array  # [B, A]


class Passes(NamedTuple):
    """What the networks say about a batch; each output is a record with the field q[B, A].

    Every one is a forward pass of its own, with noise of its own: only `tm1` has a gradient, and
    in one batch with it the others would get a backward pass too.
    """

    tm1: Any  # online network at s_tm1
    t: Any  # target network at s_t
    q_selector: Array  # [B, A]: its maximum is the action taken at s_t
    q_policy: Array  # [B, A]: its softmax at s_tm1 earns the Munchausen bonus
    net_state: PyTree


def make(
    settings: Settings,
    spec: EnvSpec,
    head: networks.Forward,
    loss_of: Callable[[Passes, Transition], LossOutput],
    returns_of: Callable[[Any], tuple[Array, Array]] | None = None,
) -> Agent:
    """An agent with a target network from its head and its loss.

    Args:
      head: inside Haiku, (features[B, F], is_training) -> a record with the field q[B, A].
      loss_of: what is to be minimised.
      returns_of: for distributional agents, the head's record -> values and probabilities of the
        return, each [B, A, M].
    """
    network = networks.transform(settings, spec, head)

    def returns(params: Params, net_state: PyTree, key: Array, obs: Array) -> tuple[Array, Array]:
        assert returns_of is not None
        return returns_of(network.apply(params, net_state, key, obs, False)[0])

    def loss(
        params: Params, target_params: Params, net_state: PyTree, key: Array, batch: Transition
    ) -> LossOutput:
        keys = jax.random.split(key, 6)
        s_tm1 = augment(settings, keys[4], batch.s_tm1)
        s_t = augment(settings, keys[5], batch.s_t)
        tm1, new_state = network.apply(params, net_state, keys[0], s_tm1, True)
        t, _ = network.apply(target_params, net_state, keys[1], s_t, True)
        q_selector, q_policy = t.q, tm1.q
        if settings.double:
            fixed = jax.lax.stop_gradient(params)
            q_selector = network.apply(fixed, net_state, keys[2], s_t, True)[0].q
        if settings.munchausen_alpha and settings.munchausen_policy == "target":
            q_policy = network.apply(target_params, net_state, keys[3], s_tm1, True)[0].q
        return loss_of(Passes(tm1, t, q_selector, q_policy, new_state), batch)

    agent = without_memory(network, spec, loss)
    return agent if returns_of is None else agent._replace(returns=returns)


def without_memory(
    network: hk.TransformedWithState, spec: EnvSpec, loss: Callable[..., LossOutput]
) -> Agent:
    """An agent that acts upon what it sees; the network's output is a record with the field q."""

    def init(key: Array) -> tuple[Params, PyTree]:
        return network.init(key, networks.example_obs(spec), True)

    def q_values(
        params: Params, net_state: PyTree, key: Array, obs: Array, core: PyTree, training: bool
    ) -> tuple[Array, PyTree]:
        output, _ = network.apply(params, net_state, key, obs, training)
        return output.q, core

    return Agent(init, lambda batch_size: (), q_values, loss)


def augment(settings: Settings, key: Array, images: Array) -> Array:
    """Images [B, H, W, K] moved and made brighter or darker at random, if the settings say so.

    DrQ's augmentations (2004.13649) as in Dopamine's Atari-100k agents (drq_image_augmentation).
    Vectors [B, D, K] are left alone: one preset serves all games.
    """
    images = networks.fold(images)
    if images.ndim != 4:
        return images
    shift_key, intensity_key = jax.random.split(key)
    if settings.augmentation_pad:
        images = random_shift(shift_key, images, settings.augmentation_pad)
    if settings.augmentation_intensity:
        noise = jnp.clip(jax.random.normal(intensity_key, (len(images), 1, 1, 1)), -2.0, 2.0)
        scale = 1 / 255 if images.dtype == jnp.uint8 else 1.0
        images = images * (scale * (1.0 + settings.augmentation_intensity * noise))
    return images
