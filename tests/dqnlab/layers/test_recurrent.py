"""The recurrent layers against Haiku's cores, a plain loop and finite differences."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from dqnlab.layers import recurrent
from dqnlab.layers.gru import GRU
from dqnlab.layers.lstm import LSTM, LSTMState
from dqnlab.layers.rnn import RNN

T, B, D, H = 7, 3, 4, 5
LAYERS = {"rnn": RNN, "gru": GRU, "lstm": LSTM}
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(T, B, D)), jnp.float32)
REAL = np.arange(T)[:, None] < np.array([7, 4, 2])  # three sequences of 7, 4 and 2 steps


def transform(name, size=H, **made):
    def forward(x, state=None, **options):
        return LAYERS[name](size, name=name, **made)(x, state, **options)

    return hk.without_apply_rng(hk.transform(forward))


def some_state(name):
    values = [jnp.asarray(RNG.normal(size=(B, H)), jnp.float32) for _ in range(2)]
    return LSTMState(*values) if name == "lstm" else values[0]


def haikus(name, params, x, state):
    """One step of Haiku's core with our parameters."""
    w_i, b, w_h = params[f"{name}/input"]["w"], params[f"{name}/input"]["b"], params[name]
    w_h = w_h["w_hidden"]
    if name == "rnn":
        zero = jnp.zeros_like(b)
        theirs = {"vanilla_rnn/linear": {"w": w_i, "b": b}}
        theirs["vanilla_rnn/linear_1"] = {"w": w_h, "b": zero}
        return hk.without_apply_rng(
            hk.transform(lambda x, state: hk.VanillaRNN(H)(x, state))
        ).apply(theirs, x, state)
    if name == "gru":
        theirs = {"gru": {"w_i": w_i, "w_h": w_h, "b": b}}
        return hk.without_apply_rng(hk.transform(lambda x, state: hk.GRU(H)(x, state))).apply(
            theirs, x, state
        )
    theirs = {"lstm/linear": {"w": jnp.concatenate([w_i, w_h]), "b": b}}
    return hk.without_apply_rng(hk.transform(lambda x, state: hk.LSTM(H)(x, state))).apply(
        theirs, x, hk.LSTMState(*state)
    )


def perturbed(params):
    """With biases that are not zero, so that a lost one shows."""
    return jax.tree.map(lambda w: w + 0.1 * RNG.normal(size=w.shape).astype(np.float32), params)


@pytest.mark.parametrize("name", LAYERS)
def test_a_sequence_equals_haikus_core_step_by_step(name):
    net = transform(name, activation="relu") if name == "rnn" else transform(name)
    params, state = perturbed(net.init(jax.random.PRNGKey(0), X)), some_state(name)
    outputs, last = jax.jit(net.apply)(params, X, state)
    for t in range(T):
        expected, state = haikus(name, params, X[t], state)
        np.testing.assert_allclose(outputs[t], expected, atol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(last), jax.tree.leaves(state), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_plain_layer_is_its_equation_from_a_state_of_zeros():
    net = transform("rnn")
    params = perturbed(net.init(jax.random.PRNGKey(0), X))
    outputs, _ = net.apply(params, X)
    w, b, u = *(np.float64(params["rnn/input"][k]) for k in "wb"), params["rnn"]["w_hidden"]
    h = np.zeros((B, H))
    for t in range(T):
        h = np.tanh(np.float64(X[t]) @ w + b + h @ np.float64(u))
        np.testing.assert_allclose(outputs[t], h, atol=1e-5)


def test_the_shapes_of_a_layer_of_512_inputs_and_4_units():
    net = hk.without_apply_rng(hk.transform(lambda x: RNN(4)(x)))
    params = net.init(jax.random.PRNGKey(0), jnp.zeros((1, 1, 512)))
    assert params["rnn/input"]["w"].shape == (512, 4)
    assert params["rnn"]["w_hidden"].shape == (4, 4)
    assert params["rnn/input"]["b"].shape == (4,)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("has_options", [False, True])
def test_gradients_are_those_of_finite_differences(name, has_options):
    options = {}
    if has_options:
        options = {
            "mask": jnp.asarray(REAL),
            "first": jnp.zeros((T, B), bool).at[3, 0].set(True),
            "hidden_dropout": jnp.asarray(RNG.integers(0, 2, (B, H)) * 2.0, jnp.float32),
            "reverse": True,
        }
    net = transform(name)
    arguments = (perturbed(net.init(jax.random.PRNGKey(0), X)), X, some_state(name))
    weights = jnp.asarray(RNG.normal(size=(T, B, H)), jnp.float32)

    def loss(params, x, state):
        outputs, last = net.apply(params, x, state, **options)
        return jnp.sum(weights * outputs) + sum(map(jnp.sum, jax.tree.leaves(last)))

    flat, unravel = ravel_pytree(arguments)
    gradient = ravel_pytree(jax.grad(loss, argnums=(0, 1, 2))(*arguments))[0]
    at = jax.jit(lambda flat: loss(*unravel(flat)))
    for d in np.float32(RNG.normal(size=(8, flat.size))):
        numeric = (at(flat + 2e-3 * d) - at(flat - 2e-3 * d)) / 4e-3
        np.testing.assert_allclose(gradient @ d, numeric, rtol=1e-2, atol=3e-2)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_equal_those_of_autodiff_through_haikus_steps(name):
    net = transform(name, activation="relu") if name == "rnn" else transform(name)
    params, state = perturbed(net.init(jax.random.PRNGKey(0), X)), some_state(name)

    def ours(params, x, state):
        outputs, last = net.apply(params, x, state)
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves((outputs, last)))

    def theirs(params, x, state):
        outputs = []
        for t in range(T):
            output, state = haikus(name, params, x[t], state)
            outputs.append(output)
        leaves = [jnp.stack(outputs), *jax.tree.leaves(state)]
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in leaves)

    pairs = zip(
        jax.tree.leaves(jax.grad(ours, (0, 1, 2))(params, X, state)),
        jax.tree.leaves(jax.grad(theirs, (0, 1, 2))(params, X, state)),
        strict=True,
    )
    for mine, expected in pairs:
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("reverse", [False, True])
def test_padding_changes_neither_outputs_nor_states_nor_gradients(name, reverse):
    net = transform(name)
    params = perturbed(net.init(jax.random.PRNGKey(0), X))
    mask = jnp.asarray(REAL)
    x = jnp.where(mask[..., None], X, 1e3)  # large, so that a leak shows
    outputs, last = net.apply(params, x, mask=mask, reverse=reverse)
    for b, length in enumerate(REAL.sum(axis=0)):
        alone, state = net.apply(params, X[:length, b : b + 1], reverse=reverse)
        np.testing.assert_allclose(outputs[:length, b], alone[:, 0], atol=1e-6)
        for ours, theirs in zip(jax.tree.leaves(last), jax.tree.leaves(state), strict=True):
            np.testing.assert_allclose(ours[b], theirs[0], atol=1e-6)
    to_x = jax.grad(
        lambda x: jax.tree.leaves(net.apply(params, x, mask=mask, reverse=reverse)[1])[0].sum()
    )(x)
    assert not np.any(to_x[~REAL])
    assert np.any(to_x[REAL])


