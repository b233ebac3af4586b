"""Temporal-difference maths for ONE transition (the caller vmaps) or one rollout.

Vocabulary: `s_tm1, a_tm1 -> r_t, discount_t, s_t`, where `discount_t` is 0 after a termination.
Gradients flow into the predictions at `s_tm1` and into nothing else.
Axis letters: A actions, K atoms, M and N quantiles of prediction and target, T time.
The Huber loss of a TD error is `optax.huber_loss`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dqnlab.types import Array


def q_learning(q_tm1: Array, a_tm1: Array, r_t: Array, discount_t: Array, q_t: Array) -> Array:
    """TD error of Q-learning, r + γ max q_t − q_tm1[a_tm1] (DQN, Nature 2015, Methods).

    Shapes: q_tm1[A], a_tm1[], r_t[], discount_t[], q_t[A] of the target network -> [].
    """
    return double_q_learning(q_tm1, a_tm1, r_t, discount_t, q_t, q_t)


def double_q_learning(
    q_tm1: Array, a_tm1: Array, r_t: Array, discount_t: Array, q_t: Array, q_t_selector: Array
) -> Array:
    """TD error of double Q-learning: the selector chooses, `q_t` values (1509.06461, eq. 4).

    Shapes: q_tm1[A], a_tm1[], r_t[], discount_t[], q_t[A] of the target network,
    q_t_selector[A] of the online network -> [].
    """
    target = r_t + discount_t * q_t[q_t_selector.argmax()]
    return jax.lax.stop_gradient(target) - q_tm1[a_tm1]


def munchausen(
    q_tm1: Array,
    a_tm1: Array,
    r_t: Array,
    discount_t: Array,
    q_t: Array,
    q_tm1_policy: Array,
    alpha: float = 0.9,
    tau: float = 0.03,
    l0: float = -1.0,
) -> Array:
    """TD error of M-DQN (2007.14430, section 2); π = softmax(q / τ).

    The target is r + α [τ ln π(a_tm1|s_tm1)] clipped to [l0, 0] + γ Σ π(a|s_t) (q_t − τ ln π).
    Shapes: q_tm1[A], a_tm1[], r_t[], discount_t[], q_t[A] of the target network, q_tm1_policy[A]
    whose policy earns the bonus (the paper: the target network's values at s_tm1) -> [].
    """
    bonus = munchausen_bonus(q_tm1_policy, a_tm1, alpha, tau, l0)
    # q − τ ln softmax(q / τ) is τ logsumexp(q / τ) for every action, hence for their mean.
    soft_value = tau * jax.nn.logsumexp(q_t / tau)
    target = r_t + bonus + discount_t * soft_value
    return jax.lax.stop_gradient(target) - q_tm1[a_tm1]


def munchausen_bonus(q: Array, a: Array, alpha: float, tau: float, l0: float) -> Array:
    """The reward added by M-RL, α [τ ln softmax(q / τ)[a]] clipped to [l0, 0]: q[A], a[] -> []."""
    # Clipped after the factor τ, as in the paper and its code: τ ln π is a difference of Qs.
    return alpha * jnp.clip(tau * jax.nn.log_softmax(q / tau)[a], l0, 0.0)


def categorical_projection(target_z: Array, probs: Array, support: Array) -> Array:
    """Probabilities on `support` of a distribution with atoms elsewhere (1707.06887, eq. 7).

    Shapes: target_z[N], probs[N], support[K] increasing -> [K].
    """
    # Each gap between atoms is measured, not (last - first) / (K - 1): the support is rounded to
    # float32, and this way the two shares of an atom still sum to 1. The outer gaps do not matter.
    gaps = jnp.diff(support)
    below = jnp.concatenate([gaps[:1], gaps])[:, None]
    above = jnp.concatenate([gaps, gaps[-1:]])[:, None]
    offset = jnp.clip(target_z, support[0], support[-1])[None, :] - support[:, None]
    distance = jnp.maximum(offset / above, -offset / below)  # 1 at the neighbouring atom
    return jnp.clip(1.0 - distance, 0.0, 1.0) @ probs


def categorical_q_learning(
    logits_tm1: Array,
    a_tm1: Array,
    r_t: Array,
    discount_t: Array,
    logits_t: Array,
    q_t_selector: Array,
    support: Array,
) -> Array:
    """Cross-entropy of C51 between projected target and prediction (1707.06887, algorithm 1).

    `q_t_selector` chooses the action at s_t: the target network's own mean values in C51, the
    online network's in double C51 and Rainbow (1710.02298).
    Shapes: logits_tm1[A, K], a_tm1[], r_t[], discount_t[], logits_t[A, K] of the target network,
    q_t_selector[A], support[K] -> [].
    """
    probs = jax.nn.softmax(logits_t[q_t_selector.argmax()])
    target = categorical_projection(r_t + discount_t * support, probs, support)
    log_probs = jax.nn.log_softmax(logits_tm1[a_tm1])
    return -jnp.vdot(jax.lax.stop_gradient(target), log_probs)


def quantile_q_learning(
    z_tm1: Array, a_tm1: Array, r_t: Array, discount_t: Array, z_t: Array, q_t_selector: Array
) -> Array:
    """TD errors between all pairs of quantiles (QR-DQN 1710.10044, eq. 13; IQN 1806.06923, eq. 2).

    `q_t_selector` chooses the action at s_t: `z_t.mean(0)` in QR-DQN, the mean over other
    samples of the target network in IQN, the online network's values for double Q-learning.
    Shapes: z_tm1[M, A], a_tm1[], r_t[], discount_t[], z_t[N, A] of the target network,
    q_t_selector[A] -> [M, N], the input of `quantile_huber_loss`.
    """
    target = r_t + discount_t * z_t[:, q_t_selector.argmax()]
    return jax.lax.stop_gradient(target)[None, :] - z_tm1[:, a_tm1][:, None]


def quantile_munchausen(
    z_tm1: Array,
    a_tm1: Array,
    r_t: Array,
    discount_t: Array,
    z_t: Array,
    q_t_policy: Array,
    q_tm1_policy: Array,
    alpha: float = 0.9,
    tau: float = 0.03,
    l0: float = -1.0,
) -> Array:
    """TD errors between all pairs of quantiles in M-IQN (2007.14430, appendix B.1).

    The target is r + bonus (see `munchausen`) + γ Σ π(a|s_t) (z_t[:, a] − τ ln π(a|s_t)).
    Shapes: z_tm1[M, A], a_tm1[], r_t[], discount_t[], z_t[N, A] of the target network,
    q_t_policy[A] its mean over quantiles, q_tm1_policy[A] whose policy earns the bonus
    (the paper: the target network's mean values at s_tm1; BTR: the online network's) -> [M, N].
    """
    bonus = munchausen_bonus(q_tm1_policy, a_tm1, alpha, tau, l0)
    log_pi = jax.nn.log_softmax(q_t_policy / tau)
    soft_z = (z_t - tau * log_pi[None, :]) @ jnp.exp(log_pi)
    target = r_t + bonus + discount_t * soft_z
    return jax.lax.stop_gradient(target)[None, :] - z_tm1[:, a_tm1][:, None]


def quantile_huber_loss(td_errors: Array, taus: Array, kappa: float = 1.0) -> Array:
    """Quantile Huber loss: sum over predictions, mean over targets (1806.06923, eq. 3).

    Shapes: td_errors[M, N], taus[M] the fractions of the predicted quantiles (IQN: sampled;
    QR-DQN: the midpoints (i + 1/2) / M) -> [].
    """
    weight = jnp.abs(taus[:, None] - (td_errors < 0.0))
    loss: Array = weight * optax.huber_loss(td_errors, delta=kappa) / kappa
    return loss.mean(axis=1).sum()


def lambda_returns(
    r_t: Array, discount_t: Array, v_t: Array, lambda_: float | Array = 1.0
) -> Array:
    """Targets G_t = r_t + γ_t [(1 − λ_t) v_t + λ_t G_{t+1}] of a rollout, with G_T = v_T.

    An entry of `lambda_` is 0 where step t + 1 does not continue step t (a truncation before an
    autoreset): G_t then bootstraps from v_t. Only `discount_t` = 0 says termination.
    Shapes: r_t, discount_t, v_t [T, ...] time-major, lambda_ [] or as r_t -> [T, ...].
    """
    lambda_t = jnp.broadcast_to(jnp.asarray(lambda_, r_t.dtype), r_t.shape)

    def backward(next_return: Array, step: tuple[Array, ...]) -> tuple[Array, Array]:
        r, discount, v, lam = step
        g = r + discount * ((1.0 - lam) * v + lam * next_return)
        return g, g

    _, returns = jax.lax.scan(backward, v_t[-1], (r_t, discount_t, v_t, lambda_t), reverse=True)
    return jax.lax.stop_gradient(returns)


def q_lambda(
    q_tm1: Array,
    a_tm1: Array,
    r_t: Array,
    discount_t: Array,
    q_t: Array,
    lambda_: float | Array,
) -> Array:
    """TD errors of Peng's Q(λ) over a rollout, as PQN uses it: v_t = max q_t (2407.04811).

    Shapes: q_tm1[T, A], a_tm1[T], r_t[T], discount_t[T], q_t[T, A], lambda_ [] or [T] -> [T].
    """
    qa_tm1 = jnp.take_along_axis(q_tm1, a_tm1[:, None], axis=1)[:, 0]
    return lambda_returns(r_t, discount_t, q_t.max(axis=1), lambda_) - qa_tm1


def squared_or_huber(error: Array, huber_delta: float | None) -> Array:
    """The loss of a TD error, elementwise: its square, or Huber's where a delta is given."""
    if huber_delta is None:
        return jnp.square(error)
    loss: Array = optax.huber_loss(error, delta=huber_delta)
    return loss


def clipped_after_weighting(error: Array, weight: Array, delta: float) -> Array:
    """The loss of a TD error with the gradient clip(weight * error, +-delta), elementwise.

    A weighted Huber loss has weight * clip(error, +-delta). Quadratic up to |weight * error| =
    delta, the loss is weight * error^2 / 2 there; weights are >= 0.
    """
    loss: Array = optax.huber_loss(weight * error, delta=delta)
    return loss / jnp.maximum(weight, np.finfo(np.float32).tiny)


def value_rescale(x: Array, eps: float = 1e-3) -> Array:
    """h(x) = sign(x) (√(|x| + 1) − 1) + ε x, elementwise (R2D2; 1805.11593, section 3.2)."""
    # The same number as x / (√(|x| + 1) + 1) + ε x, which has no cancellation near 0.
    return x / (jnp.sqrt(jnp.abs(x) + 1.0) + 1.0) + eps * x


def inverse_value_rescale(x: Array, eps: float = 1e-3) -> Array:
    """The inverse of `value_rescale`, elementwise (1805.11593, proposition A.2)."""
    # The paper's closed form subtracts nearly equal numbers and loses 4 of float32's 7 digits.
    # Instead: w = √(|y| + 1) − 1 solves ε w² + (1 + 2ε) w = |x|, and |y| = w (w + 2).
    b = 1.0 + 2.0 * eps
    w = 2.0 * x / (b + jnp.sqrt(b * b + 4.0 * eps * jnp.abs(x)))
    return w * (jnp.abs(w) + 2.0)


def rescaled_double_q_learning(
    q_tm1: Array, a_tm1: Array, r_t: Array, discount_t: Array, q_t: Array, q_t_selector: Array
) -> Array:
    """TD error of `double_q_learning` for Q-values that predict h(return), h = `value_rescale`.

    The target is h(r + γ h⁻¹(q_t[argmax q_t_selector])) (R2D2, Kapturowski et al. 2019, section
    2.3). Shapes as in `double_q_learning` -> [].
    """
    target = r_t + discount_t * inverse_value_rescale(q_t[q_t_selector.argmax()])
    return jax.lax.stop_gradient(value_rescale(target)) - q_tm1[a_tm1]
