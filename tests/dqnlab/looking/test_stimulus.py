"""The optimal stimulus, where the optimum is known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np

from dqnlab.looking import stimulus

KEY = jax.random.PRNGKey(0)


def test_of_a_linear_unit_it_is_the_weights_direction_at_the_edge_of_the_ball():
    w = jax.random.normal(KEY, (5, 4, 2))
    centre = jnp.full((5, 4, 2), 0.5)
    start = jnp.broadcast_to(centre, (3, 5, 4, 2))
    x, value = stimulus.maximize(
        lambda x: jnp.einsum("bhwc,hwc->b", x, w), start, centre, radius=0.3
    )
    best = centre + 0.3 * w / jnp.linalg.norm(w)  # inside the box
    for each in x:
        np.testing.assert_allclose(each, best, atol=1e-4)
    np.testing.assert_allclose(value, (best * w).sum(), rtol=1e-5)


def test_it_stays_in_the_ball_and_in_the_box():
    w = jax.random.normal(KEY, (6,))
    centre = jnp.full((6,), 0.1)
    x, _ = stimulus.maximize(lambda x: x @ w, centre[None], centre, radius=2.0)
    np.testing.assert_allclose(x[0], (w > 0).astype(jnp.float32), atol=1e-6)  # a corner
    x, _ = stimulus.maximize(lambda x: x @ w, centre[None], centre, radius=0.5)
    assert 0 <= x.min() <= x.max() <= 1
    assert jnp.linalg.norm(x[0] - centre) <= 0.5 + 1e-5


def test_it_exceeds_every_image_that_the_ball_was_made_from():
    images = jax.random.uniform(KEY, (40, 8, 8, 1))
    w1, w2 = jax.random.normal(KEY, (64, 16)), jax.random.normal(jax.random.PRNGKey(1), (16,))

    def value(x):
        return jax.nn.relu(x.reshape(-1, 64) @ w1) @ w2

    ball = stimulus.ball_of(images)
    distance = jnp.linalg.norm((images - ball.centre[None]).reshape(40, -1), axis=1)
    np.testing.assert_allclose(distance.max(), ball.radius, rtol=1e-6)
    start = jnp.broadcast_to(ball.centre, (2, 8, 8, 1))
    start = start + 0.01 * jax.random.normal(KEY, start.shape)
    x, best = jax.jit(lambda s: stimulus.maximize(value, s, *ball))(start)
    np.testing.assert_allclose(value(x), best, rtol=1e-4)
    assert best.min() > 1.5 * value(images).max()
    smooth, lower = stimulus.maximize(value, start, *ball, smooth=1.0)
    assert lower.max() < best.max()
    assert jnp.abs(jnp.diff(smooth, axis=1)).mean() < jnp.abs(jnp.diff(x, axis=1)).mean()
