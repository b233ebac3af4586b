"""The C++ kernels compute what XLA computes; where they cannot be had, XLA computes it."""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from dqnlab import machine, native
from dqnlab.layers import dense, normalized_relu
from dqnlab.layers.conv import conv2d
from dqnlab.layers.pool import _max_pool, _native_max_pool

ROOT = Path(__file__).resolve().parents[2]

# Instructions that the kernels have code of their own for: the better ones, the others, and what
# makes the compiler do without the better ones.
INSTRUCTIONS = {
    "float32": ("AVX512", "AVX2", ("-mno-avx512f",)),
    "bfloat16": ("AMX", "AVX512_BF16", ("-mno-amx-tile", "-mno-amx-bf16")),
}


def own_kernels(dtype):
    """The kernels that this CPU uses, as a parameter that says which instructions they have."""
    lacks = native.missing(dtype)
    marks = [] if lacks is None else pytest.mark.skip(reason=f"lacks {lacks}")
    return pytest.param((dtype, ()), id=f"{dtype}-{native.instructions(dtype)}", marks=marks)


def other_kernels(dtype):
    """Those that this CPU does not use, though its compiler makes them; skipped on lesser CPUs."""
    better, other, flags = INSTRUCTIONS[dtype]
    own = native.instructions(dtype)
    if own == better:
        return pytest.param((dtype, flags), id=f"{dtype}-{other}")
    missing = better if own == other else other
    skip = pytest.mark.skip(reason=f"this CPU lacks {missing}, or a compiler")
    return pytest.param((dtype, ()), id=f"{dtype}-{missing}", marks=skip)


@functools.cache
def load_without(dtype, flags):
    compiler = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))))
    library = native._LIBRARIES[dtype]
    native.load(compiler, library._replace(flags=(*library.flags, *flags)), "_other")


@pytest.fixture(autouse=True)
def kernels(request, monkeypatch):
    """The type of the kernels that `native.call` calls."""
    dtype, flags = getattr(request, "param", (None, ()))
    if not flags:
        yield dtype
        return
    load_without(dtype, flags)
    call, called = native.call, []

    def call_other(name, *args, **kwargs):
        called.append(name)
        return call(f"{name}_other", *args, **kwargs)

    monkeypatch.setattr(native, "call", call_other)
    yield dtype
    assert called


@pytest.fixture
def dtype(kernels):
    return kernels


def with_kernels(*params):
    return pytest.mark.parametrize("kernels", params, indirect=True)


needs_float32, needs_bfloat16 = (with_kernels(own_kernels(dtype)) for dtype in INSTRUCTIONS)
each_dtype = with_kernels(*map(own_kernels, INSTRUCTIONS))
all_bfloat16 = with_kernels(own_kernels("bfloat16"), other_kernels("bfloat16"))

CONVOLUTIONS = [  # input batch, height, width, channels; then N, kernel, stride, padding; bytes?
    ((32, 84, 84, 4), 32, 8, 4, "VALID", True),
    ((32, 20, 20, 32), 64, 4, 2, "VALID", False),
    ((32, 9, 9, 64), 64, 3, 1, "VALID", False),
    ((1, 84, 84, 4), 32, 8, 4, "SAME", True),
    ((5, 84, 84, 4), 16, 3, 1, "SAME", True),
    ((33, 11, 11, 32), 32, 3, 1, "SAME", False),
    ((70, 10, 7, 16), 16, 3, 1, "SAME", False),
    ((2, 23, 22, 16), 48, 4, 3, ((2, 1), (0, 3)), False),  # kernel not a multiple of 3
    ((3, 11, 13, 16), 16, 2, 2, "VALID", False),  # the last row and column go unseen
    ((3, 8, 9, 16), 16, 1, 2, "VALID", False),
    ((2, 1, 1, 16), 16, 1, 1, "VALID", False),
    ((0, 9, 9, 16), 16, 3, 1, "SAME", False),
    ((2, 6, 40, 16), 16, (3, 5), 1, "VALID", False),
    ((2, 9, 9, 16), 16, 3, 1, ((1, -2), (0, -1)), False),  # cropped
    # What float32 does in tiles: last tiles that overlap, several blocks of tiles in an image.
    ((9, 20, 21, 32), 32, 4, 2, "SAME", False),
    ((40, 5, 6, 16), 16, 2, 1, "VALID", False),
    ((2, 40, 24, 16), 16, 3, 1, "SAME", False),
    ((9, 14, 12, 16), 16, 3, 1, ((2, -1), (0, 3)), False),
    ((8, 37, 40, 4), 16, 8, 4, "SAME", True),
]
TELLING = [*range(3), 7, 13, 14]  # what other kernels are tested with
CASES = [
    pytest.param(*CONVOLUTIONS[i], each.values[0], id=f"{i}-{each.id}", marks=each.marks)
    for dtype in INSTRUCTIONS
    for chosen, each in (
        (range(len(CONVOLUTIONS)), own_kernels(dtype)),
        (TELLING, other_kernels(dtype)),
    )
    for i in chosen
]


