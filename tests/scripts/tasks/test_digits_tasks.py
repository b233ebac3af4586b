"""The data of the digits' tasks, and the perceptron's rule."""

import jax
import numpy as np
import optax
import pytest

from dqnlab import objective, train
from dqnlab.types import UserError
from scripts.supervised import Run
from scripts.supervised_options import Options
from scripts.tasks import digits, digits_mlp, perceptron, table
from scripts.tasks.task import Splits


def rows(part):
    return {image.tobytes() for image in part["x"]}


def test_the_splits_are_stratified_and_share_no_image():
    splits = digits.load(seed=0, validation=0.1)
    sizes = [len(part["y"]) for part in (splits.train, splits.validation, splits.test)]
    assert sum(sizes) == 1797
    assert sizes[2] == 594  # a third
    for part in (splits.train, splits.validation, splits.test):
        share = np.bincount(part["y"], minlength=10) / len(part["y"])
        np.testing.assert_allclose(share, 0.1, atol=0.012)
        assert part["x"].shape[1:] == (8, 8, 1)
        assert 0 <= part["x"].min() < part["x"].max() == 1
    assert not rows(splits.train) & rows(splits.test)
    assert not rows(splits.train) & rows(splits.validation)
    assert rows(digits.load(seed=1, validation=0.1).test) != rows(splits.test)
    assert rows(digits.load(seed=0, validation=0.1).test) == rows(splits.test)


@pytest.mark.parametrize(
    ("label", "output", "change"), [(1, -2.0, 1.0), (0, 3.0, -1.0), (1, 2.0, 0)]
)
def test_the_perceptron_moves_by_the_example_where_it_is_wrong_and_not_where_it_is_right(
    label, output, change
):
    net, loss = perceptron.make(perceptron.Config(), {})
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(1, 8, 8, 1)).astype(np.float32)
    params, net_state = net.init(jax.random.PRNGKey(0), x, True)
    assert not params["linear"]["w"].any()
    params["linear"]["b"] = np.array([output], np.float32)
    optimizer = optax.sgd(1.0)
    state = train.init(params, net_state, optimizer)
    update = train.make_update(objective.for_training(loss), optimizer)
    batch = {"x": x, "y": np.array([label], np.int32)}
    state, aux = update(state, jax.random.PRNGKey(0), batch)
    np.testing.assert_allclose(state.params["linear"]["w"][:, 0], change * x.ravel(), rtol=1e-6)
    np.testing.assert_allclose(state.params["linear"]["b"][0], output + change, rtol=1e-6)
    assert aux.metrics["error"] == abs(change)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x, y: (x, np.where(y == 3, 11, y)), "train labels.*is 11; with 10 classes"),
        (lambda x, y: (x, np.where(y == 3, 4, y)), "train labels have no example of class 3"),
        (lambda x, y: (np.where(x > 0.9, np.nan, x), y), r"train\['x'\].*is nan"),
        (lambda x, y: (x[:0], y[:0]), "the train part: the data is empty"),
        (lambda x, y: (x[1:], y), "the train part: the arrays hold different numbers"),
    ],
)
def test_data_that_cannot_be_are_refused_before_training(change, says, monkeypatch):
    def load(config, seed):
        splits = digits.load(seed, validation=0.0)
        x, y = change(splits.train["x"], splits.train["y"])
        return Splits({"x": x, "y": y}, None, splits.test, splits.info)

    broken = table.TASKS["digits-mlp"]._replace(load=load)
    monkeypatch.setitem(table.TASKS, "digits-mlp", broken)
    with pytest.raises(UserError, match=says):
        Run("digits-mlp", Options(config=digits_mlp.Config()))
