import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.test_util import check_grads

from dqnlab.nets import siamese

EMBEDDINGS = jax.random.normal(jax.random.PRNGKey(0), (7, 3))
LABELS = jnp.array([0, 0, 1, 1, 1, 2, 0])


def test_the_loss_is_the_mean_over_the_triplets_that_violate_the_margin():
    d = np.square(np.asarray(EMBEDDINGS)[:, None] - np.asarray(EMBEDDINGS)[None]).sum(-1)
    triplets = [
        (a, p, n)
        for a, p, n in itertools.product(range(7), repeat=3)
        if a != p and LABELS[a] == LABELS[p] != LABELS[n]
    ]
    expected = [max(0.0, 0.5 + d[a, p] - d[a, n]) for a, p, n in triplets]
    positive = [x for x in expected if x > 0]
    loss, metrics = siamese.triplet(EMBEDDINGS, LABELS, 0.5)
    np.testing.assert_allclose(loss, np.mean(positive), rtol=1e-5)
    np.testing.assert_allclose(metrics["violated"], len(positive) / len(triplets), rtol=1e-6)


def test_one_triplet_is_that_of_optax():
    # optax takes the distances themselves: here both are 0 or 1, and so are their squares.
    a, p, n = jnp.eye(2)[jnp.array([0, 0, 1])][:, None] / jnp.sqrt(2.0)
    expected = optax.losses.triplet_margin_loss(a, p, n, margin=1.5, eps=0.0)
    loss, _ = siamese.triplet(jnp.concatenate([a, p, n]), jnp.array([0, 0, 1]), 1.5)
    np.testing.assert_allclose(loss, expected[0], rtol=1e-5)


def test_separated_classes_cost_nothing():
    far = 10.0 * jax.nn.one_hot(LABELS, 3)
    loss, metrics = siamese.triplet(far, LABELS, 0.5)
    assert loss == 0
    assert metrics["violated"] == 0


def test_a_batch_of_one_class_has_no_triplet_and_no_nan():
    loss, gradient = jax.value_and_grad(
        lambda e: siamese.triplet(e, jnp.zeros(7, jnp.int32), 0.5)[0]
    )(EMBEDDINGS)
    assert loss == 0
    np.testing.assert_array_equal(gradient, 0)


def test_gradients_are_those_of_finite_differences():
    check_grads(
        lambda e: siamese.triplet(e, LABELS, 50.0)[0],
        (EMBEDDINGS,),
        1,
        ["rev"],
        atol=1e-2,
        rtol=1e-2,
    )
    check_grads(siamese.normalised, (EMBEDDINGS,), 1, ["rev"], atol=1e-2, rtol=1e-2)


def test_normalised_has_length_one_and_a_finite_gradient_at_zero():
    lengths = jnp.linalg.norm(siamese.normalised(EMBEDDINGS), axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-5)
    assert np.isfinite(jax.jacobian(siamese.normalised)(jnp.zeros((1, 3)))).all()


def test_recall_counts_those_with_one_of_their_class_among_their_nearest_others():
    x, labels = np.array([[0.0], [1.0], [2.1], [9.0]]), np.array([0, 1, 0, 1])
    # Classes of the others by distance: 1 0 1, 0 0 1, 1 0 1 and 0 1 0.
    assert siamese.recall_at(x, labels, 1) == 0
    assert siamese.recall_at(x, labels, 2) == 3 / 4
    assert siamese.recall_at(x, labels, 3) == 1
    assert siamese.precision_at(x, labels, 1) == 0
    assert siamese.precision_at(x, labels, 2) == 3 / 8


def test_spread_tells_a_clump_from_a_sphere():
    points = np.random.default_rng(0).normal(size=(1000, 16))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    assert siamese.spread(np.ones((5, 3))) == 0
    assert siamese.spread(points) > 0.95
