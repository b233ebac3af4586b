import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import td

with warnings.catch_warnings():  # its dependency tfp uses deprecated names of jax
    warnings.simplefilter("ignore")
    import rlax

B, A, K, M, N, T = 32, 6, 51, 5, 7, 9
SUPPORT = jnp.linspace(-10.0, 10.0, K)


def normal(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.normal(0.0, 2.0, shape).astype(np.float32) for shape in shapes]


def actions(seed, *shape):
    return np.random.default_rng(seed).integers(0, A, shape, np.int32)


def discounts(seed, *shape):
    ended = np.random.default_rng(seed).random(shape) < 0.3
    return np.where(ended, 0.0, 0.99).astype(np.float32)


def agree(ours, theirs, *args, tolerance=1e-6):
    """Both functions, mapped over the leading axis, give the same; one element also without jit."""
    close = functools.partial(np.testing.assert_allclose, atol=tolerance, rtol=tolerance)
    expected = np.asarray(jax.jit(jax.vmap(theirs))(*args))
    close(jax.jit(jax.vmap(ours))(*args), expected)
    close(ours(*(jnp.asarray(x[0]) for x in args)), expected[0])


def test_q_learning_by_hand():
    q_tm1, q_t = jnp.array([1.0, 2.0]), jnp.array([3.0, 5.0])
    # 0.5 + 0.9 * max(3, 5) - 2
    np.testing.assert_allclose(td.q_learning(q_tm1, 1, 0.5, 0.9, q_t), 3.0, rtol=1e-6)
    # a termination: 0.5 - 2
    np.testing.assert_allclose(td.q_learning(q_tm1, 1, 0.5, 0.0, q_t), -1.5, rtol=1e-6)


def test_double_q_learning_by_hand():
    q_tm1, q_t, selector = jnp.array([1.0, 2.0]), jnp.array([3.0, 5.0]), jnp.array([9.0, 0.0])
    # The selector prefers action 0, worth 3: 0.5 + 0.9 * 3 - 1.
    error = td.double_q_learning(q_tm1, 0, 0.5, 0.9, q_t, selector)
    np.testing.assert_allclose(error, 2.2, rtol=1e-6)


def test_q_learning_agrees_with_rlax():
    q_tm1, q_t, selector, r_t = normal(0, (B, A), (B, A), (B, A), (B,))
    args = (q_tm1, actions(1, B), r_t, discounts(2, B), q_t)
    agree(td.q_learning, rlax.q_learning, *args)
    agree(td.double_q_learning, rlax.double_q_learning, *args, selector)


def test_munchausen_by_hand():
    # τ = 1 and Qs that are logarithms give round policies: π(s_tm1) = (1/4, 3/4), π(s_t) = 1/2.
    q_tm1, q_t = jnp.log(jnp.array([1.0, 3.0])), jnp.log(jnp.array([2.0, 2.0]))
    error = td.munchausen(q_tm1, 0, 0.5, 0.9, q_t, q_tm1, alpha=0.9, tau=1.0, l0=-9.0)
    # 0.5 + 0.9 ln(1/4) + 0.9 (ln 2 - ln(1/2)) - ln 1
    np.testing.assert_allclose(error, 0.5, atol=1e-6)
    clipped = td.munchausen(q_tm1, 0, 0.5, 0.9, q_t, q_tm1, alpha=0.9, tau=1.0, l0=-1.0)
    np.testing.assert_allclose(clipped, 0.5 - 0.9 + 0.9 * np.log(4), rtol=1e-6)


