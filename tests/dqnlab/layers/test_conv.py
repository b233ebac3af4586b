"""Conv2D is hk.Conv2D, whichever way it is lowered."""

import functools
import re

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dqnlab.layers import conv

SHAPES = [  # input height, width, channels; output channels, kernel, stride, padding
    ((84, 84, 4), 32, 8, 4, "VALID"),
    ((20, 20, 32), 64, 4, 2, "VALID"),
    ((9, 9, 64), 64, 3, 1, "VALID"),
    ((11, 8, 3), 5, 3, 1, "SAME"),
    ((13, 10, 3), 5, 3, 2, "SAME"),
    ((13, 10, 3), 5, (3, 2), (2, 3), "VALID"),
    ((7, 9, 2), 4, 2, 3, "VALID"),
    ((7, 9, 2), 4, 5, 2, ((2, 1), (0, 3))),
    ((6, 6, 2), 4, 1, 1, (1, 2)),
    ((12, 13, 4), 16, 3, 1, "SAME"),  # large enough for the lowering "plain"
    ((11, 14, 2), 3, (3, 2), 1, ((0, 3), (2, 1))),
]
LOWERINGS = ["auto", "products", "plain", "convolution"]


def _close(actual, expected, tolerance=2e-5):
    actual, expected = np.asarray(actual, np.float32), np.asarray(expected, np.float32)
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=tolerance * (1 + np.abs(expected).max())
    )


def _pads(padding):
    return (
        padding
        if isinstance(padding, str)
        else [(p, p) if isinstance(p, int) else p for p in padding]
    )


def _transformed(module, channels, kernel, stride, padding, **extra):
    def forward(x):
        return module(channels, kernel, stride, padding=padding, name="conv", **extra)(x)

    return hk.without_apply_rng(hk.transform(forward))


def _both(size, channels, kernel, stride, padding, lowering):
    ours = _transformed(conv.Conv2D, channels, kernel, stride, padding, lowering=lowering)
    haikus = _transformed(hk.Conv2D, channels, kernel, stride, _pads(padding))
    x = jax.random.normal(jax.random.key(1), (3, *size))
    return ours, haikus, x


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize(("size", "channels", "kernel", "stride", "padding"), SHAPES)
def test_parameters_output_and_gradients_equal_haikus(
    size, channels, kernel, stride, padding, lowering
):
    if lowering == "plain" and stride != 1:
        pytest.skip("has stride 1 only")
    ours, haikus, x = _both(size, channels, kernel, stride, padding, lowering)
    params = ours.init(jax.random.key(0), x)
    jax.tree.map(np.testing.assert_array_equal, params, haikus.init(jax.random.key(0), x))

    def value_and_grads(net):
        def loss(params, x):
            y = net.apply(params, x)
            return jnp.sum(jnp.sin(y) * jnp.arange(y.size).reshape(y.shape) / y.size), y

        (_, y), grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(params, x)
        return y, grads

    jax.tree.map(_close, value_and_grads(ours), value_and_grads(haikus))


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_gradients_under_scan_and_vmap_equal_those_of_a_plain_loop(lowering):
    x = jax.random.normal(jax.random.key(0), (2, 3, 13, 10, 3))
    w = jax.random.normal(jax.random.key(1), (2, 3, 3, 3, 5))
    stride = 1 if lowering == "plain" else 2
    grad = jax.grad(
        lambda w, x: jnp.sum(conv.conv2d(x, w, stride, "SAME", lowering) ** 2), argnums=(0, 1)
    )
    expected = [grad(w[i], x[i]) for i in range(2)]
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *expected)
    scanned = jax.jit(lambda w, x: jax.lax.scan(lambda carry, wx: (carry, grad(*wx)), 0, (w, x))[1])
    jax.tree.map(functools.partial(_close, tolerance=1e-4), scanned(w, x), expected)
    jax.tree.map(functools.partial(_close, tolerance=1e-4), jax.jit(jax.vmap(grad))(w, x), expected)


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-4), (jnp.bfloat16, 3e-2)])
@pytest.mark.parametrize(("lowering", "stride"), [("products", 2), ("plain", 1)])
def test_second_derivatives_equal_the_convolutions(lowering, stride, dtype, tolerance):
    x32 = jax.random.normal(jax.random.key(0), (2, 9, 9, 2))
    w32 = jax.random.normal(jax.random.key(1), (4, 4, 2, 3)) / 5

    def penalty(lowering):
        def loss(x, w):
            return jnp.sum(jnp.tanh(conv.conv2d(x, w, stride, "VALID", lowering)))

        x, w = x32.astype(dtype), w32.astype(dtype)
        return jax.grad(lambda w: jnp.sum(jax.grad(loss)(x, w) ** 2))(w)

    _close(penalty(lowering), penalty("convolution"), tolerance)


@pytest.mark.parametrize(
    ("lowering", "stride"), [("products", 2), ("plain", 1), ("convolution", 2)]
)
def test_forward_and_gradients_in_bfloat16_stay_near_float32(lowering, stride):
    x = jax.random.normal(jax.random.key(0), (4, 20, 20, 8))
    w = jax.random.normal(jax.random.key(1), (4, 4, 8, 16)) / 11

    def run(dtype):
        def loss(x, w):
            y = conv.conv2d(x, w, stride, "VALID", lowering)
            return jnp.sum(jnp.tanh(y.astype(jnp.float32)))

        args = x.astype(dtype), w.astype(dtype)
        return conv.conv2d(*args, stride, "VALID", lowering), *jax.grad(loss, argnums=(0, 1))(*args)

    low, full = run(jnp.bfloat16), run(jnp.float32)
    assert [leaf.dtype for leaf in low] == [jnp.float32, jnp.bfloat16, jnp.bfloat16]
    jax.tree.map(functools.partial(_close, tolerance=3e-2), low, full)