def _integers(rng, shape, dtype, largest=4):
    low = 0 if dtype == jnp.uint8 else -largest
    return jnp.asarray(rng.integers(low, largest + 1, shape), dtype)


@pytest.mark.parametrize(
    ("size", "channels", "kernel", "stride", "padding", "is_bytes", "kernels"),
    CASES,
    indirect=["kernels"],
)
def test_convolution_and_gradients_are_exact(
    size, channels, kernel, stride, padding, is_bytes, dtype
):
    # Sums of small integers are exact in float32: the results must be equal, not near.
    rng = np.random.default_rng(0)
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    x = _integers(rng, size, jnp.uint8 if is_bytes else dtype)
    w = _integers(rng, (*kernel, size[-1], channels), jnp.float32)

    def ours(x, w):
        return conv2d(x, w, stride, padding, "native", dtype)

    def xlas(x, w):
        return lax.conv_general_dilated(
            x.astype(jnp.float32),
            w,
            (stride, stride),
            padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision="highest",
        )

    expected = xlas(x, w)
    g = _integers(rng, expected.shape, jnp.float32, largest=2)
    np.testing.assert_array_equal(jax.jit(ours)(x, w), expected)

    def gradients(f, x):
        if is_bytes:
            return jax.vjp(lambda w: f(x, w), w)[1](g)
        return jax.vjp(f, x, w)[1](g)

    for actual, wanted in zip(
        jax.jit(functools.partial(gradients, ours))(x),
        gradients(xlas, x if is_bytes else x.astype(jnp.float32)),
        strict=True,
    ):
        # The input's gradient has the input's type.
        np.testing.assert_array_equal(actual, wanted.astype(actual.dtype))


@needs_float32
@pytest.mark.parametrize(
    ("size", "kernel", "stride"), [((8, 20, 20, 32), 4, 2), ((8, 9, 9, 64), 3, 1)]
)
def test_filtering_in_tiles_rounds_little_more_than_plain_sums(size, kernel, stride):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=size), jnp.float32)
    w = jnp.asarray(rng.normal(size=(kernel, kernel, size[-1], 64)), jnp.float32)

    def results(lowering):
        y, gradients = jax.vjp(lambda x, w: conv2d(x, w, stride, "VALID", lowering), x, w)
        return y, *gradients(jnp.asarray(np.random.default_rng(1).normal(size=y.shape), y.dtype))

    for actual, expected in zip(results("native"), results("convolution"), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=3e-6 * np.abs(expected).max())


@all_bfloat16
@pytest.mark.parametrize(
    "shape", [(32, 3136, 512), (7, 64, 32), (70, 288, 96), (1, 32, 32), (0, 32, 32)]
)
def test_products_and_gradients_are_exact(shape):
    rng = np.random.default_rng(0)
    batch, depth, columns = shape
    x = _integers(rng, (batch, depth), jnp.bfloat16)
    w = _integers(rng, (depth, columns), jnp.float32)
    g = _integers(rng, (batch, columns), jnp.float32, largest=2)
    y, gradients = jax.vjp(dense._native_product, x, w)
    x, (dx, dw) = np.asarray(x, np.float32), gradients(g)
    np.testing.assert_array_equal(y, x @ w)
    np.testing.assert_array_equal(dx, (np.asarray(g) @ np.asarray(w).T).astype(jnp.bfloat16))
    np.testing.assert_array_equal(dw, x.T @ g)


