import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dqnlab import optim, schedules
from dqnlab.gradient import windowed_adagrad
from dqnlab.types import UserError

GRADIENTS = [1.0, -2.0, 0.5, 3.0, -0.25, 1.5]
ETA = 0.1


def run(optimizer, gradients=GRADIENTS, w=2.0):
    """The weight after each step."""
    params = jnp.array([[w]])
    state = optimizer.init(params)
    path = []
    for g in gradients:
        updates, state = optimizer.update(jnp.array([[g]]), state, params)
        params = optax.apply_updates(params, updates)
        path.append(float(params[0, 0]))
    return path


def expected(step, memory, w=2.0, gradients=GRADIENTS):
    path = []
    for t, g in enumerate(gradients, start=1):
        w, memory = step(w, g, memory, t)
        path.append(w)
    return path


def velocity(w, g, v, t):
    v = 0.9 * v - ETA * g
    return w + v, v


def nesterov(w, g, v, t):  # w here is where the velocity leads to: w + mu v
    v_new = 0.9 * v - ETA * g
    return w + 0.9 * v_new - ETA * g, v_new


def averaged(w, g, m, t):
    m = 0.9 * m + 0.1 * g
    return w - ETA * g - ETA * m, m


def adagrad(w, g, total, t):
    total = total + g * g
    return w - ETA * g / np.sqrt(total), total


def windowed(w, g, squares, t, window=20):
    squares = [*squares, g * g][-window:]
    return w - ETA * g / np.sqrt(0.1 + sum(squares)), squares


def windowed_of_3(w, g, squares, t):
    return windowed(w, g, squares, t, window=3)


def adam(w, g, memory, t):
    m, v = 0.9 * memory[0] + 0.1 * g, 0.999 * memory[1] + 0.001 * g * g
    step = ETA * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return w - step, (m, v)


def rmsprop(w, g, v, t):
    v = 0.9 * v + 0.1 * g * g
    return w - ETA * g / (np.sqrt(v) + 1e-8), v


def rmsprop_momentum(w, g, memory, t):
    v, step = 0.9 * memory[0] + 0.1 * g * g, memory[1]
    step = 0.9 * step + ETA * g / (np.sqrt(v) + 1e-8)
    return w - step, (v, step)


def centered_rmsprop(w, g, memory, t):
    mean, square = 0.95 * memory[0] + 0.05 * g, 0.95 * memory[1] + 0.05 * g * g
    return w - ETA * g / np.sqrt(square - mean**2 + 0.01), (mean, square)


def adadelta(w, g, memory, t):  # E[g²], E[dx²] and their ratio: Zeiler, algorithm 1
    squares = 0.9 * memory[0] + 0.1 * g * g
    step = np.sqrt(memory[1] + 1e-6) / np.sqrt(squares + 1e-6) * g
    return w - step, (squares, 0.9 * memory[1] + 0.1 * step**2)


def radam(w, g, memory, t):  # below four steps the variance is unknown: plain momentum
    m, v = 0.9 * memory[0] + 0.1 * g, 0.999 * memory[1] + 0.001 * g * g
    rho_max = 2 / (1 - 0.999) - 1
    rho = rho_max - 2 * t * 0.999**t / (1 - 0.999**t)
    step = m / (1 - 0.9**t)
    if rho >= 5:
        top = (rho - 4) * (rho - 2) * rho_max
        step *= np.sqrt(top / ((rho_max - 4) * (rho_max - 2) * rho))
        step /= np.sqrt(v / (1 - 0.999**t)) + 1e-8
    return w - ETA * step, (m, v)


