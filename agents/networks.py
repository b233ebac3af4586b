"""From an observation's shape and a run's settings to a Haiku network."""

from collections.abc import Callable
from pathlib import Path

import haiku as hk
import jax
import jax.numpy as jnp

from agents.presets import Settings
from dqnlab.nets import MLP, NatureTorso
from dqnlab.types import Array, EnvSpec, UserError


def transform(
    settings: Settings, spec: EnvSpec, head: Callable[[jnp.dtype], hk.Module]
) -> hk.TransformedWithState:
    """The network as pure functions: init(key, obs), apply(params, net_state, key, obs).

    Torso and head compute in the type of the settings; parameters and outputs are float32.
    """
    dtype = compute_type(settings.precision)
    torso = _torso(settings.torso, spec)

    def forward(obs: Array) -> Array:
        return head(dtype)(torso(dtype=dtype)(obs))

    return hk.transform_with_state(forward)


def compute_type(precision: str) -> jnp.dtype:
    """The type that a precision setting means on this machine."""
    if precision == "auto":
        precision = "bfloat16" if _multiplies_bfloat16() else "float32"
    return jnp.dtype(precision)


def _multiplies_bfloat16() -> bool:
    if jax.devices()[0].platform != "cpu":
        return True
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return False


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
