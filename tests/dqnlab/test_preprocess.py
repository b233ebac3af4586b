import numpy as np
import pytest
from sklearn.datasets import load_digits, load_sample_images

from dqnlab import preprocess
from dqnlab.types import UserError


def patches(count=4000, size=6):
    """Patches of scikit-learn's two photographs, float32[count, size * size]."""
    rng = np.random.default_rng(0)
    grey = [image.mean(axis=2) for image in load_sample_images().images]
    ys, xs = rng.integers(0, 400, count), rng.integers(0, 600, count)
    cut = [
        grey[i % 2][y : y + size, x : x + size] for i, (y, x) in enumerate(zip(ys, xs, strict=True))
    ]
    return (np.stack(cut).reshape(count, -1) / 255).astype(np.float32)


def test_standardising_knows_the_training_part_only_and_constant_pixels_become_zero():
    x = load_digits().data.astype(np.float32)  # has pixels that are always 0
    train, test = x[:1000], x[1000:]
    standardize = preprocess.standardizer(train)
    ours = standardize(train)
    varies = train.std(axis=0) > 0
    assert not varies.all()
    np.testing.assert_allclose(ours[:, varies].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(ours[:, varies].std(axis=0), 1, atol=1e-4)
    np.testing.assert_array_equal(ours[:, ~varies], 0)
    assert np.isfinite(standardize(test)).all()
    test[:] = 1e6  # whatever the test part is, the numbers stay
    np.testing.assert_array_equal(preprocess.standardizer(train).mean, standardize.mean)
    assert preprocess.standardizer(x).mean[20] != standardize.mean[20]


def test_a_constant_that_is_no_binary_fraction_is_still_constant():
    x = np.full((1000, 1), 0.1, np.float32)
    assert preprocess.standardizer(x).deviation[0] == 1
    np.testing.assert_allclose(preprocess.standardizer(x)(x), 0, atol=1e-6)


def test_whitened_patches_of_photographs_have_the_identity_as_covariance():
    x = patches()
    whiten = preprocess.whitener(x)
    white = whiten(x)
    before = np.corrcoef(x.T)
    assert before[0, 1] > 0.9  # neighbouring pixels say the same
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(36), atol=5e-3)
    np.testing.assert_allclose(whiten.matrix, whiten.matrix.T, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(whiten.undo(white), x, atol=2e-3)


def test_what_cannot_be_whitened_is_refused_and_an_epsilon_helps():
    x = load_digits().data.astype(np.float32)
    with pytest.raises(UserError, match="constant or a sum of others"):
        preprocess.whitener(x)
    white = preprocess.whitener(x, epsilon=0.1)(x)
    assert np.isfinite(white).all()
    assert np.var(white, axis=0).max() <= 1.001


def test_one_hot_and_its_errors():
    np.testing.assert_array_equal(preprocess.one_hot(np.array([2, 0]), 3), [[0, 0, 1], [1, 0, 0]])
    with pytest.raises(UserError, match=r"labels\[1\] is 3; with 3 classes it must be in 0..2"):
        preprocess.one_hot(np.array([2, 3]), 3)
    with pytest.raises(UserError, match="labels are float64; classes are whole numbers"):
        preprocess.one_hot(np.array([2.0]), 3)


def test_a_class_that_is_missing_from_a_part_is_named():
    with pytest.raises(UserError, match="the test labels have no example of class 1, 3"):
        preprocess.check_classes(np.array([0, 2, 2]), 4, "the test labels")


def test_padding_keeps_the_sequences_and_the_mask_tells_them_from_the_zeros():
    sequences = [np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])]
    padded, mask = preprocess.pad_and_mask(sequences)
    assert padded.shape == (2, 3, 2)
    np.testing.assert_array_equal(mask, [[True, False, False], [True, True, True]])
    np.testing.assert_array_equal(padded[mask], np.concatenate(sequences))
    np.testing.assert_array_equal(padded[~mask], 0)
    assert preprocess.pad_and_mask(sequences, 5)[0].shape == (2, 5, 2)
    with pytest.raises(UserError, match="has 3 steps; the length is 2"):
        preprocess.pad_and_mask(sequences, 2)


def test_conditions_go_behind_features_and_into_planes():
    x, c = np.ones((2, 3), np.float32), np.array([[5.0], [7.0]], np.float32)
    np.testing.assert_array_equal(preprocess.condition(x, c), [[1, 1, 1, 5], [1, 1, 1, 7]])
    images = preprocess.condition_channels(np.zeros((2, 4, 5, 1), np.float32), c)
    assert images.shape == (2, 4, 5, 2)
    np.testing.assert_array_equal(images[1, ..., 1], 7)
    np.testing.assert_array_equal(images[..., 0], 0)


def test_features_like_unix_time_keep_their_differences():
    rng = np.random.default_rng(0)
    small = rng.normal(size=(500, 3)) * [1.0, 60.0, 1e-3]
    large = small + 1.7e9
    np.testing.assert_allclose(
        preprocess.standardizer(large)(large), preprocess.standardizer(small)(small), atol=2e-3
    )
    scale = preprocess.standardizer(large)
    np.testing.assert_allclose(scale.undo(scale(large)), large, rtol=1e-15, atol=1e-5)
    whiten = preprocess.whitener(large[:, :2])
    np.testing.assert_allclose(
        whiten(large[:, :2]), preprocess.whitener(small[:, :2])(small[:, :2]), atol=1e-3
    )
    seconds = np.arange(1_700_000_000, 1_700_000_100)[:, None]  # int64
    np.testing.assert_allclose(preprocess.standardizer(seconds)(seconds).std(), 1, rtol=1e-6)


def test_values_beyond_float32_are_refused_with_the_range():
    x = np.ones((4, 2))
    x[2, 1] = 1e39
    for make in (preprocess.standardizer, preprocess.whitener):
        with pytest.raises(UserError, match=r"features\[2, 1\] is 1e\+39; float32 holds -3.4"):
            make(x)
    scale = preprocess.standardizer(np.array([[0.0], [1e-3]]))
    with pytest.raises(UserError, match=r"standardised features\[0, 0\] is 2e\+40; float32"):
        scale(np.array([[1e37]]))