STEPS = {
    "sgd": (lambda w, g, m, t: (w - ETA * g, m), None, {}),
    "velocity": (velocity, 0.0, {}),
    "nesterov": (nesterov, 0.0, {}),
    "average_gradient": (averaged, 0.0, {}),
    "adagrad": (adagrad, 0.1, {"epsilon": 0.0}),
    "windowed_adagrad": (windowed, [], {}),
    "adam": (adam, (0.0, 0.0), {}),
    "radam": (radam, (0.0, 0.0), {}),
    "rmsprop": (rmsprop, 0.0, {}),
    "rmsprop_momentum": (rmsprop_momentum, (0.0, 0.0), {}),
    "centered_rmsprop": (centered_rmsprop, (0.0, 0.0), {"epsilon": 0.01}),
    "adadelta": (adadelta, (0.0, 0.0), {"learning_rate": 1.0, "epsilon": 1e-6}),
}


def test_every_optimizer_of_the_table_has_its_formula_here():
    assert set(optim.NAMES) == {*STEPS, "asgo"}  # asgo's: test_asgo.py


@pytest.mark.parametrize("name", STEPS)
def test_each_step_of_every_optimizer_is_the_formula(name):
    step, memory, kwargs = STEPS[name]
    optimizer = optim.make(name, **{"learning_rate": ETA, **kwargs})
    np.testing.assert_allclose(run(optimizer), expected(step, memory), rtol=1e-5)


def test_the_window_of_adagrad_forgets_what_is_older():
    optimizer = windowed_adagrad(ETA, window=3, k=0.1)
    np.testing.assert_allclose(run(optimizer), expected(windowed_of_3, []), rtol=1e-5)


def test_nesterov_is_the_look_ahead_definition_on_a_quadratic():
    # The definition: v <- mu v - eta g(w + mu v), w <- w + v. The optimizer's weights are w + mu v.
    params = jnp.array([[2.0]])
    optimizer = optim.make("nesterov", ETA)
    state = optimizer.init(params)
    w, v = 2.0, 0.0
    for _ in range(10):
        updates, state = optimizer.update(3.0 * params, state, params)
        params = optax.apply_updates(params, updates)
        v = 0.9 * v - ETA * 3.0 * (w + 0.9 * v)
        w = w + v
        np.testing.assert_allclose(params[0, 0], w + 0.9 * v, rtol=1e-4)


def test_decoupled_decay_shrinks_weights_by_the_step_size_and_spares_biases():
    optimizer = optim.make("adam", optax.linear_schedule(0.1, 0.0, 10), weight_decay=0.5)
    params = {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}
    state = optimizer.init(params)
    zeros = jax.tree.map(jnp.zeros_like, params)
    factor = 1.0
    for t in range(3):
        updates, state = optimizer.update(zeros, state, params)
        params = optax.apply_updates(params, updates)
        factor *= 1 - 0.1 * (1 - t / 10) * 0.5
    np.testing.assert_allclose(params["w"], np.full((2, 2), factor), rtol=1e-6)
    np.testing.assert_array_equal(params["b"], 1.0)


def test_decoupled_decay_equals_adamw_and_an_l2_penalty_does_not():
    rng = np.random.default_rng(0)
    gradients = [jnp.array(rng.normal(size=(3, 2)), jnp.float32) for _ in range(20)]

    def after(optimizer, penalty=0.0):
        params = jnp.full((3, 2), 2.0)
        state = optimizer.init(params)
        for g in gradients:
            updates, state = optimizer.update(g + penalty * params, state, params)
            params = optax.apply_updates(params, updates)
        return np.asarray(params)

    ours = after(optim.make("adam", ETA, weight_decay=0.3))
    np.testing.assert_allclose(ours, after(optax.adamw(ETA, weight_decay=0.3)), rtol=1e-5)
    assert np.abs(ours - after(optim.make("adam", ETA), penalty=0.3)).max() > 0.1


def test_clipping_bounds_the_norm_of_all_gradients_together():
    optimizer = optim.make("sgd", 1.0, max_grad_norm=5.0)
    params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    gradient = {"a": jnp.array([30.0]), "b": jnp.array([40.0])}
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    np.testing.assert_allclose([updates["a"][0], updates["b"][0]], [-3.0, -4.0], rtol=1e-6)


