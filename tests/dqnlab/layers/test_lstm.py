"""The LSTM over sequences against Haiku's, one step at a time."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dqnlab.layers.lstm import LSTM, LSTMState, chrono, zero_state

T, B, D, H = 6, 3, 4, 5
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(T, B, D)), jnp.float32)
FIRST = jnp.zeros((T, B), bool).at[2, 0].set(True).at[0, 1].set(True).at[5, 1].set(True)
STATE = LSTMState(*(jnp.asarray(RNG.normal(size=(B, H)), jnp.float32) for _ in range(2)))


def network(dtype):
    return hk.without_apply_rng(
        hk.transform(lambda x, first, state: LSTM(H, dtype)(x, state, first=first))
    )


def haikus(params, x, state):
    """One step of hk.LSTM with our parameters."""
    theirs = {
        "lstm/linear": {
            "w": jnp.concatenate([params["lstm/input"]["w"], params["lstm"]["w_hidden"]]),
            "b": params["lstm/input"]["b"],
        }
    }
    step = hk.without_apply_rng(hk.transform(lambda x, state: hk.LSTM(H)(x, state)))
    return step.apply(theirs, x, hk.LSTMState(*state))


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.bfloat16, 3e-2)])
def test_a_sequence_equals_haikus_steps_with_zero_states_at_each_start(dtype, tolerance):
    params = jax.jit(network(dtype).init)(jax.random.PRNGKey(0), X, FIRST, STATE)
    out, last = jax.jit(network(dtype).apply)(params, X, FIRST, STATE)
    state = STATE
    for t in range(T):
        fresh = FIRST[t][:, None]
        state = [jnp.where(jnp.broadcast_to(fresh, x.shape), 0.0, x) for x in state]
        expected, state = haikus(params, X[t], state)
        np.testing.assert_allclose(out[t], expected, atol=tolerance)
    for ours, theirs in zip(last, state, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=tolerance)
    assert out.dtype == last.hidden.dtype == last.cell.dtype == jnp.float32


def test_nothing_passes_a_start_neither_forward_nor_back():
    params = network(jnp.float32).init(jax.random.PRNGKey(0), X, FIRST, STATE)

    def late(x, state):
        return network(jnp.float32).apply(params, x, FIRST, state)[0][3:, 0].sum()

    to_x, to_state = jax.grad(late, argnums=(0, 1))(X, STATE)
    assert not np.any(to_x[:2])  # game 0 starts anew at step 2
    assert np.any(to_x[2, 0])
    assert not np.any(to_state.hidden)
    assert not np.any(to_state.cell)


def test_the_first_state_is_zero():
    assert all(x.shape == (2, 7) and not np.any(x) for x in zero_state(2, 7))


def test_chrono_biases_remember_for_up_to_the_given_number_of_steps():
    net = hk.transform(lambda x: LSTM(200, b_init=chrono(100))(x))
    i, g, f, o = np.split(np.float64(net.init(jax.random.PRNGKey(0), X)["lstm/input"]["b"]), 4)
    np.testing.assert_allclose(f + 1.0, -i, atol=1e-5)
    steps = np.exp(f + 1.0)  # a forget gate of sigmoid(log u) keeps for about u steps
    assert 1.0 <= steps.min() < 5.0
    assert 95.0 < steps.max() <= 99.0
    assert not np.any(g)
    assert not np.any(o)