@all_bfloat16
@pytest.mark.parametrize("shape", [(1568, 256), (70, 96), (1, 32), (0, 32)])
def test_gram_matrices_are_exact(shape):
    x = _integers(np.random.default_rng(0), shape, jnp.float32)
    y = jax.jit(lambda x: dense.gram(x, jnp.bfloat16))(x)
    np.testing.assert_array_equal(y, np.asarray(x).T @ np.asarray(x))


@needs_bfloat16
def test_weights_that_are_bfloat16_already_reach_the_kernels_as_float32():
    # A mixed-precision policy casts a layer's parameters before the layer sees them.
    rng = np.random.default_rng(0)
    x, w = (_integers(rng, (32, 32), jnp.bfloat16) for _ in range(2))
    image, filters = _integers(rng, (2, 9, 9, 16), jnp.bfloat16), jnp.ones((3, 3, 16, 16))
    scale, offset = _integers(rng, (2, 16), jnp.float32)

    def normalize(dtype):
        params = {"layer_norm": {"scale": scale.astype(dtype), "offset": offset.astype(dtype)}}
        layer = hk.transform(lambda x: normalized_relu.NormalizedReLU(jnp.bfloat16)(x))
        return layer.apply(params, None, image)

    for compute in (
        lambda dtype: dense.product(x, w.astype(dtype)),
        lambda dtype: dense.gram(w.astype(dtype), jnp.bfloat16),
        lambda dtype: conv2d(image, filters.astype(dtype), 1, "SAME", "native", jnp.bfloat16),
        normalize,
    ):
        np.testing.assert_array_equal(compute(jnp.bfloat16), compute(jnp.float32))


@needs_bfloat16
def test_numbers_are_rounded_to_nearest_even_and_sums_are_float32():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(9, 20, 20, 32)), jnp.bfloat16)
    w = jnp.asarray(rng.normal(size=(4, 4, 32, 64)), jnp.float32)
    exact = lax.conv_general_dilated(
        x.astype(jnp.float32),
        w.astype(jnp.bfloat16).astype(jnp.float32),
        (2, 2),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision="highest",
    )
    actual = conv2d(x, w, 2, "VALID", "native", jnp.bfloat16)
    np.testing.assert_allclose(actual, exact, rtol=0, atol=2e-6 * np.abs(exact).max())


@each_dtype
@pytest.mark.parametrize("padding", ["VALID", "SAME"])
def test_second_derivatives_of_a_convolution(padding, dtype):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 9, 9, 16)), dtype)
    w = jnp.asarray(rng.normal(size=(4, 4, 16, 16)), jnp.float32) / 16

    def penalty(lowering, dtype):
        def loss(x, w):
            return jnp.sum(jnp.tanh(conv2d(x, w, 2, padding, lowering, dtype)))

        def of_gradients(x, w):
            dx, dw = jax.grad(loss, argnums=(0, 1))(x, w)
            return jnp.sum(dx.astype(jnp.float32) ** 2) + jnp.sum(dw**2)

        return jax.jit(jax.grad(of_gradients, argnums=(0, 1)))(x.astype(dtype), w)

    tolerance = 1e-5 if dtype == "float32" else 3e-2
    actual, expected = penalty("native", dtype), penalty("convolution", "float32")
    for a, b in zip(actual, expected, strict=True):
        scale = float(jnp.abs(b).max())
        np.testing.assert_allclose(np.asarray(a, np.float32), b, rtol=0, atol=tolerance * scale)


@needs_bfloat16
def test_second_derivatives_of_a_product():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(8, 64)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(64, 32)), jnp.float32) / 8

    def penalty(product, dtype):
        def loss(x, w):
            return jnp.sum(jnp.tanh(product(x.astype(dtype), w)))

        def of_gradients(x, w):
            return sum(jnp.sum(d**2) for d in jax.grad(loss, argnums=(0, 1))(x, w))

        return jax.grad(of_gradients, argnums=(0, 1))(x, w)

    actual = penalty(dense._native_product, jnp.bfloat16)
    expected = penalty(jnp.dot, jnp.float32)
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-2 * float(jnp.abs(b).max()))


