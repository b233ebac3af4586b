"""Saliency of functions whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from dqnlab.looking import saliency

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 20, 24, 3), np.uint8)


def test_the_gradient_of_a_linear_score_is_its_weights():
    w = jax.random.normal(jax.random.PRNGKey(0), (20, 24, 3))
    found = saliency.gradient(lambda x: jnp.einsum("bhwc,hwc->b", x, w), IMAGES)
    np.testing.assert_allclose(found, np.broadcast_to(np.abs(w), found.shape), rtol=1e-6)


def test_bytes_and_their_floats_have_the_same_gradient():
    def score(x):
        return jnp.square(x).sum(axis=(1, 2, 3))

    as_bytes = saliency.gradient(score, IMAGES)
    as_floats = saliency.gradient(score, jnp.float32(IMAGES) / 255)
    np.testing.assert_allclose(as_bytes, as_floats, rtol=1e-6)
    np.testing.assert_allclose(as_bytes, 2 * (IMAGES / 255), rtol=1e-6)


@pytest.mark.parametrize("place", [(3, 20), (16, 5), (19, 23)])
def test_the_perturbation_is_largest_where_the_score_looks(place):
    row, column = place
    found = saliency.perturbation(lambda x: x[:, row, column, 1:2], IMAGES, stride=1)
    assert found.shape == (2, 20, 24)
    for picture in np.asarray(found):
        assert np.unravel_index(picture.argmax(), picture.shape) == place


def test_the_perturbation_at_one_place_is_the_papers_formula():
    rng = np.random.default_rng(1)
    w = jnp.asarray(rng.normal(size=(20, 24, 3, 2)), jnp.float32)
    found = saliency.perturbation(lambda x: jnp.einsum("bhwc,hwco->bo", x, w), IMAGES, stride=1)
    image = IMAGES / 255
    side, (i, j) = 20, (9, 13)
    soft = np.asarray(saliency.blur(jnp.float32(image), 1.0))
    rows, columns = np.ogrid[:20, :24]
    mask = np.exp(-((rows - i) ** 2 + (columns - j) ** 2) / (2 * (side / 16) ** 2))[..., None]
    moved = np.einsum("bhwc,hwco->bo", mask * (soft - image), np.asarray(w))
    np.testing.assert_allclose(found[:, i, j], 0.5 * (moved**2).sum(-1), rtol=1e-3)


def test_a_constant_image_has_no_perturbation_saliency():
    flat = jnp.full((1, 20, 20, 1), 0.3)
    found = saliency.perturbation(lambda x: x.sum(axis=(1, 2, 3))[:, None], flat)
    np.testing.assert_allclose(found, 0, atol=1e-6)
    np.testing.assert_array_equal(saliency.heat(jnp.zeros((1, 4, 4))), 0)


def test_blurring_is_scipys_inside_the_image():
    x = np.random.default_rng(2).random((1, 40, 40, 1), np.float32)
    ours = saliency.blur(jnp.asarray(x), 2.0)[0, 16:24, 16:24, 0]
    theirs = ndimage.gaussian_filter(x[0, ..., 0], 2.0, truncate=8)[16:24, 16:24]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_each_heat_has_the_maximum_one_over_its_channels():
    picture = saliency.heat(jnp.asarray(IMAGES, jnp.float32))
    np.testing.assert_allclose(picture, IMAGES.max(-1) / IMAGES.max((1, 2, 3))[:, None, None])
