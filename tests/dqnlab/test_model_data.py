"""The inputs, labels and weights that `Model` takes, and the lines that refuse all others."""

import haiku as hk
import jax.numpy as jnp
import numpy as np
import pytest

from dqnlab import Model, forward, inputs, objective
from dqnlab.types import UserError

RNG = np.random.default_rng(0)
X = RNG.integers(0, 2, (40, 5)).astype(np.float32)
Y = RNG.integers(0, 3, 40)
QUIET = {"epochs": 1, "batch_size": 20, "verbose": False}


def net(x):
    return hk.Linear(3)(x - 0.5)


def objects(x):
    table = x.astype(object)
    table[:, 4] = table[:, 4] > 0  # what a data frame of numbers and flags gives
    return table


SAME = {
    "uint8": X.astype(np.uint8),
    "int64": X.astype(np.int64),
    "uint64": X.astype(np.uint64),
    "bool": X.astype(bool),
    "float16": X.astype(np.float16),
    "float64": X.astype(np.float64),
    "longdouble": X.astype(np.longdouble),
    "big-endian float": X.astype(">f4"),
    "big-endian integer": X.astype(">i2"),
    "bfloat16": jnp.asarray(X, jnp.bfloat16),
    "nested lists": X.tolist(),
    "list of arrays": list(X),
    "objects": objects(X),
    "column of arrays": np.array([*X, None], dtype=object)[:-1],
    "reversed view": X[::-1][::-1],
}


@pytest.fixture(scope="module")
def fitted():
    model = Model(net)
    model.fit(X, Y, **QUIET)
    return model


@pytest.mark.parametrize("kind", SAME)
def test_every_type_of_number_predicts_and_measures_as_float32_does(kind, fitted):
    np.testing.assert_array_equal(fitted.predict(SAME[kind]), fitted.predict(X))
    assert fitted.evaluate(SAME[kind], Y) == fitted.evaluate(X, Y)


@pytest.mark.parametrize("kind", ["uint8", "bool", "objects"])
def test_every_type_of_number_is_learnt_from_as_float32_is(kind, fitted):
    model = Model(net)
    assert model.fit(SAME[kind], Y, **QUIET, validation_data=(SAME[kind], Y))[-1][
        "loss"
    ] == pytest.approx(fitted.history[-1]["loss"], rel=1e-6)
    assert model.fit(X, Y, **QUIET)[-1]["epoch"] == 2  # other types of the same shape go on


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (None, r"\['x'\] is None, a NoneType"),
        ([[1.0, None]] * 40, r"\['x'\]\[0, 1\] is None; numbers"),
        ([[1.0, "a"]] * 40, r"\['x'\]\[0, 1\] is 'a'; numbers"),
        (np.full((40, 5), "7"), r"\['x'\]\[0, 0\] is '7'; numbers"),
        (X.astype(complex), "is complex128; real numbers"),
        (np.full((40, 5), np.datetime64("2020-01-01")), r"is datetime64\[D\]; real numbers"),
        ([[1.0], [1.0, 2.0]], "rows of different shapes"),
        ((x for x in X), "a generator; an array of examples"),
        (3.0, r"\['x'\] is 3.0, a float"),
        ({"a": X, "b": None}, r"\['x'\]\['b'\] is None"),
        (np.ma.masked_less(X, 0.5), "has masked values"),
        (X.astype(float) * 1e39, r"\] is 1e\+39; float32 holds -3.403e\+38 to 3.403e\+38"),
        (np.where(X > 0, np.nan, X), r"\] is nan; \d+ values"),
        (X[:, :3], r"inputs are float32\[N, 3\]; the net has learnt from float32\[N, 5\]"),
        ({"a": X}, r"inputs are \['a'\] float32\[N, 5\]; the net has learnt"),
        (X[:0], "the data is empty"),
    ],
)
def test_inputs_that_are_no_numbers_are_named_in_fitting_and_in_predicting(x, says, fitted):
    calls = [lambda: fitted.predict(x), lambda: fitted.evaluate(x, Y)]
    for call in [*calls, lambda: fitted.fit(x, Y, **QUIET)]:
        with pytest.raises(UserError, match=says) as error:
            call()
        assert "\n" not in str(error.value)
    with pytest.raises(UserError):
        fitted.fit(X, Y, **QUIET, validation_data=(x, Y))


