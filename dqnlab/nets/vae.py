"""The variational autoencoder, plain and conditional."""

from collections.abc import Sequence
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from dqnlab import distributions
from dqnlab.distributions import Bernoulli, Gaussian
from dqnlab.types import Array


class VAEOutput(NamedTuple):
    """p(x | z) for one z from q(z | x)."""

    decoded: Bernoulli  # logits [B, D]
    posterior: Gaussian  # [B, code]


class VAE(hk.Module):
    """784-200-200-code and back, softplus after each hidden layer (Kingma and Welling, 1312.6114).

    With `num_classes` it is conditional (1406.5298, model M2): the class, one-hot, stands beside
    the pixels in front of the encoder and beside the code in front of the decoder.
    """

    def __init__(
        self,
        code_size: int,
        hidden: Sequence[int] = (200, 200),
        num_classes: int = 0,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._code_size = code_size
        self._hidden = hidden
        self._num_classes = num_classes

    def __call__(self, x: Array, y: Array | None = None) -> VAEOutput:
        """x float32[B, D] in 0..1, y int32[B] classes where conditional.

        The code is drawn with the next random key; without one (as `apply` in evaluation may have
        none) it is the posterior's mean.
        """
        h = self._with_class(x, y)
        for index, size in enumerate(self._hidden):
            h = jax.nn.softplus(hk.Linear(size, name=f"encode{index}")(h))
        posterior = Gaussian(
            hk.Linear(self._code_size, name="mean")(h),
            hk.Linear(self._code_size, name="log_var")(h),
        )
        key = hk.maybe_next_rng_key()
        code = posterior.mean if key is None else posterior.sample(key)
        return VAEOutput(self.decode(code, x.shape[-1], y), posterior)

    def decode(self, code: Array, size: int, y: Array | None = None) -> Bernoulli:
        """Codes [B, code size] -> p(x | z) over `size` pixels."""
        h = self._with_class(code, y)
        for index, width in enumerate(reversed(self._hidden)):
            h = jax.nn.softplus(hk.Linear(width, name=f"decode{index}")(h))
        return Bernoulli(hk.Linear(size, name="pixels")(h))

    def _with_class(self, x: Array, y: Array | None) -> Array:
        if (y is None) != (self._num_classes == 0):
            raise ValueError(
                "y goes with num_classes: the conditional net needs it, no other has it"
            )
        if y is None:
            return x
        return jnp.concatenate([x, jax.nn.one_hot(y, self._num_classes)], axis=1)


def negative_elbo(outputs: VAEOutput, x: Array) -> tuple[Array, dict[str, Array]]:
    """What a VAE minimises: -ELBO in nats per example, and its KL part."""
    bound = distributions.elbo(outputs.decoded, x, outputs.posterior).mean()
    zeros = jnp.zeros_like(outputs.posterior.mean)
    kl = distributions.kl_gaussian(outputs.posterior, Gaussian(zeros, zeros))
    return -bound, {"elbo": bound, "kl": distributions.per_example(kl).mean()}
