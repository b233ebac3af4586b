import jax
import numpy as np
import pytest

from dqnlab import batches
from dqnlab.types import UserError

DATA = {"x": np.arange(20.0).reshape(10, 2), "y": np.arange(10)}


@pytest.mark.parametrize("batch_size", [1, 3, 4, 10, 99])
def test_means_over_uneven_batches_are_means_over_all_examples(batch_size):
    keys = []

    def measure(key, batch):
        keys.append(tuple(np.asarray(key)))
        return {"y": batch["y"].mean(), "x": batch["x"].mean()}

    means = batches.mean_metrics(measure, jax.random.PRNGKey(0), DATA, batch_size)
    np.testing.assert_allclose([means["y"], means["x"]], [4.5, 9.5])
    assert len(set(keys)) == len(keys) == -(-10 // batch_size)


@pytest.mark.parametrize("batch_size", [1, 3, 10, 99])
def test_mapping_over_batches_keeps_order_and_structure(batch_size):
    out = batches.map_batches(lambda b: (b["y"] * 2, {"z": b["x"]}), DATA, batch_size)
    np.testing.assert_array_equal(out[0], DATA["y"] * 2)
    np.testing.assert_array_equal(out[1]["z"], DATA["x"])


def test_chosen_examples_may_be_stacked():
    taken = batches.take(DATA, np.array([[3, 1], [0, 9]]))
    np.testing.assert_array_equal(taken["y"], [[3, 1], [0, 9]])
    assert taken["x"].shape == (2, 2, 2)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"x": np.zeros(3), "y": np.zeros(4)}, r"different numbers of examples: \[3, 4\]"),
        ({"x": np.zeros((0, 5))}, "empty"),
        ({}, "empty"),
        (np.float32(1.0), "empty"),
    ],
)
def test_data_without_a_common_length_are_refused(data, says):
    with pytest.raises(UserError, match=says):
        batches.num_examples(data)


def test_the_first_number_that_is_not_finite_is_named_with_its_place():
    x = DATA["x"].copy()
    x[7, 1] = np.inf
    x[8, 0] = np.nan
    with pytest.raises(UserError, match=r"train\['x'\]\[7, 1\] is inf; 2 values"):
        batches.check_finite({"x": x, "y": DATA["y"]}, "train")
    batches.check_finite(DATA, "train")