@needs_bfloat16
def test_scan_and_vmap_equal_a_plain_loop():
    rng = np.random.default_rng(0)
    x = _integers(rng, (3, 2, 9, 9, 16), jnp.bfloat16)
    w = _integers(rng, (3, 3, 3, 16, 16), jnp.float32)
    v = _integers(rng, (3, 32, 32), jnp.float32)

    def loss(w, v, x):
        y = conv2d(x, w, 1, "SAME", "native", jnp.bfloat16)
        y = _native_max_pool(y.astype(jnp.bfloat16)).reshape(-1, 32)
        return dense._native_product(y, v).sum()

    grad = jax.grad(loss, argnums=(0, 1, 2))
    looped = [grad(*(a[i] for a in (w, v, x))) for i in range(3)]
    looped = jax.tree.map(lambda *leaves: jnp.stack(leaves), *looped)
    scanned = jax.jit(lambda *a: lax.scan(lambda _, b: (_, grad(*b)), 0, a)[1])(w, v, x)
    jax.tree.map(np.testing.assert_array_equal, scanned, looped)
    jax.tree.map(np.testing.assert_array_equal, jax.jit(jax.vmap(grad))(w, v, x), looped)


@needs_bfloat16
@pytest.mark.parametrize("size", [(84, 42), (21, 11), (6, 5), (1, 2)])
def test_max_pool_and_its_gradient_equal_jaxs_among_equal_maxima_and_nans_too(size):
    rng = np.random.default_rng(0)
    x = _integers(rng, (3, *size, 16), jnp.bfloat16, largest=2)
    x = x.at[0, 0, 0, :2].set(jnp.nan).at[1, -1, -1, 3].set(-jnp.inf)
    y, gradient = jax.vjp(_native_max_pool, x)
    expected, expected_gradient = jax.vjp(_max_pool, x)
    g = _integers(rng, y.shape, jnp.bfloat16)
    same = functools.partial(np.testing.assert_array_equal, strict=True)
    same(np.asarray(y, np.float32), np.asarray(expected, np.float32))
    same(np.asarray(gradient(g)[0], np.float32), np.asarray(expected_gradient(g)[0], np.float32))


@needs_bfloat16
@pytest.mark.parametrize("shape", [(5, 20, 20, 32), (600, 64), (1, 16), (0, 32), (3, 512)])
def test_layer_norm_and_relu_equal_jaxs(shape):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=shape) * 3 + 1, jnp.float32)
    scale, offset = jnp.asarray(rng.normal(size=(2, shape[-1])), jnp.float32)
    g = jnp.asarray(rng.normal(size=shape), jnp.bfloat16)
    plain = functools.partial(normalized_relu._plain, epsilon=1e-6, dtype=jnp.bfloat16)
    expected, expected_gradients = jax.vjp(plain, x, scale, offset)
    y, gradients = jax.vjp(functools.partial(normalized_relu._by_kernel, 1e-6), x, scale, offset)
    assert y.dtype == expected.dtype == jnp.bfloat16
    # Sums in another order may round to the next bfloat16.
    np.testing.assert_allclose(
        np.asarray(y, np.float32), np.asarray(expected, np.float32), rtol=2**-7, atol=1e-6
    )
    for actual, wanted in zip(gradients(g), expected_gradients(g), strict=True):
        scale_of_it = np.abs(wanted).max(initial=1.0)
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=2e-6 * scale_of_it)


@needs_bfloat16
def test_layer_norm_lets_nan_through():
    y = normalized_relu._by_kernel(1e-6, jnp.full((2, 16), jnp.nan), jnp.ones(16), jnp.zeros(16))
    assert np.isnan(np.asarray(y, np.float32)).all()


@each_dtype
def test_what_one_call_leaves_behind_does_not_reach_the_next(dtype):
    # Depths that do not fill a tile read beyond the numbers and multiply by zero.
    w = jnp.ones((3, 3, 16, 16), dtype)
    conv = jax.jit(lambda x: conv2d(x, w, 1, "SAME", "native"))
    assert np.isnan(conv(jnp.full((40, 12, 12, 16), jnp.nan, dtype))).all()
    grad = jax.jit(jax.grad(lambda x: conv(x).sum()))
    for side in (11, 5, 2):
        x = jnp.ones((40, side, side, 16), dtype)
        assert np.isfinite(conv(x)).all()
        assert np.isfinite(np.asarray(grad(x), np.float32)).all()