LABELS = {
    "[N, 1]": Y[:, None],
    "whole floats": Y.astype(float),
    "uint8": Y.astype(np.uint8),
    "big-endian": Y.astype(">i8"),
    "list": Y.tolist(),
    "tuple": tuple(Y.tolist()),
    "objects": Y.astype(object),
    "one-hot integers": np.eye(3, dtype=int)[Y],
    "one-hot floats": np.eye(3)[Y],
    "one-hot bools": np.eye(3, dtype=bool)[Y],
    "one-hot lists": np.eye(3)[Y].tolist(),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_type_and_shape_are_the_same_labels(kind, fitted):
    assert fitted.evaluate(X, LABELS[kind]) == fitted.evaluate(X, Y)


@pytest.mark.parametrize(
    ("loss", "y", "says"),
    [
        ("classification", Y + 1, r"labels\[\d+\] is 3; with 3 classes it must be in 0..2"),
        ("classification", Y - 1, r"labels\[\d+\] is -1; with 3 classes"),
        ("classification", Y * 0.5, r"labels\[\d+\] is 0.5; classes are whole"),
        ("classification", np.eye(3)[Y] * 0.9, r"is \[.*\]; one-hot rows have a single 1"),
        ("classification", np.eye(4)[Y], r"are \[40, 4\]; the net's outputs \[40, 3\] take \[40\]"),
        ("classification", np.array(["a", "b"] * 20), r"labels\[0\] is 'a'; numbers"),
        ("classification", [None] * 40, r"labels\[0\] is None"),
        ("classification", None, r"labels is None"),
        ("categorical_crossentropy", Y[:39], r"numbers of examples: \[39, 40\]"),
        ("binary_crossentropy", np.stack([Y] * 3, 1), r"\] is 2.0; binary labels are 0, 1 or"),
        ("binary_crossentropy", np.stack([2 * (Y > 0) - 1] * 3, 1), r"\] is -1.0; binary labels"),
        ("regression", np.array([1.0, None, 2.0, 3.0] * 10), r"targets\[1\] is None"),
        ("regression", Y * 1.0, r"targets are \[40\]; the net's outputs are \[40, 3\]"),
        ("mse", np.zeros((3, 40)), r"targets are \[3, 40\]"),
        ("mae", np.full((40, 3), np.inf), r"\['y'\]\[0, 0\] is inf"),
        ("mae", np.full((40, 3), 1e39), r"targets\[0, 0\] is 1e\+39; float32 holds"),
    ],
)
def test_labels_that_a_loss_cannot_use_are_named_before_anything_compiles(loss, y, says):
    model = Model(net, loss)
    with pytest.raises(UserError, match=says) as error:
        model.fit(X, y, **QUIET)
    assert "\n" not in str(error.value)
    assert model.progress is None


def test_bytes_do_not_wrap_around_and_tokens_stay_whole():
    x = np.array([[1, 2], [3, 4]], np.uint8)
    table = forward.inputs(forward.transform(lambda x: hk.Linear(2)(x - 128)), x)
    assert table.dtype == jnp.float32
    model = Model(lambda x: hk.Embed(7, 3)(x).mean(axis=1))
    tokens = RNG.integers(0, 7, (40, 6))
    model.fit(tokens.astype(np.uint8), Y, **QUIET)
    np.testing.assert_array_equal(model.predict(tokens), model.predict(tokens.astype(np.uint8)))
    with pytest.raises(UserError, match=r"inputs are float32\[N, 6\]; the net has learnt from int"):
        model.predict(tokens + 0.5)


def test_a_feature_that_float32_would_flatten_is_warned_of():
    x = X.astype(np.float64)
    x[:, 2] += 1.7e9
    with pytest.warns(UserWarning, match=r"\['x'\]\[:, 2\] is up to 1.7e\+09 with a deviation"):
        inputs.warn_of_rounding({"x": x}, "data")
    inputs.warn_of_rounding(X, "x")
    inputs.warn_of_rounding(np.full((3, 2), 1.7e9), "x")  # a constant loses nothing


def test_a_weight_of_two_is_the_example_twice_and_zero_is_its_absence():
    weight = RNG.integers(0, 3, 40)
    model = Model(net)
    model.fit(X, Y, **QUIET)
    ours = model.evaluate(X, Y, sample_weight=weight)
    theirs = model.evaluate(np.repeat(X, weight, axis=0), np.repeat(Y, weight))
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert model.evaluate(X, Y, 7, sample_weight=weight * 5.0) == pytest.approx(theirs, rel=1e-5)


def test_weights_of_examples_and_of_classes_change_what_is_learnt():
    def after(**kwargs):
        model = Model(net, optimizer="sgd", learning_rate=0.1)
        model.fit(X, Y, epochs=2, batch_size=40, verbose=False, **kwargs)
        return model.predict(X)

    weight = np.array([1.0, 2.0, 0.5])
    table = {0: 1, 1: 2.0, np.int64(2): 0.5}
    np.testing.assert_allclose(
        after(class_weight=table), after(sample_weight=weight[Y]), rtol=1e-5, atol=1e-6
    )
    balanced = 40 / (3 * np.bincount(Y))
    np.testing.assert_allclose(
        after(class_weight="balanced"), after(sample_weight=balanced[Y]), rtol=1e-5, atol=1e-6
    )
    both = after(class_weight=table, sample_weight=balanced[Y])
    np.testing.assert_allclose(both, after(sample_weight=(balanced * weight)[Y]), 1e-5, 1e-6)
    assert np.abs(both - after()).max() > 1e-3


def test_validation_data_may_have_weights():
    kept = RNG.integers(0, 2, 40)
    rows = [
        Model(net).fit(X, Y, **QUIET, validation_data=data)[-1]
        for data in ((X, Y, kept), (X[kept > 0], Y[kept > 0]), (X, Y))
    ]
    assert rows[0]["valid_loss"] == pytest.approx(rows[1]["valid_loss"], rel=1e-5)
    assert rows[0]["valid_accuracy"] == pytest.approx(rows[1]["valid_accuracy"], rel=1e-5)
    assert rows[0]["valid_loss"] != rows[2]["valid_loss"]


def test_padded_steps_are_left_out_whatever_their_labels():
    x = RNG.normal(size=(20, 6, 4)).astype(np.float32)
    y = RNG.integers(0, 3, (20, 6))
    mask = np.arange(6)[None] < RNG.integers(2, 7, 20)[:, None]
    padded = np.where(mask, y, -1)

    def history(y):
        model = Model(lambda x: hk.Linear(3)(x))
        model.fit(x, y, sample_weight=mask, validation_split=0.3, epochs=2, verbose=False)
        return model, model.history

    model, rows = history(padded)
    assert rows == history(y)[1]
    right = (model.predict_classes(x) == y)[mask].mean()
    assert model.evaluate(x, padded, sample_weight=mask)["accuracy"] == pytest.approx(right)
    with pytest.raises(UserError, match=r"labels\[\d+, \d+\] is -1; with 3 classes"):
        model.evaluate(x, padded)
    targets = np.where(mask, 1.0, np.nan)[..., None]
    regression = Model(lambda x: hk.Linear(1)(x), "regression")
    loss = regression.fit(x, targets, sample_weight=mask, **QUIET)[-1]["loss"]
    assert np.isfinite(loss)


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"sample_weight": np.ones(39)}, r"sample_weight is \[39\]; it must be \[40\]"),
        ({"sample_weight": 2.0}, "sample_weight is 2.0, a float"),
        ({"sample_weight": ["a"] * 40}, r"sample_weight\[0\] is 'a'"),
        ({"sample_weight": -np.ones(40)}, r"sample_weight\[0\] is -1.0; weights are 0 or more"),
        ({"sample_weight": np.full(40, np.nan)}, r"sample_weight\[0\] is nan; weights are"),
        ({"sample_weight": np.zeros(40)}, "is 0 everywhere"),
        ({"class_weight": {3: 1.0}}, "class_weight has 3; labels are 0..2"),
        ({"class_weight": {0: -1.0}}, r"class_weight\[0\] is -1.0"),
        ({"class_weight": "equal"}, "class_weight is 'equal'; it must be 'balanced'"),
        ({"validation_data": (X, Y, np.ones(3))}, r"validation data: sample_weight is \[3\]"),
    ],
)
def test_weights_that_do_not_fit_are_named(kwargs, says):
    with pytest.raises(UserError, match=says):
        Model(net).fit(X, Y, **QUIET, **kwargs)


def test_weights_need_a_loss_that_knows_them():
    def mine(outputs, batch):
        return jnp.square(outputs - batch["y"]["z"]).mean(), {}

    with pytest.raises(UserError, match="class_weight need a loss given by name"):
        Model(net, mine).fit(X, {"z": np.zeros((40, 3))}, **QUIET, sample_weight=np.ones(40))
    with pytest.raises(UserError, match="class_weight needs labels that are classes"):
        Model(net, "mse").fit(X, np.zeros((40, 3)), **QUIET, class_weight={0: 1})
    model = Model(net, mine)
    assert model.fit(X, {"z": np.zeros((40, 3))}, **QUIET)[-1]["loss"] > 0
    named = Model(net, objective.classification)  # a known loss, given as a function
    named.fit(X, Y, **QUIET, sample_weight=np.ones(40))
