import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator

from dqnlab import Classifier, Regressor

# Within float32 a weight of 2 is the example twice (below); this check wants seven digits.
ROUNDED = {"check_sample_weight_equivalence_on_dense_data": "float32"}
SMALL = {"hidden": (32,), "epochs": 100, "learning_rate": 0.01}


@pytest.mark.slow
@pytest.mark.parametrize(
    "estimator", [Classifier(**SMALL), Regressor(**SMALL)], ids=["classifier", "regressor"]
)
@pytest.mark.filterwarnings("ignore")  # scikit-learn's own checks warn on purpose
def test_scikit_learns_own_checks_pass(estimator):
    check_estimator(estimator, expected_failed_checks=ROUNDED)


CHEAP = """
check_classifiers_regression_target check_dict_unchanged
check_do_not_raise_errors_in_init_or_set_params check_dont_overwrite_parameters
check_estimators_empty_data_messages check_estimators_nan_inf
check_estimators_partial_fit_n_features check_estimators_unfitted check_fit1d
check_n_features_in_after_fitting check_no_attributes_set_in_init
check_parameters_default_constructible check_sample_weights_list check_sample_weights_shape
check_supervised_y_2d
"""


@pytest.mark.parametrize("estimator", [Classifier, Regressor])
@pytest.mark.filterwarnings("ignore")
def test_some_of_scikit_learns_checks_pass(estimator):
    small = estimator(hidden=(4,), epochs=2)
    wanted, done = set(CHEAP.split()), set()
    for model, check in estimator_checks_generator(small):
        if (name := check.func.__name__) in wanted:
            check(model)
            done.add(name)
    assert wanted - done <= {"check_classifiers_regression_target"}


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


TINY = {"hidden": (4,), "epochs": 2, "batch_size": 150}
X, Y = load_iris(return_X_y=True)


def test_large_offsets_of_features_and_targets_lose_nothing():
    small, large = (Classifier(**TINY).fit(X + c, Y).predict_proba(X + c) for c in (0, 1.7e9))
    np.testing.assert_allclose(large, small, atol=1e-3)
    target = X[:, 0] * 60
    small, large = (Regressor(**TINY).fit(X, target + c).predict(X) - c for c in (0, 1.7e9))
    np.testing.assert_allclose(large, small, atol=0.1)
    for fit in (lambda: Classifier(**TINY).fit(X * 1e39, Y), lambda: Regressor().fit(X, Y * 1e39)):
        with pytest.raises(ValueError, match=r"is \d.*e\+39; float32 holds -3.403e\+38 to 3.403"):
            fit()


@pytest.mark.parametrize(
    "same",
    [lambda x: x.astype(np.float16), lambda x: x.astype(">f4"), lambda x: x.astype(object), list],
)
def test_features_of_any_type_fit_and_predict_alike(same):
    x = np.rint(X).astype(np.float32)  # whole, so that every type holds it
    wanted = Classifier(**TINY).fit(x, Y).predict_proba(x)
    np.testing.assert_array_equal(Classifier(**TINY).fit(same(x), Y).predict_proba(same(x)), wanted)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hidden": (0,)}, r"hidden is \(0,\); it must be the units"),
        ({"hidden": "32"}, "hidden is '32'"),
        ({"epochs": 0}, "epochs is 0; it must be a whole number"),
        ({"epochs": 1.5}, "epochs is 1.5"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"learning_rate": 0}, "learning_rate is 0; it must be a number above 0"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'"),
        ({"schedule": "cosin"}, "'cosin' is unknown; did you mean cosine"),
        ({"optimizer": "Adam"}, "'Adam' is unknown; did you mean adam"),
        ({"optimizer": None}, "optimizer is None; it must be one of adam"),
        ({"weight_decay": -1}, "weight_decay is -1"),
        ({"dropout": 1.0}, "dropout is 1.0; it must be a share below 1"),
        ({"validation_fraction": 0}, "validation_fraction is 0"),
        ({"n_iter_no_change": 0}, "n_iter_no_change is 0"),
        ({"early_stopping": "yes"}, "early_stopping is 'yes'; it must be True or False"),
        ({"random_state": "a"}, "'a' cannot be used to seed"),
    ],
)
def test_parameters_are_checked_before_any_work(change, says):
    for model in (Classifier(**change), Regressor().set_params(**change)):
        with pytest.raises(ValueError, match=says):
            model.fit(None, None)  # not even the data are looked at
    with pytest.raises(ValueError, match=says):
        Classifier(**change).partial_fit(None, None)