def test_munchausen_is_the_written_equation():
    q_tm1, q_t, policy, r_t = normal(3, (B, A), (B, A), (B, A), (B,))
    a_tm1, discount_t = actions(4, B), discounts(5, B)
    alpha, tau, l0 = 0.9, 0.03, -1.0

    def log_softmax(q):  # in float64
        q = q - q.max()
        return q - np.log(np.exp(q).sum())

    expected = []
    for i in range(B):
        log_pi_tm1 = log_softmax(np.float64(policy[i]) / tau)
        log_pi_t = log_softmax(np.float64(q_t[i]) / tau)
        bonus = alpha * np.clip(tau * log_pi_tm1[a_tm1[i]], l0, 0)
        value = np.sum(np.exp(log_pi_t) * (np.float64(q_t[i]) - tau * log_pi_t))
        expected.append(r_t[i] + bonus + discount_t[i] * value - q_tm1[i, a_tm1[i]])
    args = (q_tm1, a_tm1, r_t, discount_t, q_t, policy)
    for function in (jax.vmap(td.munchausen), jax.jit(jax.vmap(td.munchausen))):
        np.testing.assert_allclose(function(*args), expected, atol=2e-6, rtol=1e-6)


def test_munchausen_without_bonus_at_low_temperature_is_q_learning():
    q_tm1, q_t, r_t = normal(6, (B, A), (B, A), (B,))
    args = (q_tm1, actions(7, B), r_t, discounts(8, B), q_t)
    cold = jax.vmap(lambda *x: td.munchausen(*x, x[0], alpha=0.0, tau=1e-4))(*args)
    np.testing.assert_allclose(cold, jax.vmap(td.q_learning)(*args), atol=1e-3)


def test_categorical_projection_by_hand():
    support = jnp.array([0.0, 1.0, 2.0])
    # 0.25 lies a quarter of the way to the second atom; 9 is clipped to the last.
    projected = td.categorical_projection(jnp.array([0.25, 9.0]), jnp.array([0.4, 0.6]), support)
    np.testing.assert_allclose(projected, [0.3, 0.1, 0.6], rtol=1e-6)


def test_categorical_q_learning_by_hand():
    support = jnp.array([0.0, 1.0, 2.0])
    logits_tm1 = jnp.log(jnp.array([[0.2, 0.3, 0.5], [1.0, 1.0, 1.0]]))
    logits_t = jnp.log(jnp.array([[0.8, 0.1, 0.1], [0.5, 0.25, 0.25]]))
    # Action 1 is chosen; its atoms move to 0.5, 1 and 1.5: mass (.25, .25 + .25 + .125, .125).
    loss = td.categorical_q_learning(
        logits_tm1, 0, 0.5, 0.5, logits_t, jnp.array([0.0, 1.0]), support
    )
    expected = -(0.25 * np.log(0.2) + 0.625 * np.log(0.3) + 0.125 * np.log(0.5))
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:Rlax categorical_cross_entropy")
def test_categorical_q_learning_agrees_with_rlax():
    logits_tm1, logits_t, selector, r_t = normal(9, (B, A, K), (B, A, K), (B, A), (B,))
    a_tm1, discount_t = actions(10, B), discounts(11, B)
    args = (logits_tm1, a_tm1, r_t, discount_t, logits_t, selector)

    def ours(*args):
        return td.categorical_q_learning(*args, SUPPORT)

    def theirs(logits_tm1, a_tm1, r_t, discount_t, logits_t, selector):
        return rlax.categorical_double_q_learning(
            SUPPORT, logits_tm1, a_tm1, r_t, discount_t, SUPPORT, logits_t, selector
        )

    # The loss is steep in the projected target, whose own parity is tested below.
    agree(ours, theirs, *args, tolerance=5e-6)

    def ours_single(*args):
        return ours(*args, jax.nn.softmax(args[-1]) @ SUPPORT)

    def theirs_single(logits_tm1, a_tm1, r_t, discount_t, logits_t):
        return rlax.categorical_q_learning(
            SUPPORT, logits_tm1, a_tm1, r_t, discount_t, SUPPORT, logits_t
        )

    agree(ours_single, theirs_single, *args[:-1], tolerance=5e-6)


def test_a_projection_agrees_with_rlax():
    logits, r_t = normal(29, (B, K), (B,))
    args = (r_t[:, None] + 0.99 * SUPPORT[None, :], jax.nn.softmax(logits))
    agree(
        lambda z, p: td.categorical_projection(z, p, SUPPORT),
        lambda z, p: rlax.categorical_l2_project(z, p, SUPPORT),
        *args,
    )


