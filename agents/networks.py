"""From an observation's shape and a run's settings to a Haiku network."""

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from agents.settings import Settings
from dqnlab import machine, native
from dqnlab.layers.noisy import NoisyLinear
from dqnlab.nets import MLP, ImpalaTorso, NatureTorso, QHead
from dqnlab.nets.layer_norm import LayerNormMLP, LayerNormNature
from dqnlab.types import Array, EnvSpec, UserError

Forward = Callable[[Array, bool], Any]  # (x[B, ...], is_training) -> output, inside Haiku


def transform(settings: Settings, spec: EnvSpec, head: Forward) -> hk.TransformedWithState:
    """The network as pure functions of the observation and of whether it is training.

    init(key, obs, is_training), apply(params, net_state, key, obs, is_training). Torso and head
    compute in the type of the settings; parameters are float32. `is_training` turns noise on and
    lets spectral normalisation move its estimates.
    """
    torso = make_torso(settings, spec)
    return build(settings, lambda obs, is_training: head(torso(obs, is_training), is_training))


def build(settings: Settings, forward: Callable[..., Any]) -> hk.TransformedWithState:
    """`forward`, a function inside Haiku, with the parameters that the settings ask for."""

    def with_parameters(*args: Any) -> Any:
        with hk.custom_creator(_creator(settings.initializer)), hk.custom_getter(_getter):
            return forward(*args)

    return hk.transform_with_state(with_parameters)


def make_torso(settings: Settings, spec: EnvSpec) -> Forward:
    """obs[B, *obs_shape, K] -> features[B, F]. UserError where the torso cannot see such games."""
    dtype, name = compute_type(settings.precision), torso_name(settings, spec)

    def torso(obs: Array, is_training: bool) -> Array:
        obs = fold(obs)
        if name == "impala":
            return ImpalaTorso(
                settings.torso_width,
                use_spectral_norm=settings.spectral_norm,
                pool_size=settings.pool_size,
                use_layer_norm=settings.layer_norm,
                dtype=dtype,
            )(obs, is_training)
        if name == "mlp":
            return (LayerNormMLP if settings.layer_norm else MLP)(dtype=dtype)(obs)
        if settings.layer_norm:
            return LayerNormNature(dtype, settings.torso_width)(obs)
        padding, centred = settings.torso_padding.upper(), settings.centre_frames
        return NatureTorso(dtype, padding, centred, settings.torso_width)(obs)

    return torso


def torso_name(settings: Settings, spec: EnvSpec) -> str:
    """The torso that these games get: nature, impala or mlp. UserError where it cannot see them."""
    is_image = len(spec.obs_shape) in (2, 3)
    is_large = is_image and min(spec.obs_shape[:2]) >= 36
    match settings.torso:
        case "auto":
            return "nature" if is_large else "mlp"
        case "auto_impala":
            return "impala" if is_large else "mlp"
        case "nature" if not is_large:
            needs = "images of at least 36x36"
        case "impala" if not is_image:
            needs = "images"
        case name:
            return name
    shown = "x".join(map(str, spec.obs_shape))
    raise UserError(
        f"torso {settings.torso} needs {needs}; {spec.game} shows {shown}: use --torso mlp"
    )


def fold(obs: Array) -> Array:
    """Stacks of images with channels, [B, H, W, C, K] -> [B, H, W, C * K]; others are as before.

    Colours of a frame and frames of a stack are alike to a convolution: channels.
    """
    return obs.reshape(*obs.shape[:3], -1) if obs.ndim == 5 else obs


def make_head(settings: Settings, spec: EnvSpec, num_outputs: int = 1) -> QHead:
    """The head that double, dueling and noisy agents share. To be called inside Haiku."""
    return QHead(
        spec.num_actions,
        num_outputs,
        hidden=settings.hidden,
        dueling=settings.dueling,
        noisy_sigma=settings.noisy_sigma,
        noisy_limit=settings.noisy_limit,
        dtype=compute_type(settings.precision),
    )


def compute_type(precision: str) -> jnp.dtype:
    """The type that a precision setting means on this machine."""
    if precision == "auto":
        precision = "bfloat16" if _multiplies_bfloat16() else "float32"
    return jnp.dtype(precision)


def _multiplies_bfloat16() -> bool:
    if jax.devices()[0].platform != "cpu" or native.has(jnp.bfloat16):
        return True
    return "amx_bf16" in machine.cpu_features()  # XLA's own are faster with matrix units only


def example_obs(spec: EnvSpec) -> Array:
    """One observation of zeros, [1, *obs_shape, K]: what `init` needs to see."""
    return jnp.zeros((1, *spec.obs_shape, spec.stack), spec.obs_dtype)


def _creator(initializer: str) -> Callable[..., Array]:
    """Parameters are made in float32, by the layer's own initializer or by one for all layers."""
    # As in dopamine/jax/networks.py: all kernels of an agent by one initializer, all biases 0.
    kernel = {
        "fan_in_uniform": None,
        "he_uniform": hk.initializers.VarianceScaling(2.0, "fan_in", "uniform"),  # 1502.01852
        "glorot_uniform": hk.initializers.VarianceScaling(1.0, "fan_avg", "uniform"),
        "dopamine_uniform": hk.initializers.VarianceScaling(3**-0.5, "fan_in", "uniform"),
    }[initializer]

    def create(next_creator: Any, shape: Any, dtype: Any, init: Any, context: Any) -> Array:
        del dtype
        if kernel is not None and not isinstance(context.module, NoisyLinear):
            init = {"w": kernel, "b": jnp.zeros}.get(context.name, init)
        parameter: Array = next_creator(shape, jnp.float32, init)
        return parameter

    return create


def _getter(next_getter: Any, value: Array, context: Any) -> Array:
    # A layer that asks for bfloat16 gets it, while what is trained stays float32.
    parameter: Array = next_getter(value.astype(context.original_dtype))
    return parameter
