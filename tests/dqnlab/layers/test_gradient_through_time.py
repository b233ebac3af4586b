"""How gradients shrink and grow with the length of a sequence, against closed forms."""

import functools

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dqnlab.layers.gru import GRU
from dqnlab.layers.lstm import LSTM, LSTMState
from dqnlab.layers.rnn import RNN

H = 8


def slope(make, length, change, state):
    """The singular values of d(last hidden state) / d(first) where all is zero, at most, least."""
    net = hk.without_apply_rng(hk.transform(lambda x, state: make()(x, state)[1]))
    x = jnp.zeros((length, 1, 2))
    params = change(net.init(jax.random.PRNGKey(0), x, state))
    leaf = jax.tree.leaves(state)[-1]  # of an LSTM the cell: what it remembers by
    wrap = (lambda h: LSTMState(jnp.zeros_like(h), h)) if isinstance(state, LSTMState) else None
    last = jax.jacrev(
        lambda h: jax.tree.leaves(net.apply(params, x, h if wrap is None else wrap(h)))[-1]
    )(leaf)
    singular = np.linalg.svd(np.float64(last).reshape(H, H), compute_uv=False)
    return singular[0], singular[-1]


@pytest.mark.parametrize("gain", [0.9, 1.0, 1.1])
@pytest.mark.parametrize("length", [1, 10, 100])
def test_a_plain_rnn_multiplies_gradients_by_its_weights_gain_at_each_step(gain, length):
    def scaled(params):
        return {**params, "rnn": {"w_hidden": gain * params["rnn"]["w_hidden"]}}

    most, least = slope(lambda: RNN(H), length, scaled, jnp.zeros((1, H)))
    np.testing.assert_allclose([most, least], gain**length, rtol=1e-3)


@pytest.mark.parametrize("length", [1, 10, 100])
def test_an_lstm_multiplies_them_by_its_forget_gate_which_starts_at_sigmoid_of_one(length):
    def without_products(params):
        return {**params, "lstm": {"w_hidden": jnp.zeros((H, 4 * H))}}

    def remembering(params):
        params = without_products(params)
        b = params["lstm/input"]["b"].at[2 * H : 3 * H].set(5.0)
        return {**params, "lstm/input": {**params["lstm/input"], "b": b}}

    state = LSTMState(jnp.zeros((1, H)), jnp.zeros((1, H)))
    most, _ = slope(lambda: LSTM(H), length, without_products, state)
    np.testing.assert_allclose(most, (1 / (1 + np.exp(-1.0))) ** length, rtol=1e-3)
    most, _ = slope(lambda: LSTM(H), length, remembering, state)
    np.testing.assert_allclose(most, (1 / (1 + np.exp(-6.0))) ** length, rtol=1e-3)
    assert most > 0.75  # over 100 steps, where a plain RNN of gain 0.9 keeps 0.00003


@pytest.mark.parametrize("length", [1, 10, 100])
def test_a_gru_keeps_what_its_update_gate_does_not_replace(length):
    def keeping(params):
        b = params["gru/input"]["b"].at[:H].set(-6.0)  # z near 0 keeps: Haiku's sense
        return {
            "gru/input": {**params["gru/input"], "b": b},
            "gru": {"w_hidden": jnp.zeros((H, 3 * H))},
        }

    most, _ = slope(lambda: GRU(H), length, keeping, jnp.zeros((1, H)))
    np.testing.assert_allclose(most, (1 - 1 / (1 + np.exp(6.0))) ** length, rtol=1e-3)


def test_clipping_keeps_the_steps_small_where_gradients_explode():
    net = hk.without_apply_rng(hk.transform(lambda x: RNN(H)(x)[0][-1]))
    x = jax.random.normal(jax.random.PRNGKey(1), (60, 4, 2))
    params = jax.jit(net.init)(jax.random.PRNGKey(0), x)
    params["rnn"]["w_hidden"] = 3.0 * params["rnn"]["w_hidden"]  # chaotic

    @functools.partial(jax.jit, static_argnums=0)
    def distance(optimizer):
        """How far 50 steps of size 0.02 lead from the first parameters."""

        def step(carry, _):
            trained, state = carry
            gradient = jax.grad(lambda p: jnp.mean(jnp.square(net.apply(p, x) - 1.0)))(trained)
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(trained, updates), state), None

        (trained, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), None, length=50)
        return optax.tree.norm(optax.tree.sub(trained, params))

    clipped = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.02))
    assert 0.1 < distance(clipped) <= 50 * 0.02
    assert distance(optax.sgd(0.02)) > 20.0
