import jax
import jax.numpy as jnp
import numpy as np

from dqnlab.layers.random_shift import random_shift

shift = jax.jit(random_shift, static_argnames="pad")
IMAGES = np.random.default_rng(0).integers(0, 256, (400, 10, 12, 2), np.uint8)


def offsets(images, shifted, pad):
    """The one crop of each padded image that was taken; fails where there is none."""
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="edge")
    found = []
    for image, target in zip(padded, shifted, strict=True):
        matches = [
            (y, x)
            for y in range(2 * pad + 1)
            for x in range(2 * pad + 1)
            if np.array_equal(image[y : y + 10, x : x + 12], target)
        ]
        assert len(matches) == 1
        found.append(matches[0])
    return np.array(found)


def test_each_image_is_one_of_its_shifts_and_all_shifts_occur():
    shifted = shift(jax.random.key(0), IMAGES, pad=2)
    assert shifted.dtype == jnp.uint8
    found = offsets(IMAGES, np.asarray(shifted), pad=2)
    counts = np.bincount(found @ [5, 1], minlength=25)
    assert counts.min() > 0  # 16 each are expected
    assert counts.max() < 40


def test_a_shift_is_a_function_of_the_key():
    first = shift(jax.random.key(1), IMAGES)
    np.testing.assert_array_equal(first, shift(jax.random.key(1), IMAGES))
    assert (first != shift(jax.random.key(2), IMAGES)).any()


def test_no_padding_is_no_shift():
    np.testing.assert_array_equal(shift(jax.random.key(3), IMAGES, pad=0), IMAGES)
