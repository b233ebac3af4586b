"""From an observation's shape and a run's settings to a Haiku network."""

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax.numpy as jnp
import jmp

from agents.presets import Settings
from dqnlab.nets import MLP, NatureTorso
from dqnlab.types import Array, EnvSpec, UserError


class QNetwork(hk.Module):
    """A torso and a head, in the compute type of the settings; outputs are float32."""

    def __init__(self, torso: Callable[[], hk.Module], head: Callable[[], hk.Module]):
        super().__init__(name="q_network")
        self._torso = torso
        self._head = head

    def __call__(self, obs: Array) -> Array:
        """[B, *obs_shape, K] -> what the head gives."""
        return self._head()(self._torso()(obs))


def transform(
    settings: Settings, spec: EnvSpec, head: Callable[[], hk.Module]
) -> hk.TransformedWithState:
    """The network as pure functions: init(key, obs), apply(params, net_state, key, obs)."""
    dtype = jnp.dtype(settings.precision)
    policy = jmp.Policy(param_dtype=jnp.float32, compute_dtype=dtype, output_dtype=jnp.float32)
    torso = _torso(settings.torso, spec)

    def forward(obs: Array) -> Any:
        with hk.mixed_precision.push_policy(QNetwork, policy):
            return QNetwork(lambda: torso(dtype=dtype), head)(obs)

    return hk.transform_with_state(forward)


def example_obs(spec: EnvSpec) -> Array:
    """One observation of zeros, [1, *obs_shape, K]: what `init` needs to see."""
    return jnp.zeros((1, *spec.obs_shape, spec.stack), spec.obs_dtype)


def _torso(name: str, spec: EnvSpec) -> Callable[..., hk.Module]:
    is_image = len(spec.obs_shape) == 2 and min(spec.obs_shape) >= 36
    if name == "auto":
        name = "nature" if is_image else "mlp"
    if name == "nature" and not is_image:
        raise UserError(
            f"torso nature needs images of at least 36x36; {spec.game} shows {spec.obs_shape}: "
            "use --torso mlp"
        )
    return {"nature": NatureTorso, "mlp": MLP}[name]
