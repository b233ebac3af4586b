import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax

from dqnlab import train
from dqnlab.train import LossAux


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
