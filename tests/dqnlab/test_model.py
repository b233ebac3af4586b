import functools
import re
import subprocess
import sys
from pathlib import Path

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_diabetes, load_iris

from dqnlab import Model, fit, forward, objective, train
from dqnlab.checkpoint import CheckpointError
from dqnlab.types import UserError

ROOT = Path(__file__).resolve().parents[2]


def mlp(x):
    return hk.nets.MLP([16, 3])(x)


def iris():
    x, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32)[order], y[order]


def test_three_lines_learn_iris_and_predict_evaluates_the_same():
    x, y = iris()
    model = Model(mlp, "classification", learning_rate=0.01)
    history = model.fit(x[:100], y[:100], epochs=60)
    measured = model.evaluate(x[100:], y[100:])
    wrong = np.mean(model.predict(x[100:]).argmax(axis=1) != y[100:])
    assert history[-1]["loss"] < 0.15 < history[0]["loss"]
    np.testing.assert_allclose(measured["error"], wrong, atol=1e-6)
    assert wrong <= 0.1


def test_regression_beats_the_mean_on_diabetes():
    x, y = load_diabetes(return_X_y=True)
    x, y = (x * 20).astype(np.float32), ((y - 152) / 77).astype(np.float32)
    model = Model(lambda x: hk.Linear(1)(x), "regression", "sgd", learning_rate=0.05)
    model.fit(x[:300], y[:300], epochs=30)
    predicted = model.predict(x[300:])[:, 0]
    assert np.mean((predicted - y[300:]) ** 2) < 0.6 * np.var(y[300:])


def test_fitting_twice_with_a_save_between_equals_fitting_on(tmp_path):
    x, y = iris()
    whole = Model(mlp)
    whole.fit(x, y, epochs=4, validation_split=0.2)
    first = Model(mlp)
    first.fit(x, y, epochs=2, validation_split=0.2)
    first.save(tmp_path / "model")
    second = Model(mlp).load(tmp_path / "model", x)
    np.testing.assert_array_equal(first.predict(x), second.predict(x))
    history = second.fit(x, y, epochs=2, validation_split=0.2)
    assert history == list(whole.progress.history)
    assert len(history) == 4
    np.testing.assert_array_equal(second.predict(x), whole.predict(x))


def test_validation_data_that_come_later_choose_among_the_later_epochs():
    x, y = iris()
    model = Model(mlp)
    model.fit(x[:100], y[:100], epochs=2)
    history = model.fit(x[:100], y[:100], epochs=2, validation_data=(x[100:], y[100:]))
    assert [("valid_loss" in row) for row in history] == [False, False, True, True]
    best = min(row["valid_loss"] for row in history[2:])
    np.testing.assert_allclose(model.evaluate(x[100:], y[100:])["loss"], best, rtol=1e-4)


def test_float64_is_taken_as_float32():
    x, y = iris()
    model = Model(mlp)
    model.fit(x.astype(np.float64), y, epochs=1)
    np.testing.assert_array_equal(model.predict(x.astype(np.float64)), model.predict(x))


