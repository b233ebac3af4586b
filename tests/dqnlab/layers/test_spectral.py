import contextlib

import haiku as hk
import jax
import jax.numpy as jnp
import jmp
import numpy as np
import pytest

from dqnlab.layers.conv import Conv2D
from dqnlab.layers.spectral import spectral_norm

X = jax.random.normal(jax.random.key(0), (2, 7, 7, 3))


def forward(x, is_training, is_normalized=True):
    with spectral_norm(is_training) if is_normalized else contextlib.nullcontext():
        return Conv2D(5, 3)(x)


net = hk.transform_with_state(forward)
init = jax.jit(net.init, static_argnums=2)
apply = jax.jit(net.apply, static_argnums=(4, 5))


@pytest.fixture
def params_and_state():
    params, state = init(jax.random.key(1), X, True)
    params["conv2_d"]["w"] *= 7.0
    params["conv2_d"]["b"] = jnp.linspace(-1.0, 1.0, 5)
    return params, state


def norm_of(w):
    return np.linalg.norm(np.asarray(w).reshape(-1, w.shape[-1]), ord=2)


def test_the_largest_singular_value_becomes_1(params_and_state):
    params, state = params_and_state
    for _ in range(100):
        out, state = apply(params, state, None, X, True)
    w, norm = params["conv2_d"]["w"], norm_of(params["conv2_d"]["w"])
    assert norm > 2.0
    np.testing.assert_allclose(state["conv2_d/spectral_norm"]["sigma"], norm, rtol=1e-4)
    params["conv2_d"]["w"] = w / norm
    expected, _ = apply(params, state, None, X, True, False)
    np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-4)  # the bias is untouched


def test_one_call_is_one_step_of_the_power_iteration(params_and_state):
    params, state = params_and_state
    u = np.asarray(state["conv2_d/spectral_norm"]["u0"][0], np.float64)
    w = np.asarray(params["conv2_d"]["w"], np.float64).reshape(-1, 5)
    v = w @ u / np.linalg.norm(w @ u)
    u = v @ w / np.linalg.norm(v @ w)
    _, after = apply(params, state, None, X, True)
    np.testing.assert_allclose(after["conv2_d/spectral_norm"]["u0"][0], u, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after["conv2_d/spectral_norm"]["sigma"], v @ w @ u, rtol=1e-5)


def test_evaluation_leaves_the_state_alone(params_and_state):
    params, state = params_and_state
    first, after = apply(params, state, None, X, False)
    jax.tree.map(np.testing.assert_array_equal, after, state)
    again, _ = apply(params, after, None, X, False)
    np.testing.assert_array_equal(first, again)
    trained, _ = apply(params, state, None, X, True)
    np.testing.assert_allclose(first, trained, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("is_training", [True, False])
def test_init_creates_the_whole_state(is_training):
    params, state = init(jax.random.key(1), X, is_training)
    _, after = apply(params, state, None, X, True)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    assert set(state["conv2_d/spectral_norm"]) == {"u0", "sigma"}


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_the_output_does_not_depend_on_the_scale_of_the_weights(params_and_state, scale):
    params, state = params_and_state
    params["conv2_d"]["b"] *= 0.0
    expected, _ = apply(params, state, None, X, True)
    params["conv2_d"]["w"] *= scale
    out, _ = apply(params, state, None, X, True)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_gradients_are_finite_and_orthogonal_to_the_scale(params_and_state):
    params, state = params_and_state

    def loss(params):
        return (apply(params, state, None, X, True)[0] ** 2).sum()

    gradient = jax.grad(loss)(params)["conv2_d"]["w"]
    assert jnp.isfinite(gradient).all()
    # Scaling w changes nothing, so the gradient along w vanishes: it does pass through sigma.
    w = params["conv2_d"]["w"]
    cosine = jnp.vdot(gradient, w) / jnp.linalg.norm(gradient) / jnp.linalg.norm(w)
    assert abs(cosine) < 1e-4


def test_only_weights_inside_the_context_are_normalized():
    @hk.transform_with_state
    def two(x):
        with spectral_norm(is_training=True):
            x = hk.Linear(4, name="inside")(x)
        return hk.Linear(4, name="outside")(x)

    _, state = jax.eval_shape(two.init, jax.random.key(0), X)
    assert set(state) == {"inside/spectral_norm"}


def test_estimates_stay_float32_where_the_network_computes_in_bfloat16():
    class Net(hk.Module):
        def __call__(self, x):
            return forward(x.astype(jnp.bfloat16), True)

    policy = jmp.get_policy("params=float32,compute=bfloat16,output=float32")

    @hk.transform_with_state
    def mixed(x):
        with hk.mixed_precision.push_policy(Net, policy):
            return Net()(x)

    params, state = jax.jit(mixed.init)(jax.random.key(0), X)
    out, after = jax.jit(mixed.apply)(params, state, None, X)
    for leaf in jax.tree.leaves((params, state, after)):
        assert leaf.dtype == jnp.float32
    assert out.dtype == jnp.float32
    assert jnp.isfinite(out).all()
