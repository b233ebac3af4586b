"""Output distributions joined with their loss: a net returns one, `nll` is what it minimises.

Each is a record of arrays, and so a pytree: a net may return it, `jit` and `vmap` pass it on.

    log_prob(value)  natural logarithm, of each element
    sample(key)      one value of each element
    mode()           the most probable value of each element

Elements are independent given the net's outputs.
"""

import math
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from dqnlab.types import Array

LOG_2PI = math.log(2 * math.pi)


class Distribution(Protocol):
    """What all of them have."""

    def log_prob(self, value: Array) -> Array:
        """Logarithm of the probability, or of its density."""

    def sample(self, key: Array) -> Array:
        """One value of each element."""

    def mode(self) -> Array:
        """The most probable value of each element."""


class Bernoulli(NamedTuple):
    """0 or 1 with P(1) = sigmoid(logits)."""

    logits: Array  # [...]

    def log_prob(self, value: Array) -> Array:
        """x log p + (1 - x) log(1 - p) of x in 0..1, [...]; stable for logits of any size."""
        return value * self.logits - jax.nn.softplus(self.logits)

    def sample(self, key: Array) -> Array:
        """Zeros and ones, float32 [...]."""
        return jax.random.bernoulli(key, self.mean()).astype(self.logits.dtype)

    def mode(self) -> Array:
        """1 where it is the more probable."""
        return (self.logits > 0).astype(self.logits.dtype)

    def mean(self) -> Array:
        """P(1)."""
        return jax.nn.sigmoid(self.logits)


class Categorical(NamedTuple):
    """One of K classes with P = softmax(logits)."""

    logits: Array  # [..., K]

    def log_prob(self, value: Array) -> Array:
        """Of classes int[...]."""
        logs = jax.nn.log_softmax(self.logits)
        return jnp.take_along_axis(logs, value[..., None], axis=-1)[..., 0]

    def sample(self, key: Array) -> Array:
        """Classes int32[...]."""
        return jax.random.categorical(key, self.logits)

    def mode(self) -> Array:
        """The most probable class, int32[...]."""
        return jnp.argmax(self.logits, axis=-1)


class Gaussian(NamedTuple):
    """Normal with a mean and the logarithm of its VARIANCE, not of its standard deviation."""

    mean: Array  # [...]
    log_var: Array  # [...]

    def log_prob(self, value: Array) -> Array:
        """-1/2 (log 2 pi + log var + (x - mean)^2 / var)."""
        scaled = jnp.square(value - self.mean) * jnp.exp(-self.log_var)
        return -0.5 * (LOG_2PI + self.log_var + scaled)

    def sample(self, key: Array) -> Array:
        """mean + std times noise, differentiable in both (1312.6114, section 2.4)."""
        noise = jax.random.normal(key, self.mean.shape, self.mean.dtype)
        return self.mean + jnp.exp(0.5 * self.log_var) * noise

    def mode(self) -> Array:
        """The mean."""
        return self.mean


class GaussianMixture(NamedTuple):
    """K normals, the k-th with probability softmax(logits)_k (Bishop 1994)."""

    logits: Array  # [..., K]
    mean: Array  # [..., K]
    log_var: Array  # [..., K]

    def log_prob(self, value: Array) -> Array:
        """log sum_k p_k N(x; mean_k, var_k) of x [...]."""
        parts = Gaussian(self.mean, self.log_var).log_prob(value[..., None])
        return jax.nn.logsumexp(jax.nn.log_softmax(self.logits) + parts, axis=-1)

    def sample(self, key: Array) -> Array:
        """A component first, then a value of it."""
        which_key, value_key = jax.random.split(key)
        which = jax.random.categorical(which_key, self.logits)
        values = Gaussian(self.mean, self.log_var).sample(value_key)
        return _take(values, which)

    def mode(self) -> Array:
        """The mean of the component whose peak is highest: the mode, unless components overlap."""
        which = jnp.argmax(jax.nn.log_softmax(self.logits) - 0.5 * self.log_var, axis=-1)
        return _take(self.mean, which)


def nll(outputs: Distribution, batch: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
    """Negative log-likelihood of batch["y"] in nats per example: a criterion of `objective`."""
    value = -per_example(outputs.log_prob(batch["y"])).mean()
    return value, {"nll": value}


def per_example(log_prob: Array) -> Array:
    """[B, ...] -> [B], the sum over the elements of each example."""
    return log_prob.reshape(log_prob.shape[0], -1).sum(axis=-1)


def kl_gaussian(p: Gaussian, q: Gaussian) -> Array:
    """KL(p || q) of each element, in nats."""
    scaled = (jnp.exp(p.log_var) + jnp.square(p.mean - q.mean)) * jnp.exp(-q.log_var)
    return 0.5 * (q.log_var - p.log_var + scaled - 1)


def elbo(decoded: Distribution, x: Array, posterior: Gaussian) -> Array:
    """The evidence lower bound on log p(x), [B] in nats, from one sample of the code.

    log p(x | z) - KL(q(z | x) || N(0, 1)), eq. 3 of 1312.6114.

    Args:
      decoded: p(x | z) for a z sampled from `posterior`.
      x: [B, ...].
      posterior: q(z | x), [B, code].
    """
    prior = Gaussian(jnp.zeros_like(posterior.mean), jnp.zeros_like(posterior.log_var))
    return per_example(decoded.log_prob(x)) - per_example(kl_gaussian(posterior, prior))


def _take(values: Array, which: Array) -> Array:
    return jnp.take_along_axis(values, which[..., None], axis=-1)[..., 0]
