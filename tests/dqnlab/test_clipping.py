"""Clipping by one factor is optax's clipping."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dqnlab import optim


@pytest.mark.parametrize("scale", [0.0, 0.1, 10.0, 1e4])
def test_clipping_equals_optax(scale):
    rng = np.random.default_rng(0)
    grads = {"w": jnp.asarray(rng.normal(size=(7, 5)) * scale, jnp.float32), "b": jnp.ones(3)}
    ours, theirs = optim.clip_by_global_norm(10.0), optax.clip_by_global_norm(10.0)
    got, state = ours.update(grads, ours.init(grads))
    expected, like = theirs.update(grads, theirs.init(grads))
    assert jax.tree.structure(state) == jax.tree.structure(like)  # as in older checkpoints
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), got, expected)
    if optax.tree.norm(grads) < 10:
        jax.tree.map(np.testing.assert_array_equal, got, grads)


def test_a_gradient_that_is_not_finite_is_not_made_so():
    ours = optim.clip_by_global_norm(1.0)
    for bad in (np.nan, np.inf):
        grads = {"w": jnp.array([1.0, bad])}
        assert not np.isfinite(ours.update(grads, ours.init(grads))[0]["w"]).all()