def test_a_saved_model_predicts_the_same_in_a_fresh_process(tmp_path):
    x, y = iris()
    model = Model(mlp)
    model.fit(x, y, epochs=2)
    model.save(tmp_path / "model")
    np.save(tmp_path / "x.npy", x)
    code = f"""
import haiku as hk, numpy as np
from dqnlab import Model, fit, objective, train
x = np.load({str(tmp_path / "x.npy")!r})
model = Model(lambda x: hk.nets.MLP([16, 3])(x)).load({str(tmp_path / "model")!r}, x)
np.save({str(tmp_path / "y.npy")!r}, model.predict(x))
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=300)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), model.predict(x))


def test_another_net_does_not_load(tmp_path):
    x, y = iris()
    model = Model(mlp)
    model.fit(x, y, epochs=1)
    model.save(tmp_path / "model")
    with pytest.raises(CheckpointError, match="holds another state"):
        Model(lambda x: hk.nets.MLP([17, 3])(x)).load(tmp_path / "model", x)


def test_dropout_and_batch_norm_are_off_when_predicting():
    def net(x, is_training):
        x = hk.BatchNorm(True, True, 0.9)(hk.Linear(8)(x), is_training)
        if is_training:
            x = hk.dropout(hk.next_rng_key(), 0.5, x)
        return hk.Linear(3)(x)

    x, y = iris()
    model = Model(net)
    model.fit(x, y, epochs=2)
    # Running statistics: an example's output does not depend on those beside it.
    np.testing.assert_allclose(model.predict(x)[:5], model.predict(x[:5]), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(model.predict(x), model.predict(x))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda m, x, y: m.fit(x, y + 1), r"labels\[\d+\] is 3; with 3 classes"),
        (lambda m, x, y: m.fit(x, y * 1.5), r"labels\[\d+\] is 1.5; classes are whole"),
        (lambda m, x, y: m.fit(x, y[:-1]), r"different numbers of examples: \[149, 150\]"),
        (lambda m, x, y: m.fit(x[:0], y[:0]), "data is empty"),
        (lambda m, x, y: m.fit(np.where(x > 2, np.nan, x), y), r"\] is nan; \d+ values"),
        (lambda m, x, y: m.fit(x, y, epochs=0), "epochs is 0"),
        (lambda m, x, y: m.fit(x, y, epochs=1.5), "epochs is 1.5"),
        (lambda m, x, y: m.fit(x, y, batch_size=0), "batch_size is 0"),
        (lambda m, x, y: m.fit(x, y, patience=3), "patience is 3; it needs validation_split"),
        (lambda m, x, y: m.fit(x, y, callbacks=print), "callbacks is <built-in"),
        (lambda m, x, y: m.fit(x, y, validation_data=x), r"must be \(x, y\) or"),
        (lambda m, x, y: m.fit(x, y, validation_data=(x[:, :3], y)), r"inputs are float32\[N, 3\]"),
        (lambda m, x, y: m.fit(x, y, validation_split=1.5), "validation_split is 1.5"),
        (lambda m, x, y: m.predict(x), "not fitted"),
        (
            lambda m, x, y: Model(mlp, "squared"),
            "'squared' is unknown; did you mean mean_squared_error",
        ),
        (lambda m, x, y: Model(mlp, optimizer="adamm"), "'adamm' is unknown; did you mean adam"),
        (lambda m, x, y: Model(mlp, learning_rate=-1), "learning_rate is -1"),
        (lambda m, x, y: Model(mlp, optimizer=optax.sgd(1), learning_rate=1), "by name"),
        (lambda m, x, y: Model(mlp, l2="1"), "l2 is '1'"),
        (lambda m, x, y: Model(mlp, seed=2**32), "seed is 4294967296; it must be below"),
        (lambda m, x, y: Model(hk.transform(mlp)), "give the function itself"),
        (lambda m, x, y: Model("mlp"), "the net is a str"),
        (lambda m, x, y: Model(hk.nets.MLP), "the net is the class MLP; it must be a function"),
        (
            lambda m, x, y: Model(lambda x: hk.Linear(3)(jnp.concatenate(x, -1))).fit([x, x], y),
            "go into a tuple or a dict",
        ),
        (lambda m, x, y: Model(lambda x: x[0]).fit(x, y), "whose first axis is not"),
        (lambda m, x, y: Model(lambda x: x[:, :1]).fit(x, y), "needs one for each of two or more"),
        (lambda m, x, y: Model(lambda x: (x, x)).fit(x, y), "the net returns several outputs"),
        (lambda m, x, y: Model(lambda: 1), r"it must be \(x\) or \(x, is_training\)"),
        (lambda m, x, y: Model(mlp, "regression").fit(x, y * 1.0), "the net's outputs are"),
    ],
)
def test_a_mistake_is_named(call, says):
    x, y = iris()
    with pytest.raises(UserError, match=says):
        call(Model(mlp), x, y)


def test_inputs_of_another_shape_are_refused_after_fitting():
    x, y = iris()
    model = Model(mlp)
    model.fit(x, y, epochs=1)
    with pytest.raises(UserError, match="the net has learnt from"):
        model.predict(x[:, :3])


def test_only_a_flag_is_told_that_the_net_is_trained():
    def described(net):
        init, apply = forward.transform(net)
        params, state = init(jax.random.PRNGKey(0), jnp.zeros((2, 3)), True)
        return [apply(params, state, None, jnp.zeros((2, 3)), flag)[0] for flag in (True, False)]

    def with_default(x, scale=2.0):
        return scale

    def with_flag_last(x, scale=2.0, is_training=False):
        return scale, is_training

    def with_flag_by_keyword(x, *, scale=2.0, is_training):
        return scale, is_training

    assert described(lambda x: "plain") == ["plain", "plain"]
    assert described(with_default) == [2.0, 2.0]
    assert described(with_flag_last) == [(2.0, True), (2.0, False)]
    assert described(with_flag_by_keyword) == [(2.0, True), (2.0, False)]
    assert described(lambda x, train: train) == [True, False]
    assert described(lambda x, train, /: train) == [True, False]
    assert described(lambda x, *rest, **more: (rest, more)) == [((), {})] * 2
    assert described(functools.partial(with_default, scale=3.0)) == [3.0, 3.0]
    for wrong in (lambda x, a, b: x, lambda x, a, is_training: x, lambda *, x: x):
        with pytest.raises(UserError, match=r"it must be \(x\) or \(x, is_training\)"):
            forward.transform(wrong)


def test_a_model_with_another_seed_or_optimizer_predicts_and_does_not_train_on(tmp_path):
    x, y = iris()
    model = Model(mlp, seed=3)
    model.fit(x, y, epochs=1, verbose=False)
    model.save(tmp_path / "model")
    for kwargs, says in (
        ({"seed": 4}, "was saved with seed 3: this model can predict"),
        ({"seed": 3, "optimizer": "sgd"}, "was saved with optimizer 'adam'"),
        ({"seed": 3, "optimizer": optax.sgd(0.1)}, "was saved with optimizer 'adam'"),
        ({"optimizer": "radam"}, "was saved with optimizer 'adam' and seed 3"),
    ):
        other = Model(mlp, **kwargs).load(tmp_path / "model", x)
        np.testing.assert_array_equal(other.predict(x), model.predict(x))
        assert other.evaluate(x, y) == pytest.approx(model.evaluate(x, y))
        assert other.history == model.history
        with pytest.raises(UserError, match=says):
            other.fit(x, y)
        with pytest.raises(UserError, match="nothing new to save"):
            other.save(tmp_path / "again")
    slower = Model(mlp, seed=3, learning_rate=1e-4).load(tmp_path / "model", x.tolist())
    assert len(slower.fit(x, y, epochs=1, verbose=False)) == 2


def test_a_row_is_printed_for_each_epoch_and_the_history_is_kept(capsys):
    x, y = iris()
    model = Model(mlp)
    assert model.history == []
    assert repr(model) == "Model(classification, adam, not fitted)"
    model.fit(x, y, epochs=2, validation_split=0.2)
    rows = capsys.readouterr().out.splitlines()
    number = r"\d\.\d{4}"
    wanted = rf"loss {number}  accuracy {number}  valid_loss {number}  valid_accuracy {number}"
    for i, row in enumerate(rows, start=1):
        assert re.fullmatch(rf"epoch {i}/2  {wanted}  best", row), row
    assert len(rows) == 2
    assert model.fit(x, y, verbose=0, epochs=1) == model.history
    assert capsys.readouterr().out == ""
    assert [row["epoch"] for row in model.history] == [1, 2, 3]
    assert repr(model) == "Model(classification, adam, 131 parameters, 3 epochs)"
    assert model.history[-1]["accuracy"] == pytest.approx(1 - model.history[-1]["error"])


def test_probabilities_and_classes_follow_from_the_logits():
    x, y = iris()
    model = Model(mlp)
    model.fit(x, y, epochs=1, verbose=False)
    logits = np.exp(model.predict(x))
    np.testing.assert_allclose(
        model.predict_proba(x), logits / logits.sum(axis=1, keepdims=True), rtol=1e-5
    )
    np.testing.assert_array_equal(model.predict_classes(x), logits.argmax(axis=1))
    wrong = np.mean(model.predict_classes(x) != y)
    assert model.evaluate(x, y)["accuracy"] == pytest.approx(1 - wrong)
    binary = Model(lambda x: hk.Linear(1)(x), "binary_crossentropy")
    binary.fit(x, y > 0, epochs=1, verbose=False)
    odds = binary.predict(x)
    np.testing.assert_allclose(binary.predict_proba(x), 1 / (1 + np.exp(-odds)), rtol=1e-5)
    np.testing.assert_array_equal(binary.predict_classes(x), (odds > 0)[:, 0])
    with pytest.raises(UserError, match="loss 'mse' has no classes"):
        Model(mlp, "mse").predict_proba(x)


def test_patience_counts_from_each_fit_anew():
    x, y = iris()
    model = Model(mlp, "classification", "sgd", learning_rate=1e-9)  # nothing gets better

    def fit():
        return len(model.fit(x, y, epochs=9, validation_split=0.2, patience=2, verbose=False))

    first = fit()
    assert first < 9
    assert fit() == first + 2


def errors_on_xor(net, learning_rate, seeds):
    x = np.tile(np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32), (50, 1))
    y = np.tile([0, 1, 1, 0], 50)
    net = hk.transform_with_state(net)
    optimizer = optax.adam(learning_rate)
    loss = objective.for_training(objective.supervised(net, objective.classification))
    update = train.make_update(loss, optimizer)
    errors = []
    for seed in range(seeds):
        state = train.init(*net.init(jax.random.PRNGKey(seed), x, True), optimizer)
        data = {"x": x, "y": y}
        state = fit.fit(state, update, data, epochs=6, batch_size=4, seed=seed).state
        logits, _ = net.apply(state.params, state.net_state, None, x[:4], False)
        errors.append(np.mean(np.argmax(logits, axis=1) != y[:4]))
    return np.array(errors)


def test_no_linear_model_gets_more_than_three_quarters_of_xor_and_a_hidden_layer_gets_all():
    linear = errors_on_xor(lambda x, is_training: hk.Linear(2)(x), 0.1, seeds=3)
    assert linear.min() >= 0.25
    hidden = errors_on_xor(
        lambda x, is_training: hk.Linear(2)(jnp.tanh(hk.Linear(8)(x))), 0.05, seeds=10
    )
    assert (hidden == 0).sum() >= 9


def test_backpropagation_is_the_chain_rule_layer_by_layer():
    # g_i = g_{i+1} dx_{i+1}/dx_i and dW_i = x_i^T (g_{i+1} s'(y_i)), by hand for three layers.
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(5, 4)), rng.normal(size=(5, 2))
    weights = [rng.normal(size=shape) for shape in ((4, 6), (6, 3), (3, 2))]

    def loss(weights):
        h = jnp.asarray(x)
        for w in weights:
            h = jnp.tanh(h @ w)
        return 0.5 * jnp.sum((h - t) ** 2)

    inputs = [x]
    for w in weights:
        inputs.append(np.tanh(inputs[-1] @ w))
    g = inputs[-1] - t
    by_hand = []
    for w, h, out in zip(weights[::-1], inputs[-2::-1], inputs[:0:-1], strict=True):
        through = g * (1 - out**2)
        by_hand.insert(0, h.T @ through)
        g = through @ w.T
    for ours, theirs in zip(
        jax.grad(loss)([jnp.asarray(w) for w in weights]), by_hand, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=1e-5)