def test_each_layer_can_have_a_rate_of_its_own():
    params = {"conv/a": {"w": jnp.zeros(1)}, "linear": {"w": jnp.zeros(1), "b": jnp.zeros(1)}}
    optimizer = optim.by_layer({"conv*": 0.5, "*": 0.25}, optax.sgd)
    ones = jax.tree.map(jnp.ones_like, params)
    updates, _ = optimizer.update(ones, optimizer.init(params), params)
    assert updates["conv/a"]["w"] == -0.5
    assert updates["linear"]["b"] == -0.25
    with pytest.raises(UserError, match="no learning rate for layer 'linear'"):
        optim.by_layer({"conv*": 0.5}, optax.sgd).init(params)


def test_inverse_power_is_alpha_by_beta_plus_t_to_the_gamma():
    schedule = schedules.inverse_power(alpha=2.0, beta=4.0, gamma=0.75)
    for t in (0, 1, 7, 1000):
        np.testing.assert_allclose(schedule(jnp.array(t)), 2.0 / (4.0 + t) ** 0.75, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "values"),
    [  # the rate at step t of 100, as a function of t
        ("constant", lambda t: 0.4),
        ("linear", lambda t: 0.4 * (1 - t / 100)),
        ("cosine", lambda t: 0.2 * (1 + np.cos(np.pi * t / 100))),
        ("exponential", lambda t: 0.4 * 0.01 ** (t / 100)),
        ("inverse_power", lambda t: 0.4 * (10 / (10 + t)) ** 0.75),
        ("piecewise", lambda t: 0.4 if t < 50 else 0.04 if t < 75 else 0.004),
        (
            "warmup_cosine",
            lambda t: 0.4 * t / 5 if t < 5 else 0.2 * (1 + np.cos(np.pi * (t - 5) / 95)),
        ),
    ],
)
def test_schedules_by_name_are_their_formulas(name, values):
    schedule = schedules.make(name, 0.4, 100)
    steps = (0, 1, 4, 5, 6, 49, 50, 51, 74, 75, 76, 99, 100)
    ours = [float(schedule(jnp.array(t))) for t in steps]
    np.testing.assert_allclose(ours, [values(t) for t in steps], rtol=1e-4, atol=1e-7)


def test_every_schedule_begins_and_ends_within_its_range_however_few_the_steps():
    for name in schedules.SCHEDULES:
        for steps in (1, 2, 3, 5):
            schedule = schedules.make(name, 0.4, steps)
            rates = [float(schedule(jnp.array(t))) for t in range(steps)]
            assert all(0 <= rate <= 0.4 + 1e-6 for rate in rates), (name, steps, rates)
            if name not in ("warmup_cosine", "constant"):
                np.testing.assert_allclose(rates[0], 0.4, rtol=1e-6)
                assert sorted(rates, reverse=True) == rates
    three = schedules.make("piecewise", 0.4, 3)  # half is 1.5 steps, three quarters 2.25
    np.testing.assert_allclose(
        [float(three(jnp.array(t))) for t in range(3)], [0.4, 0.4, 0.04], 1e-5
    )


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: optim.make("adamm", 0.1), "'adamm' is unknown; did you mean adam"),
        (lambda: optim.make("Adam", 0.1), "'Adam' is unknown; did you mean adam"),
        (lambda: optim.make("adam", -1.0), "learning_rate is -1.0; it must be above 0"),
        (lambda: optim.make("adam", 0.1, max_grad_norm=0.0), "max_grad_norm is 0.0"),
        (lambda: optim.make("adam", 0.1, weight_decay=-0.1), "weight_decay is -0.1"),
        (lambda: schedules.make("cosin", 0.1, 10), "'cosin' is unknown; did you mean cosine"),
        (lambda: schedules.make("constant", -0.1, 10), "learning_rate is -0.1"),
        (lambda: schedules.make("constant", float("nan"), 10), "learning_rate is nan"),
    ],
)
def test_what_is_unknown_or_out_of_range_is_refused(make, says):
    with pytest.raises(UserError, match=says):
        make()