def test_a_fitted_estimator_is_what_was_fitted_whatever_its_parameters_become():
    model = Classifier(hidden=4, epochs=np.int64(2), batch_size=150).fit(
        X, Y
    )  # a number is one layer
    wanted = model.predict_proba(X)
    model.set_params(hidden=(3, 3), epochs=1, dropout=0.5)
    np.testing.assert_array_equal(model.predict_proba(X), wanted)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), wanted)
    assert not hasattr(clone(model), "params_")
    assert clone(model).get_params() == model.get_params()
    assert [len(w) for w in (model.fit(X, Y).loss_curve_, again.loss_curve_)] == [1, 2]
    np.testing.assert_array_equal(
        model.set_params(hidden=4, epochs=2, dropout=0.0).fit(X, Y).predict_proba(X), wanted
    )
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), wanted, rtol=1e-6)


@pytest.mark.parametrize("estimator", [Classifier, Regressor])
def test_a_weight_of_two_is_the_example_twice_and_zero_is_its_absence(estimator):
    weight = np.random.default_rng(0).integers(0, 3, 150)
    model = estimator(hidden=(4,), epochs=5, batch_size=1000)  # all in one batch
    ours = model.fit(X, Y, sample_weight=weight).predict(X)
    loss = model.loss_
    theirs = model.fit(np.repeat(X, weight, axis=0), np.repeat(Y, weight)).predict(X)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)
    assert loss == pytest.approx(model.loss_, rel=1e-4)


def test_weights_of_classes_are_weights_of_their_examples():
    kwargs = {"hidden": (4,), "epochs": 3, "batch_size": 150}
    words = np.array(["a", "b", "c"])[Y]
    table = {"a": 1.0, "b": 5.0, "c": 0.5}
    by_class = Classifier(**kwargs, class_weight=table).fit(X, words).predict_proba(X)
    by_example = Classifier(**kwargs).fit(X, words, np.array(list(table.values()))[Y])
    plain = Classifier(**kwargs).fit(X, words)
    np.testing.assert_allclose(by_class, by_example.predict_proba(X), rtol=1e-5)
    assert np.abs(by_class - plain.predict_proba(X)).max() > 1e-3
    balanced = Classifier(**kwargs, class_weight="balanced").fit(X, words)
    np.testing.assert_allclose(balanced.predict_proba(X), plain.predict_proba(X), rtol=1e-5)
    with pytest.raises(ValueError, match="weight"):
        plain.fit(X, words, np.zeros(150))


def test_early_stopping_ends_before_the_last_epoch_and_keeps_the_best(capsys):
    kwargs = {
        "hidden": (4,),
        "batch_size": 150,
        "epochs": 50,
        "early_stopping": True,
        "learning_rate": 1e-9,
    }
    model = Classifier(**kwargs, n_iter_no_change=2, verbose=True).fit(X, Y)
    losses = [row["valid_loss"] for row in model.history_]
    assert len(losses) == model.n_iter_ == int(np.argmin(losses)) + 3 < 50
    assert capsys.readouterr().out.count("valid_loss") == model.n_iter_
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        model.partial_fit(X, Y)


def test_parts_of_the_data_one_after_the_other_are_learnt_from():
    model = Classifier(hidden=(8,), learning_rate=0.05, batch_size=15)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(X, Y)
    model.partial_fit(X[:60], Y[:60], classes=[0, 1, 2])  # has no example of class 2
    assert model.predict_proba(X).shape == (150, 3)
    for _ in range(10):
        model.partial_fit(X[::2], Y[::2])
    assert model.n_iter_ == 11
    assert model.score(X[1::2], Y[1::2]) > 0.85
    with pytest.raises(ValueError, match="y has the class"):
        model.partial_fit(X, Y + 1)
    again = pickle.loads(pickle.dumps(model)).partial_fit(X, Y)  # with the optimizer's state
    np.testing.assert_array_equal(again.predict_proba(X), model.partial_fit(X, Y).predict_proba(X))
    regressor = Regressor(hidden=(8,), learning_rate=0.05, batch_size=50)
    for _ in range(10):
        regressor.partial_fit(X[:, :3], X[:, 3], np.ones(150))
    assert regressor.score(X[:, :3], X[:, 3]) > 0.8
    with pytest.raises(ValueError, match="y has 2 targets; the earlier had 1"):
        regressor.partial_fit(X[:, :3], X[:, 2:])


def test_a_warm_start_goes_on_from_the_weights_it_has():
    model = Classifier(hidden=(8,), epochs=5, batch_size=150, warm_start=True)
    first = model.fit(X, Y).loss_
    assert model.fit(X, Y).loss_curve_[5] < model.loss_curve_[0]
    assert model.loss_ < first
    assert [row["epoch"] for row in model.history_] == list(range(1, 11))
    with pytest.raises(ValueError, match="must have the same classes"):
        model.fit(X[:100], Y[:100])
    with pytest.raises(ValueError, match="fit with warm_start=False begins anew"):
        model.set_params(hidden=(9,)).fit(X, Y)
    assert model.set_params(warm_start=False).fit(X, Y).n_iter_ == 5