def test_on_cpu_the_default_compiles_to_matrix_products_only():
    if jax.default_backend() != "cpu":
        pytest.skip("the default elsewhere is the convolution")
    x, w = jnp.ones((2, 20, 20, 4)), jnp.ones((4, 4, 4, 8))
    grad = jax.grad(lambda x, w: conv.conv2d(x, w, 2).sum(), argnums=(0, 1))
    forced = functools.partial(conv.conv2d, stride=2, lowering="convolution")
    assert "convolution(" not in jax.jit(grad).lower(x, w).compile().as_text()
    assert "convolution(" in jax.jit(forced).lower(x, w).compile().as_text()


def test_on_cpu_impalas_gradients_in_a_loop_have_the_axes_of_the_fast_kernel():
    if jax.default_backend() != "cpu":
        pytest.skip("the default elsewhere is the convolution")
    x, w = jnp.ones((2, 2, 21, 21, 4)), jnp.ones((3, 3, 4, 8))

    def axes_in_a_loop(lowering):
        def step(w, x):
            def loss(w, x):
                return jnp.sum(conv.conv2d(x, w, 1, "SAME", lowering) ** 2)

            dw, dx = jax.grad(loss, argnums=(0, 1))(w, x)
            return w - dw, dx

        program = jax.jit(lambda w, x: jax.lax.scan(step, w, x)).lower(w, x).compile().as_text()
        return re.findall(r" convolution\(.*dim_labels=([\w>-]+)", program)

    fast = "b01f_01io->b01f"
    assert set(axes_in_a_loop("convolution")) - {fast}
    assert axes_in_a_loop("auto") == 3 * [fast]


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_one_image_without_a_batch_axis_is_accepted(lowering):
    ours, haikus, x = _both((9, 9, 3), 4, 3, 1, "VALID", lowering)
    params = ours.init(jax.random.key(0), x)
    _close(ours.apply(params, x[0]), haikus.apply(params, x[0]))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.uint8])
@pytest.mark.parametrize("height", [13, 14, 1021])  # of odd and even numbers, more than 255 rows
def test_centred_takes_off_the_median_of_each_channel_of_each_image(dtype, height):
    x = jax.random.randint(jax.random.key(1), (4, height, 14, 2), 0, 256).astype(dtype)
    x = x.at[0].set(255).at[1].set(0).at[2, :, :11].set(87)
    rows = np.asarray(x[:, ::4]).reshape(4, -1, 2)
    background = np.sort(rows, axis=1)[:, rows.shape[1] // 2]  # of an even number the upper one
    np.testing.assert_array_equal(background[:3:2], [[255, 255], [87, 87]])
    taken_off = x.astype(jnp.float32) - background[:, None, None].astype(np.float32)
    args = (conv.Conv2D, 5, 3, 2, "VALID")
    ours = _transformed(*args, dtype=jnp.float32, scale=1 / 255, centred=True)
    plain = _transformed(*args, dtype=jnp.float32, scale=1 / 255)
    params = ours.init(jax.random.key(0), x)

    def value_and_grads(net, x):
        return jax.value_and_grad(lambda params: jnp.sin(net.apply(params, x)).mean())(params)

    jax.tree.map(_close, value_and_grads(ours, x), value_and_grads(plain, taken_off))
    same_everywhere = ours.apply(params, jnp.full_like(x, 87))
    _close(same_everywhere, jnp.broadcast_to(params["conv"]["b"], same_everywhere.shape))


def test_gradients_into_the_input_take_the_background_for_a_constant():
    x = jax.random.uniform(jax.random.key(1), (3, 12, 12, 2))
    rows = np.asarray(x[:, ::4]).reshape(3, -1, 2)
    background = jnp.asarray(np.sort(rows, axis=1)[:, rows.shape[1] // 2])[:, None, None]
    args = (conv.Conv2D, 4, 3, 1, "VALID")
    ours, plain = _transformed(*args, centred=True), _transformed(*args)
    params = ours.init(jax.random.key(0), x)
    found = jax.grad(lambda x: jnp.sin(ours.apply(params, x)).sum())(x)
    known = jax.grad(lambda x: jnp.sin(plain.apply(params, x - background)).sum())(x)
    _close(found, known)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="padding='VALID'"):
        _transformed(conv.Conv2D, 1, 3, 1, "SAME", centred=True).init(None, jnp.ones((1, 5, 5, 1)))
    x, w = jnp.ones((1, 5, 5, 1)), jnp.ones((3, 3, 1, 1))
    with pytest.raises(ValueError, match="padding='FULL'"):
        conv.conv2d(x, w, 1, "FULL")
    with pytest.raises(ValueError, match="stride 1 only"):
        conv.conv2d(x, w, 2, lowering="plain")
    with pytest.raises(ValueError, match="lowering='gpu'"):
        conv.conv2d(x, w, lowering="gpu")