@pytest.mark.parametrize("name", LAYERS)
def test_a_sequence_in_two_chunks_with_the_state_carried_is_the_sequence(name):
    net = transform(name)
    params = net.init(jax.random.PRNGKey(0), X)
    whole, end = net.apply(params, X)
    first, state = net.apply(params, X[:3])
    second, last = net.apply(params, X[3:], state)
    np.testing.assert_allclose(jnp.concatenate([first, second]), whole, atol=1e-6)
    for a, b in zip(jax.tree.leaves(last), jax.tree.leaves(end), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("size", [H, 32])  # without kernels for CPUs and with them
def test_bfloat16_products_stay_near_float32(name, size):
    low, high = (
        transform(name, size, dtype=t, hidden_dtype=t) for t in (jnp.bfloat16, jnp.float32)
    )
    params = high.init(jax.random.PRNGKey(0), X)

    @jax.jit
    def outputs_and_gradient(params):
        def loss(params, net):
            outputs = net.apply(params, X)[0]
            return jnp.sum(jnp.square(outputs)), outputs

        return [jax.grad(loss, has_aux=True)(params, net)[::-1] for net in (low, high)]

    (outputs, gradient), (expected, expected_gradient) = outputs_and_gradient(params)
    np.testing.assert_allclose(outputs, expected, atol=2e-2)
    for a, b in zip(*map(jax.tree.leaves, (gradient, expected_gradient)), strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, atol=0.05 * np.abs(b).max())


def test_the_recurrent_weights_start_orthogonal_gate_by_gate():
    w = transform("gru").init(jax.random.PRNGKey(0), X)["gru"]["w_hidden"]
    blocks = np.split(np.float64(w), 3, axis=1)
    for block in blocks:
        np.testing.assert_allclose(block.T @ block, np.eye(H), atol=1e-6)
    assert np.abs(blocks[0] - blocks[1]).max() > 0.1  # each gate draws its own


def test_time_distributed_is_the_same_layer_at_every_step():
    @hk.without_apply_rng
    @hk.transform
    def scorer(x):
        hidden, _ = LSTM(512)(x[:, None])
        return hidden[:, 0], recurrent.time_distributed(hk.Linear(1), hidden[:, 0])

    x = jnp.asarray(RNG.normal(size=(6, 4800)), jnp.float32)
    params = scorer.init(jax.random.PRNGKey(0), x)
    hidden, scores = scorer.apply(params, x)
    assert hidden.shape == (6, 512)
    assert scores.shape == (6, 1)
    w, b = params["linear"]["w"], params["linear"]["b"]
    for t in range(6):
        np.testing.assert_allclose(scores[t], hidden[t] @ w + b, atol=1e-5)


def test_recurrent_dropout_has_one_mask_for_the_whole_sequence_and_keeps_the_mean():
    x = jnp.ones((T, 40, 50))
    drop = hk.transform(lambda x: recurrent.input_dropout(0.3, x))
    out = np.asarray(drop.apply({}, jax.random.PRNGKey(0), x))
    assert np.all(out == out[:1])
    np.testing.assert_allclose(np.unique(out), [0.0, 1 / 0.7], rtol=1e-6)
    np.testing.assert_allclose(out.mean(), 1.0, atol=0.03)
    assert np.any(out[0, 0] != out[0, 1])  # each sequence has its own


def test_hidden_dropout_removes_units_from_the_products_and_from_nothing_else():
    net = transform("rnn")
    params = perturbed(net.init(jax.random.PRNGKey(0), X))
    mask = jnp.ones((B, H)).at[:, 2].set(0.0)
    dropped, _ = net.apply(params, X, hidden_dropout=mask)
    without = jax.tree.map(jnp.copy, params)
    without["rnn"]["w_hidden"] = params["rnn"]["w_hidden"].at[2].set(0.0)
    np.testing.assert_allclose(dropped, net.apply(without, X)[0], atol=1e-6)
    assert np.any(dropped[..., 2])
