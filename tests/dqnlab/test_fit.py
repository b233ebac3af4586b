import json

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dqnlab import batches, fit, objective, progress, train
from dqnlab.train import LossAux
from dqnlab.types import UserError


def linear_problem(optimizer=None):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(103, 3)).astype(np.float32)
    y = x @ np.array([1.0, -2.0, 0.5], np.float32) + 0.1
    net = hk.transform_with_state(lambda x, is_training: hk.Linear(1)(x))
    loss = objective.supervised(net, objective.regression)
    optimizer = optimizer or optax.adam(0.03)
    state = train.init(*net.init(jax.random.PRNGKey(0), x, True), optimizer)
    update = train.make_update(objective.for_training(loss), optimizer)
    return {"x": x, "y": y}, state, update, objective.for_evaluation(loss)


def assert_same(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(ours), jax.device_get(theirs))


def test_an_epoch_is_the_updates_of_its_minibatches_one_after_the_other():
    data, state, update, _ = linear_problem()
    fitted = fit.fit(state, update, data, epochs=1, batch_size=25, seed=4, batches_per_launch=3)
    order = batches.shuffled(103, 4, 1)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.PRNGKey(4), fit.EPOCHS), 1)
    losses = []
    for index in range(5):  # four of 25 and one of 3
        batch = batches.take(data, order[25 * index : 25 * (index + 1)])
        state, aux = jax.jit(update)(state, jax.random.fold_in(key, index), batch)
        losses.append((float(aux.metrics["loss"]), len(batch["y"])))
    assert [n for _, n in losses] == [25, 25, 25, 25, 3]
    assert int(fitted.state.step) == 5
    np.testing.assert_allclose(
        fitted.state.params["linear"]["w"], state.params["linear"]["w"], 1e-5
    )
    mean = sum(loss * n for loss, n in losses) / 103
    np.testing.assert_allclose(fitted.history[0]["loss"], mean, rtol=1e-5)


@pytest.mark.parametrize("per_launch", [1, 2, 64])
def test_minibatches_in_one_launch_change_nothing_but_speed(per_launch):
    data, state, update, _ = linear_problem()
    kwargs = {"epochs": 3, "batch_size": 20, "seed": 0}
    one = fit.fit(state, update, data, **kwargs)
    other = fit.fit(state, update, data, **kwargs, batches_per_launch=per_launch)
    np.testing.assert_allclose(
        one.state.params["linear"]["w"], other.state.params["linear"]["w"], rtol=1e-5
    )


def test_full_minibatches_and_the_rest_compile_once_each():
    data, state, update, _ = linear_problem()
    traces = []

    def counted(state, key, batch):
        traces.append(len(batch["y"]))
        return update(state, key, batch)

    fit.fit(state, counted, data, epochs=4, batch_size=20, seed=0, batches_per_launch=2)
    assert sorted(traces) == [3, 20, 20]  # one more of 20 to learn the names of the metrics


def test_it_learns_stops_early_and_keeps_the_best_weights():
    data, state, update, evaluate = linear_problem()
    fitted = fit.fit(
        state,
        update,
        data,
        epochs=200,
        batch_size=32,
        seed=1,
        validation=data,
        evaluate=evaluate,
        patience=5,
    )
    losses = [row["valid_loss"] for row in fitted.history]
    assert min(losses) < 1e-3
    assert len(losses) == fitted.best_epoch + 5
    here = evaluate(fitted.state, jax.random.PRNGKey(0), data)
    np.testing.assert_allclose(here["loss"], min(losses), rtol=1e-3)
    assert losses[-1] > min(losses)


@pytest.mark.parametrize("stop_after", [1, 3, 4, 7])
def test_a_fit_that_was_stopped_and_saved_ends_as_one_that_was_not(stop_after):
    data, state, update, evaluate = linear_problem()
    kwargs = {
        "epochs": 3,
        "batch_size": 25,
        "seed": 2,
        "validation": data,
        "evaluate": evaluate,
        "batches_per_launch": 2,
    }
    whole = fit.fit(state, update, data, **kwargs)
    launches = []

    def is_stopped(_):
        launches.append(1)
        return len(launches) == stop_after  # 3 launches to an epoch

    part = fit.fit(state, update, data, **kwargs, is_stopped=is_stopped)
    assert len(part.history) < 3
    arrays, rest = progress.split(part.progress)
    arrays = jax.tree.map(np.array, jax.device_get(arrays))
    again = progress.join(arrays, json.loads(json.dumps(rest)))
    rest_of_it = fit.fit(again, update, data, **kwargs)
    assert rest_of_it.history == whole.history
    assert_same(rest_of_it.state, whole.state)
    assert_same(rest_of_it.progress.train, whole.progress.train)