def test_a_projection_keeps_all_mass_on_the_support():
    project = jax.jit(jax.vmap(td.categorical_projection, (0, 0, None)))
    logits, shift = normal(12, (B, K), (B, 1))
    for scale in (0.0, 1.0, 30.0, 1e6):
        target_z = scale * shift + 0.99 * SUPPORT[None, :]
        projected = project(target_z, jax.nn.softmax(logits), SUPPORT)
        np.testing.assert_allclose(projected.sum(1), 1.0, rtol=1e-6)
        assert projected.min() >= 0.0


def test_a_projection_inside_the_support_keeps_the_mean():
    (logits,) = normal(13, (B, K))
    probs, target_z = jax.nn.softmax(logits), 0.7 * SUPPORT + 1.3
    projected = jax.vmap(td.categorical_projection, (None, 0, None))(target_z, probs, SUPPORT)
    np.testing.assert_allclose(projected @ SUPPORT, probs @ target_z, atol=1e-5)


def test_quantile_td_errors_by_hand():
    z_tm1, z_t = jnp.array([[1.0, 0.0], [3.0, 0.0]]), jnp.array([[5.0, 4.0], [7.0, 8.0]])
    # The selector prefers action 1, with quantiles 4 and 8: targets 2.5 and 4.5.
    errors = td.quantile_q_learning(z_tm1, 0, 0.5, 0.5, z_t, jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(errors, [[1.5, 3.5], [-0.5, 1.5]], rtol=1e-6)


def test_clipping_weighted_errors_has_dqn_zoos_gradients():
    (errors,) = normal(5, (B,))
    weights = jnp.abs(normal(6, (B,))[0]).at[0].set(0.0)

    def ours(errors):
        return td.clipped_after_weighting(2 * errors, weights, 1.0).mean()

    def theirs(errors):
        clipped = rlax.clip_gradient(2 * errors, -1 / B, 1 / B)
        return (weights * rlax.l2_loss(clipped)).mean()

    found = jax.grad(ours)(errors)
    assert (jnp.abs(found) > 1.99 / B).any()  # some are clipped
    np.testing.assert_allclose(found, jax.grad(theirs)(errors), rtol=1e-5)


def test_quantile_huber_loss_by_hand():
    errors, taus = jnp.array([[0.5, 3.0], [-0.5, -3.0]]), jnp.array([0.25, 0.75])
    # Huber losses 0.125 and 2.5, weighted by 0.25 above and by 1 - 0.75 below.
    loss = td.quantile_huber_loss(errors, taus)
    np.testing.assert_allclose(loss, 2 * 0.25 * (0.125 + 2.5) / 2, rtol=1e-6)
    # kappa = 2: (0.125 + 2 * (3 - 1)) / 2
    wide = td.quantile_huber_loss(errors, taus, kappa=2.0)
    np.testing.assert_allclose(wide, 2 * 0.25 * (0.125 + 4.0) / 2 / 2, rtol=1e-6)


def test_quantile_q_learning_agrees_with_rlax():
    z_tm1, z_t, selector, r_t = normal(14, (B, M, A), (B, N, A), (B, N, A), (B,))
    taus = np.random.default_rng(15).random((B, M), np.float32)
    args = (z_tm1, taus, actions(16, B), r_t, discounts(17, B), selector, z_t)

    def ours(z_tm1, taus, a_tm1, r_t, discount_t, selector, z_t):
        errors = td.quantile_q_learning(z_tm1, a_tm1, r_t, discount_t, z_t, selector.mean(0))
        return td.quantile_huber_loss(errors, taus)

    agree(ours, lambda *args: rlax.quantile_q_learning(*args, huber_param=1.0), *args)


def test_quantile_huber_loss_is_least_at_the_quantiles():
    # One minimum by gradient descent against 0..100: the predictions become the percentiles.
    targets, taus = jnp.linspace(0.0, 100.0, 101), jnp.array([0.1, 0.5, 0.9])
    z = jnp.full(3, 50.0)
    step = jax.jit(
        lambda z: (
            z
            - 20.0 * jax.grad(lambda z: td.quantile_huber_loss(targets[None] - z[:, None], taus))(z)
        )
    )
    for _ in range(300):
        z = step(z)
    np.testing.assert_allclose(z, [10.0, 50.0, 90.0], atol=1.0)


def test_munchausen_of_quantiles_averages_to_munchausen_of_values():
    z_tm1, z_t, policy, r_t = normal(18, (B, M, A), (B, N, A), (B, A), (B,))
    a_tm1, discount_t = actions(19, B), discounts(20, B)
    errors = jax.vmap(td.quantile_munchausen)(
        z_tm1, a_tm1, r_t, discount_t, z_t, z_t.mean(1), policy
    )
    assert errors.shape == (B, M, N)
    # Linear in the quantiles: the mean error is that of the mean values.
    expected = jax.vmap(td.munchausen)(z_tm1.mean(1), a_tm1, r_t, discount_t, z_t.mean(1), policy)
    np.testing.assert_allclose(errors.mean((1, 2)), expected, atol=3e-6, rtol=1e-6)


def test_munchausen_of_quantiles_by_hand():
    z_tm1 = jnp.array([[1.0, 0.0]])
    z_t = jnp.array([[0.0, 2.0], [4.0, 2.0]])  # equal means: π = 1/2 each
    zeros = jnp.zeros(2)
    errors = td.quantile_munchausen(
        z_tm1, 0, 0.5, 0.5, z_t, z_t.mean(0), zeros, alpha=0.5, tau=1.0, l0=-9.0
    )
    # 0.5 + 0.5 ln(1/2) + 0.5 (quantile mean 1 or 3, plus entropy ln 2) - 1
    np.testing.assert_allclose(errors, [[0.0, 1.0]], atol=1e-6)


def test_lambda_returns_by_hand():
    r_t, discount_t = jnp.array([1.0, 2.0, 3.0]), jnp.array([0.5, 0.5, 0.5])
    v_t = jnp.array([4.0, 6.0, 8.0])
    # 3 + .5 * 8 = 7; 2 + .5 (.5 * 6 + .5 * 7) = 5.25; 1 + .5 (.5 * 4 + .5 * 5.25) = 3.3125
    returns = td.lambda_returns(r_t, discount_t, v_t, 0.5)
    np.testing.assert_allclose(returns, [3.3125, 5.25, 7.0], rtol=1e-6)


def test_lambda_returns_stop_at_terminations_and_bootstrap_at_truncations():
    r_t, v_t = jnp.array([1.0, 2.0, 3.0]), jnp.array([4.0, 6.0, 8.0])
    ended = td.lambda_returns(r_t, jnp.array([0.5, 0.0, 0.5]), v_t, 1.0)
    np.testing.assert_allclose(ended, [2.0, 2.0, 7.0], rtol=1e-6)
    cut = td.lambda_returns(r_t, jnp.full(3, 0.5), v_t, jnp.array([1.0, 0.0, 1.0]))
    np.testing.assert_allclose(cut, [3.5, 5.0, 7.0], rtol=1e-6)


def test_lambda_returns_of_many_games_are_those_of_each():
    r_t, v_t = normal(21, (T, B), (T, B))
    discount_t = discounts(22, T, B)
    together = jax.jit(td.lambda_returns)(r_t, discount_t, v_t, 0.65)
    vmapped = jax.vmap(td.lambda_returns, (1, 1, 1, None), 1)
    each = jax.jit(vmapped)(r_t, discount_t, v_t, 0.65)
    np.testing.assert_allclose(together, each, rtol=1e-6, atol=1e-6)


def test_q_lambda_agrees_with_rlax():
    q_tm1, q_t, r_t = normal(23, (B, T, A), (B, T, A), (B, T))
    lambdas = np.where(actions(24, B, T) == 0, 0.0, 0.65).astype(np.float32)
    args = (q_tm1, actions(25, B, T), r_t, discounts(26, B, T), q_t)
    agree(td.q_lambda, rlax.q_lambda, *args, lambdas)
    agree(td.q_lambda, rlax.q_lambda, *args, np.full((B, T), 0.65, np.float32))


def test_value_rescale_by_hand():
    # sqrt(3 + 1) - 1 + 3e-3 and sqrt(8 + 1) - 1 + 8e-3
    h = td.value_rescale(jnp.array([0.0, 3.0, -8.0]))
    np.testing.assert_allclose(h, [0.0, 1.003, -2.008], rtol=1e-6)


def test_value_rescale_agrees_with_rlax():
    x = jnp.concatenate([jnp.linspace(-300.0, 300.0, 41), jnp.linspace(-1.0, 1.0, 41)])
    agree(td.value_rescale, lambda x: rlax.signed_hyperbolic(x, 1e-3), x)
    # rlax inverts with a cancelling formula: parity is as good as the oracle.
    agree(td.inverse_value_rescale, lambda x: rlax.signed_parabolic(x, 1e-3), x, tolerance=2e-3)


@pytest.mark.parametrize("eps", [1e-3, 1e-2])
def test_value_rescale_is_undone_by_its_inverse(eps):
    x = np.concatenate([np.logspace(-6, 6, 49), -np.logspace(-6, 6, 49), [0.0]]).astype(np.float32)
    undone = td.inverse_value_rescale(td.value_rescale(jnp.asarray(x), eps), eps)
    np.testing.assert_allclose(undone, x, rtol=1e-6)


# name: (loss of predictions and targets, shape of predictions, shape of targets)
LOSSES = {
    "q_learning": (lambda p, r, t: td.q_learning(p, 1, r, 0.99, t), (A,), (A,)),
    "double_q_learning": (lambda p, r, t: td.double_q_learning(p, 1, r, 0.99, t, t), (A,), (A,)),
    "munchausen": (lambda p, r, t: td.munchausen(p, 1, r, 0.99, t, t), (A,), (A,)),
    "munchausen_online_policy": (lambda p, r, t: td.munchausen(p, 1, r, 0.99, t, p), (A,), (A,)),
    "categorical_q_learning": (
        lambda p, r, t: td.categorical_q_learning(p, 1, r, 0.99, t, t.sum(1), SUPPORT),
        (A, K),
        (A, K),
    ),
    "quantile_q_learning": (
        lambda p, r, t: td.quantile_huber_loss(
            td.quantile_q_learning(p, 1, r, 0.99, t, t.mean(0)), jnp.linspace(0.1, 0.9, M)
        ),
        (M, A),
        (N, A),
    ),
    "quantile_munchausen": (
        lambda p, r, t: td.quantile_huber_loss(
            td.quantile_munchausen(p, 1, r, 0.99, t, t.mean(0), p.mean(0)),
            jnp.linspace(0.1, 0.9, M),
        ),
        (M, A),
        (N, A),
    ),
    "q_lambda": (
        lambda p, r, t: td.q_lambda(
            p, jnp.ones(T, int), jnp.full(T, r), jnp.full(T, 0.99), t, 0.65
        ).sum(),
        (T, A),
        (T, A),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_finite_and_flow_into_the_action_taken_only(name):
    loss, *shapes = LOSSES[name]
    predictions, targets = normal(27, *shapes)
    gradients = jax.value_and_grad(loss, argnums=(0, 1, 2))
    rewards = jnp.array([0.0, 1.0, 1e6, -1e6])
    value, (into_predictions, into_rewards, into_targets) = jax.jit(
        jax.vmap(gradients, in_axes=(None, 0, None))
    )(predictions, rewards, targets)
    assert jnp.isfinite(value).all()
    assert not into_rewards.any()
    assert not into_targets.any()
    action_axis = 1 if name == "categorical_q_learning" else -1
    by_action = jnp.moveaxis(into_predictions, action_axis, 1).reshape(len(rewards), A, -1)
    assert jnp.isfinite(by_action).all()
    assert jnp.abs(by_action[:, 1]).max(axis=1).all()  # a gradient at every reward
    assert not jnp.delete(by_action, 1, axis=1).any()
