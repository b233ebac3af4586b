import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage

from dqnlab import augment

KEY = jax.random.PRNGKey(0)
IMAGES = jnp.asarray(np.random.default_rng(0).uniform(size=(3, 9, 11, 2)), jnp.float32)


def test_no_displacement_leaves_images_alone_and_a_whole_one_moves_pixels():
    zero = jnp.zeros((3, 9, 11, 2))
    np.testing.assert_allclose(augment.warp(IMAGES, zero), IMAGES, atol=1e-6)
    moved = augment.warp(IMAGES, zero + jnp.array([2.0, -1.0])[None, None, None])
    np.testing.assert_allclose(moved[:, :-2, 1:], IMAGES[:, 2:, :-1], atol=1e-6)
    np.testing.assert_array_equal(moved[:, -1], 0)  # from outside


def test_a_warp_samples_as_scipy_does():
    field = jax.random.uniform(KEY, (3, 9, 11, 2), minval=-2, maxval=2)
    ours = augment.warp(IMAGES, field)
    grid = np.stack(np.meshgrid(np.arange(9), np.arange(11), indexing="ij"))
    places = grid + np.moveaxis(np.asarray(field[1]), -1, 0)
    theirs = scipy.ndimage.map_coordinates(
        np.asarray(IMAGES[1, ..., 0]), places, order=1, mode="grid-constant"
    )
    inside = ((places >= 0) & (places <= np.array([8, 10])[:, None, None])).all(axis=0)
    np.testing.assert_allclose(np.asarray(ours[1, ..., 0])[inside], theirs[inside], atol=1e-5)


def test_a_shift_is_one_vector_for_all_pixels_of_an_image_and_another_for_each_image():
    field = np.asarray(augment.affine(KEY, (50, 6, 7, 1), shift=1.5))
    np.testing.assert_allclose(field, np.broadcast_to(field[:, :1, :1], field.shape), atol=1e-6)
    assert np.abs(field).max() <= 1.5
    assert field[:, 0, 0].std() > 0.6  # 1.5 / sqrt(3) = 0.87


def test_a_rotation_keeps_distances_from_the_centre_and_its_angle_within_bounds():
    field = np.asarray(augment.affine(KEY, (40, 7, 7, 1), degrees=30.0))
    grid = np.stack(np.meshgrid(np.arange(7), np.arange(7), indexing="ij"), -1) - 3.0
    places = grid + field
    np.testing.assert_allclose(
        np.linalg.norm(places, axis=-1),
        np.broadcast_to(np.linalg.norm(grid, axis=-1), (40, 7, 7)),
        atol=1e-5,
    )
    corner = places[:, 0, 0] @ grid[0, 0] / 18  # cosine of the angle
    angles = np.rad2deg(np.arccos(np.clip(corner, -1, 1)))
    assert 25 < angles.max() <= 30.01


def test_a_stretch_is_within_bounds_for_each_axis():
    field = np.asarray(augment.affine(KEY, (60, 7, 7, 1), scale=0.2))
    grid = np.stack(np.meshgrid(np.arange(7), np.arange(7), indexing="ij"), -1) - 3.0
    factors = (grid + field)[:, 0, 0] / grid[0, 0]
    assert 0.8 <= factors.min() < 0.85
    assert 1.15 < factors.max() <= 1.2


def test_elastic_displacements_are_smooth_and_as_large_as_asked_for():
    field = np.asarray(augment.elastic(KEY, (300, 16, 16, 1), alpha=2.0, sigma=3.0))
    np.testing.assert_allclose(field.std(axis=0), 2.0, rtol=0.2)
    steps = np.diff(field, axis=1)
    assert steps.std() < 0.4 * field.std()  # white noise: 1.41


def test_augmentation_is_a_function_of_its_key_and_differs_between_images():
    same = jnp.broadcast_to(IMAGES[:1], IMAGES.shape)
    distort = jax.jit(lambda key: augment.warp(same, augment.elastic(key, same.shape, 1.0, 2.0)))
    one, again, other = (np.asarray(distort(jax.random.PRNGKey(s))) for s in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.05
    assert np.abs(one[0] - one[1]).max() > 0.05


def test_all_distortions_at_once_stay_in_range_and_differ_between_images():
    same = jnp.broadcast_to(IMAGES[:1], (20, *IMAGES.shape[1:]))
    changed = augment.distort(KEY, same, shift=1.0, degrees=20.0, scale=0.1, alpha=0.5)
    assert 0 <= changed.min() < changed.max() <= 1
    changed = np.asarray(changed)
    assert np.abs(changed[:1] - changed[1:]).max(axis=(1, 2, 3)).min() > 0.05
    np.testing.assert_allclose(augment.distort(KEY, same), same, atol=1e-5)


def test_noise_has_its_deviation():
    noisy = augment.gaussian_noise(KEY, jnp.zeros((50, 20, 20, 1)), 0.3)
    np.testing.assert_allclose(np.std(noisy), 0.3, rtol=0.05)
    np.testing.assert_allclose(np.mean(noisy), 0, atol=0.01)
