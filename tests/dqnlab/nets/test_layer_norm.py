"""The layer-normalised network against NumPy."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dqnlab.nets.layer_norm import LayerNormHead, LayerNormMLP, LayerNormNature


def normalized(x, params):
    """LayerNorm over the last axis, then ReLU, as Flax has it."""
    mean, var = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    x = (x - mean) / np.sqrt(var + 1e-6) * np.asarray(params["scale"]) + np.asarray(
        params["offset"]
    )
    return np.maximum(x, 0)


def convolution(x, params, stride):
    w, b = np.asarray(params["w"], np.float64), np.asarray(params["b"])
    size = (x.shape[1] - w.shape[0]) // stride + 1
    y = np.zeros((x.shape[0], size, size, w.shape[-1]))
    for i in range(size):
        for j in range(size):
            patch = x[:, i * stride : i * stride + w.shape[0], j * stride : j * stride + w.shape[1]]
            y[:, i, j] = np.tensordot(patch, w, 3) + b
    return y


def with_noise(params):
    """Scales and offsets that are not 1 and 0, so that they matter."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: x + 0.1 * rng.normal(size=x.shape).astype(np.float32), params)


def network(dtype):
    def forward(obs):
        return LayerNormHead(3, 16, dtype)(LayerNormNature(dtype)(obs))

    return hk.without_apply_rng(hk.transform(forward))


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-4), (jnp.bfloat16, 5e-2)])
def test_pqns_network_equals_numpy(dtype, tolerance):
    obs = np.random.default_rng(1).integers(0, 256, (2, 36, 36, 4), np.uint8)
    params = with_noise(jax.jit(network(dtype).init)(jax.random.PRNGKey(0), obs))
    q = jax.jit(network(dtype).apply)(params, obs)
    x = obs / 255
    for i, stride in enumerate((4, 2, 1)):
        suffix = f"_{i}" if i else ""
        x = convolution(x, params[f"layer_norm_nature/conv2_d{suffix}"], stride)
        x = normalized(x, params[f"layer_norm_nature/layer_norm{suffix}"])
    mlp = "layer_norm_head/layer_norm_mlp"
    x = x.reshape(2, -1) @ np.asarray(params[f"{mlp}/dense"]["w"])
    x = normalized(x + np.asarray(params[f"{mlp}/dense"]["b"]), params[f"{mlp}/layer_norm"])
    expected = x @ np.asarray(params["layer_norm_head/q"]["w"])
    expected = expected + np.asarray(params["layer_norm_head/q"]["b"])
    assert q.dtype == jnp.float32
    np.testing.assert_allclose(q, expected, atol=tolerance * np.abs(expected).max())


def test_parameters_are_those_of_nature_dqn_and_two_for_each_channel_and_unit():
    def forward(obs):
        return LayerNormHead(18)(LayerNormNature()(obs))

    obs = jnp.zeros((1, 84, 84, 4), jnp.uint8)
    shapes = jax.eval_shape(hk.transform(forward).init, jax.random.PRNGKey(0), obs)
    count = sum(x.size for x in jax.tree.leaves(shapes))
    assert count == 1_693_362 + 2 * (32 + 64 + 64 + 512)


def test_each_layer_of_the_mlp_has_parameters_of_its_own():
    mlp = hk.transform(lambda x: LayerNormMLP((7, 6))(x))
    params = jax.eval_shape(mlp.init, jax.random.PRNGKey(0), jnp.ones((2, 5)))
    assert [v["w"].shape for k, v in params.items() if "dense" in k] == [(5, 7), (7, 6)]
    assert sum("layer_norm" in k.split("/")[-1] for k in params) == 2
