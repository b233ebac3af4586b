import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dqnlab import train
from dqnlab.fit import fit, minibatches
from dqnlab.train import LossAux
from dqnlab.types import UserError


def linear_problem():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(103, 3)).astype(np.float32)
    y = x @ np.array([1.0, -2.0, 0.5], np.float32) + 0.1
    net = hk.transform_with_state(lambda x: hk.Linear(1)(x)[:, 0])

    def loss_fn(params, net_state, key, batch):
        prediction, net_state = net.apply(params, net_state, key, batch["x"])
        return jnp.mean(jnp.square(prediction - batch["y"])), LossAux(net_state, {})

    optimizer = optax.adam(0.03)
    state = train.init(*net.init(jax.random.PRNGKey(0), x), optimizer)
    return {"x": x, "y": y}, loss_fn, optimizer, state


def test_one_update_is_one_optimizer_step_on_the_losss_gradient():
    data, loss_fn, _, state = linear_problem()
    optimizer = optax.sgd(0.1)
    state = state._replace(opt_state=optimizer.init(state.params))
    new, aux = train.make_update(loss_fn, optimizer)(state, jax.random.PRNGKey(0), data)
    w, b = state.params["linear"]["w"], state.params["linear"]["b"]
    error = data["x"] @ w[:, 0] + b - data["y"]
    np.testing.assert_allclose(aux.metrics["loss"], np.mean(error**2), rtol=1e-5)
    w_grad = 2 * data["x"].T @ error / len(error)
    np.testing.assert_allclose(new.params["linear"]["w"][:, 0], w[:, 0] - 0.1 * w_grad, rtol=1e-4)
    np.testing.assert_allclose(
        aux.metrics["grad_norm"], np.sqrt(np.sum(w_grad**2) + (2 * error.mean()) ** 2), rtol=1e-4
    )
    assert int(new.step) == 1


def test_fit_learns_stops_early_and_keeps_the_best_state():
    data, loss_fn, optimizer, state = linear_problem()
    update = train.make_update(loss_fn, optimizer)

    def evaluate(state, batch):
        return {"loss": loss_fn(state.params, state.net_state, jax.random.PRNGKey(0), batch)[0]}

    fitted = fit(
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
    assert float(evaluate(fitted.state, data)["loss"]) == min(losses)


def test_fit_is_a_function_of_its_seed_and_leaves_the_callers_state_alone():
    data, loss_fn, optimizer, state = linear_problem()
    update = train.make_update(loss_fn, optimizer)
    first, again, other = (
        fit(state, update, data, epochs=2, batch_size=32, seed=s) for s in (1, 1, 2)
    )
    assert first.history == again.history
    assert first.history != other.history
    assert int(state.step) == 0


def test_every_example_is_seen_once_an_epoch_in_another_order_each_time():
    data = {"x": np.arange(10)}
    epochs = [
        [int(v) for _, batch in minibatches(data, 4, seed=0, epoch=e) for v in batch["x"]]
        for e in (1, 2)
    ]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(10))
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"batch_size": 104}, "batch_size is 104; the data has 103"),
        ({"epochs": 0}, "epochs is 0"),
        ({"patience": 3}, "go together"),
    ],
)
def test_impossible_arguments_are_refused(change, says):
    data, loss_fn, optimizer, state = linear_problem()
    arguments = {"epochs": 1, "batch_size": 8, "seed": 0} | change
    with pytest.raises(UserError, match=says):
        fit(state, train.make_update(loss_fn, optimizer), data, **arguments)


def test_a_loss_that_is_not_finite_stops_the_fit():
    data, loss_fn, optimizer, state = linear_problem()
    data["y"][5] = np.nan
    with pytest.raises(UserError, match="not finite in epoch 1"):
        fit(state, train.make_update(loss_fn, optimizer), data, epochs=2, batch_size=8, seed=0)