def test_it_is_a_function_of_its_seed_and_leaves_the_callers_state_alone():
    data, state, update, _ = linear_problem()
    first, again, other = (
        fit.fit(state, update, data, epochs=2, batch_size=32, seed=s) for s in (1, 1, 2)
    )
    assert first.history == again.history
    assert first.history != other.history
    assert int(state.step) == 0
    assert np.isfinite(np.asarray(state.params["linear"]["w"])).all()  # not donated


def test_a_batch_larger_than_the_data_is_all_of_the_data():
    data, state, update, _ = linear_problem()
    size = batches.num_examples(data)
    whole, larger = (
        fit.fit(state, update, data, epochs=2, batch_size=each, seed=1) for each in (size, 5000)
    )
    assert larger.history == whole.history
    assert int(larger.state.step) == 2


def test_every_example_comes_once_an_epoch_in_another_order_each_time():
    orders = [batches.shuffled(10, 0, epoch).tolist() for epoch in (1, 2)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(10))
    assert orders[0] != orders[1]


def test_callbacks_see_each_epoch_and_a_true_answer_stops():
    data, state, update, _ = linear_problem()
    seen = []

    def callback(now):
        seen.append(now.history[-1]["epoch"])
        return len(seen) == 2

    fitted = fit.fit(state, update, data, epochs=9, batch_size=32, seed=0, callbacks=[callback])
    assert seen == [1.0, 2.0]
    assert len(fitted.history) == 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"epochs": 0}, "epochs is 0"),
        ({"batches_per_launch": 0}, "batches_per_launch is 0"),
        ({"patience": 3}, "patience is 3, but there are no validation data"),
        ({"evaluate": lambda *_: {}}, "`evaluate` is given, but no validation data"),
        ({"validation": {}}, "validation data are given, but no `evaluate`"),
        ({"validation": {}, "evaluate": lambda *_: {}, "patience": 0}, "patience is 0"),
    ],
)
def test_impossible_arguments_are_refused(change, says):
    data, state, update, _ = linear_problem()
    arguments = {"epochs": 1, "batch_size": 8, "seed": 0} | change
    with pytest.raises(UserError, match=says):
        fit.fit(state, update, data, **arguments)


def test_a_loss_that_is_not_finite_stops_the_fit_and_says_why():
    data, state, update, _ = linear_problem(optax.sgd(1e30))
    with pytest.raises(UserError, match=r"not finite in epoch \d: lower the learning rate"):
        fit.fit(state, update, data, epochs=9, batch_size=8, seed=0)


def test_penalties_are_on_weights_and_not_on_biases():
    params = {"linear": {"w": jnp.array([[1.0, -2.0]]), "b": jnp.array([5.0, 5.0])}}

    def zero(params, net_state, key, batch, is_training):
        return jnp.zeros(()), LossAux(net_state, {})

    value, _ = objective.for_training(zero, l1=0.1, l2=0.5)(params, {}, None, None)
    np.testing.assert_allclose(value, 0.1 * 3 + 0.25 * 5)


def test_l1_makes_weights_zero_that_the_targets_do_not_need():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 10)).astype(np.float32)
    data = {"x": x, "y": x[:, 0] + 0.1 * rng.normal(size=200).astype(np.float32)}
    net = hk.transform_with_state(lambda x, is_training: hk.Linear(1)(x))
    loss = objective.supervised(net, objective.regression)
    share = {}
    for l1 in (0.0, 0.05):
        optimizer = optax.sgd(optax.cosine_decay_schedule(0.1, 700))
        state = train.init(*net.init(jax.random.PRNGKey(0), x, True), optimizer)
        update = train.make_update(objective.for_training(loss, l1=l1), optimizer)
        w = fit.fit(state, update, data, epochs=100, batch_size=32, seed=0).state.params
        share[l1] = np.mean(np.abs(w["linear"]["w"]) < 1e-3)
    assert share[0.05] >= 0.8
    assert share[0.0] <= 0.3


def test_equal_weights_never_part_and_random_ones_do():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 4)).astype(np.float32)
    data = {"x": x, "y": (x[:, 0] * x[:, 1]).astype(np.float32)}
    distinct = {}
    for name, init in (("constant", hk.initializers.Constant(0.3)), ("random", None)):

        def forward(x, is_training, init=init):
            return hk.Linear(1)(jax.nn.tanh(hk.Linear(8, w_init=init, name="hidden")(x)))

        net = hk.transform_with_state(forward)
        optimizer = optax.adam(0.01)
        update = train.make_update(
            objective.for_training(objective.supervised(net, objective.regression)), optimizer
        )
        params, net_state = net.init(jax.random.PRNGKey(1), x, True)
        if init is not None:
            params["linear"]["w"] = jnp.full_like(params["linear"]["w"], 0.1)
        state = train.init(params, net_state, optimizer)
        w = fit.fit(state, update, data, epochs=20, batch_size=16, seed=0).state.params["hidden"]
        distinct[name] = len(np.unique(np.asarray(w["w"]).round(5), axis=1).T)
    assert distinct == {"constant": 1, "random": 8}