@needs_bfloat16
@pytest.mark.parametrize(
    ("x", "w", "stride"),
    [
        (jnp.ones((1, 9, 9, 4), jnp.bfloat16), (3, 3, 4, 16), 1),  # a gradient without a kernel
        (jnp.ones((1, 9, 9, 16), jnp.bfloat16), (3, 3, 16, 20), 1),
        (jnp.ones((1, 9, 9, 16), jnp.bfloat16), (3, 3, 16, 16), (1, 2)),
        (jnp.ones((1, 9, 9, 16), jnp.float16), (3, 3, 16, 16), 1),
    ],
)
def test_what_has_no_kernel_is_refused_where_it_is_asked_for_and_else_computed_by_xla(x, w, stride):
    w = jnp.ones(w)
    with pytest.raises(ValueError, match="lowering='native' needs"):
        conv2d(x, w, stride, "VALID", "native")
    np.testing.assert_array_equal(
        conv2d(x, w, stride)[0, 0, 0], np.full(w.shape[3], w[..., 0].size)
    )


_DIGEST = """
import hashlib, jax, jax.numpy as jnp, numpy as np
from dqnlab import machine, native
from dqnlab.layers.conv import conv2d
from dqnlab.layers.dense import product
from dqnlab.layers.pool import max_pool

def gradients(dtype, x, w, v, u):
    def loss(w, v, u):
        y = jnp.tanh(conv2d(x, w, 4, dtype=dtype)).astype(dtype)
        y = max_pool(jnp.tanh(conv2d(y, v)).astype(dtype))
        return jnp.tanh(product(y.reshape(len(y), -1), u)).sum()
    return jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(w, v, u)

rng = np.random.default_rng(0)
x = rng.integers(0, 256, (9, 44, 44, 4)).astype(np.uint8)
shapes = (8, 8, 4, 32), (3, 3, 32, 32), (512, 32)
weights = [rng.normal(size=s).astype(np.float32) / 50 for s in shapes]
digest = hashlib.sha256()
for dtype in (jnp.float32, jnp.bfloat16):
    for leaf in gradients(dtype, x, *weights):
        assert np.isfinite(leaf).all()
        digest.update(np.asarray(leaf).tobytes())
print(digest.hexdigest(), native.missing("bfloat16"))
"""


def _digest(*prefix, **environment):
    """The gradients' digest, and what the kernels lacked, in a process of its own."""
    result = subprocess.run(
        [*prefix, sys.executable, "-c", _DIGEST],
        env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    digest, _, missing = result.stdout.strip().partition(" ")
    return digest, missing


@needs_bfloat16
def test_results_do_not_depend_on_the_number_of_threads():
    if machine.num_cores() < 2 or shutil.which("taskset") is None:
        pytest.skip("needs two cores and taskset")
    cores = sorted(os.sched_getaffinity(0))
    alone, together = _digest("taskset", "-c", str(cores[0])), _digest()
    assert alone == together
    assert alone[1] == "None"


@needs_bfloat16
def test_without_the_kernels_the_same_nets_run(tmp_path):
    digest, missing = _digest(DQNLAB_NATIVE="0")
    assert missing == "DQNLAB_NATIVE other than 0"
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\necho 'bfloat16.cc:1: error: no such compiler' >&2; exit 1\n")
    broken.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    expected = "a C++ compiler that takes bfloat16.cc (bfloat16.cc:1: error: no such compiler)"
    assert _digest(PATH=path, XDG_CACHE_HOME=str(tmp_path)) == (digest, expected)


@needs_bfloat16
def test_a_cache_that_cannot_be_written_costs_the_kernels_only(tmp_path):
    (tmp_path / "dqnlab").write_text("a file where the folder should be")
    assert "a C++ compiler" in _digest(XDG_CACHE_HOME=str(tmp_path))[1]
