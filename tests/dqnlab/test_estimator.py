import pickle

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from dqnlab import Classifier, Regressor

SMALL = {"hidden": (32,), "epochs": 100, "learning_rate": 0.01}


@pytest.mark.slow
@pytest.mark.parametrize(
    "estimator", [Classifier(**SMALL), Regressor(**SMALL)], ids=["classifier", "regressor"]
)
@pytest.mark.filterwarnings("ignore")  # scikit-learn's own checks warn on purpose
def test_scikit_learns_own_checks_pass(estimator):
    check_estimator(estimator)


def test_it_works_in_a_pipeline_with_labels_that_are_words():
    x, y = load_iris(return_X_y=True)
    words = np.array(["setosa", "versicolor", "virginica"])[y]
    model = make_pipeline(StandardScaler(), Classifier(**SMALL)).fit(x[::2], words[::2])
    assert model.score(x[1::2], words[1::2]) >= 0.9
    probabilities = model.predict_proba(x)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(x), probabilities)


def test_a_grid_finds_that_learning_is_better_than_not():
    x, y = load_iris(return_X_y=True)
    grid = GridSearchCV(Classifier(**SMALL), {"learning_rate": [1e-7, 0.01]}, cv=2).fit(x, y)
    assert grid.best_params_ == {"learning_rate": 0.01}


def test_a_rows_prediction_does_not_depend_on_those_beside_it():
    x, y = load_digits(return_X_y=True)
    model = Classifier(hidden=(8,), epochs=1).fit(x, y)
    alone = np.concatenate([model.predict_proba(x[i : i + 1]) for i in range(3)])
    np.testing.assert_array_equal(alone, model.predict_proba(x)[:3])


def test_regression_of_several_targets():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (200, 2))
    y = np.stack([np.sin(3 * x[:, 0]), 100 + 50 * x[:, 1] ** 2], axis=1)
    model = Regressor(hidden=(64,), epochs=400, learning_rate=0.01).fit(x[:150], y[:150])
    assert model.predict(x).shape == (200, 2)
    assert model.score(x[150:], y[150:]) > 0.95
