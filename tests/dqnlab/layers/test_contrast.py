import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import ndimage
from sklearn.datasets import load_sample_images

from dqnlab.layers.contrast import local_contrast_norm


@pytest.fixture(scope="module")
def photos():
    return np.stack(load_sample_images().images)[:, 100:260, 200:360].astype(np.float32) / 255


def local(function, x, size=9):
    """A statistic of each size x size window inside the pictures, all channels together."""
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(x), (size, size), axis=(1, 2))
    return function(windows, axis=(3, 4, 5))


def test_photos_get_a_local_mean_near_zero_and_a_local_deviation_near_one(photos):
    out = local_contrast_norm(photos)
    assert abs(local(np.mean, photos)).mean() > 0.2
    assert local(np.std, photos).mean() < 0.5
    assert abs(local(np.mean, out)).mean() < 0.15
    assert abs(local(np.std, out) - 1).mean() < 0.15


def test_it_is_the_definition_in_scipy(photos):
    x = photos[:1, :, :, :1]
    inside = (slice(9, -9),) * 2  # scipy treats the border differently
    centred = x[0, :, :, 0] - ndimage.uniform_filter(x[0, :, :, 0], 9)
    expected = centred / np.sqrt(ndimage.uniform_filter(centred**2, 9) + 1e-4)
    out = local_contrast_norm(x)[0, :, :, 0]
    np.testing.assert_allclose(out[inside], expected[inside], atol=2e-3)


def test_brightness_and_contrast_are_taken_away(photos):
    dim = local_contrast_norm(0.5 * photos + 0.2, epsilon=1e-2)
    np.testing.assert_allclose(dim, local_contrast_norm(photos, epsilon=2e-2), atol=2e-3)


def test_a_flat_area_stays_flat():
    np.testing.assert_array_equal(local_contrast_norm(jnp.full((1, 20, 20, 3), 0.5)), 0)


def test_gradients_are_those_of_finite_differences():
    x = jax.random.normal(jax.random.PRNGKey(0), (1, 6, 5, 2))
    check_grads(lambda x: local_contrast_norm(x, 3), (x,), 1, ["rev"], atol=1e-2, rtol=1e-2)


def test_a_window_without_a_centre_is_an_error():
    with pytest.raises(ValueError, match="size is 4"):
        local_contrast_norm(jnp.zeros((1, 9, 9, 1)), 4)
