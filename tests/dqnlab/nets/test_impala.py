import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from dqnlab.nets.impala import ImpalaTorso

OBS = np.random.default_rng(0).integers(0, 256, (2, 84, 84, 4), np.uint8)
SMALL = OBS[:, :16, :16]


def torso(**options):
    return hk.transform_with_state(
        lambda obs, is_training=True: ImpalaTorso(**options)(obs, is_training)
    )


def num_features(**options):
    net = torso(**options)

    def forward(obs):
        params, state = net.init(jax.random.key(0), obs)
        return net.apply(params, state, None, obs)[0]

    return jax.eval_shape(forward, OBS).shape


def random_parameters(net):
    """Params and state without compiling `init`, which takes longer than the rest of a test."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(net.init, jax.random.key(0), SMALL)
    return jax.tree.map(lambda x: jnp.asarray(0.1 * rng.normal(size=x.shape), x.dtype), shapes)


def test_numbers_of_features():
    assert num_features() == (2, 11 * 11 * 32)
    assert num_features(width=2) == (2, 11 * 11 * 64)
    assert num_features(width=2, pool_size=6, use_spectral_norm=True) == (2, 2304)


def test_fifteen_convolutions_twelve_of_them_normalized():
    net = torso(width=2, use_spectral_norm=True, use_layer_norm=True)
    params, state = jax.eval_shape(net.init, jax.random.key(0), OBS)
    convolutions = {name: p["w"].shape for name, p in params.items() if "w" in p}
    residual = {name for name in convolutions if "residual" in name}
    assert len(convolutions) == 15
    assert len(residual) == 12
    assert set(state) == {f"{name}/spectral_norm" for name in residual}
    stems = sorted(shape for name, shape in convolutions.items() if name not in residual)
    assert stems == [(3, 3, 4, 32), (3, 3, 32, 64), (3, 3, 64, 64)]
    assert sum("scale" in p for p in params.values()) == 13  # one before each ReLU


def test_it_is_the_network_of_the_paper():
    net = torso()
    params, state = random_parameters(net)
    assert not state
    p = {name.removeprefix("impala_torso/"): value for name, value in params.items()}

    def conv(name, x):
        y = jax.lax.conv_general_dilated(
            x, p[name]["w"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return y + p[name]["b"].reshape(1, 1, 1, -1)

    @jax.jit
    def by_hand(x):
        residuals = iter(["residual"] + [f"residual_{i}" for i in range(1, 12)])
        for stem in ("conv2_d", "conv2_d_1", "conv2_d_2"):
            x = conv(stem, x)
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
            for _ in range(2):
                y = conv(next(residuals), jax.nn.relu(x))
                x = x + conv(next(residuals), jax.nn.relu(y))
        return jax.nn.relu(x).reshape(2, -1)

    floats = jnp.asarray(SMALL / 255.0, jnp.float32)
    expected, apply = by_hand(floats), jax.jit(net.apply)
    for obs in (SMALL, floats):  # bytes are divided by 255, floats are not
        out, _ = apply(params, state, None, obs)
        np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_training_has_finite_gradients_everywhere_and_moves_the_spectral_estimates():
    net = torso(use_spectral_norm=True, pool_size=2, use_layer_norm=True)
    params, state = random_parameters(net)

    def loss(params):
        out, new_state = net.apply(params, state, None, SMALL)
        return (out * jnp.linspace(-1.0, 1.0, out.size).reshape(out.shape)).sum(), new_state

    (value, trained), gradients = jax.jit(
        jax.value_and_grad(loss, has_aux=True),
        compiler_options={"xla_backend_optimization_level": 0},
    )(params)
    assert jnp.isfinite(value)
    for gradient in jax.tree.leaves(gradients):
        assert jnp.isfinite(gradient).all()
        assert gradient.any()
    for module in state:
        assert (trained[module]["u0"] != state[module]["u0"]).any()


def test_evaluation_leaves_the_spectral_estimates_alone():
    net = torso(use_spectral_norm=True)
    params, state = random_parameters(net)
    _, after = jax.jit(net.apply, static_argnums=4)(params, state, None, SMALL, False)
    jax.tree.map(np.testing.assert_array_equal, after, state)
