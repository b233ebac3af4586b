import jax
import jax.numpy as jnp
import numpy as np
import pytest
import threadpoolctl

from dqnlab import optim
from dqnlab.asgo import inverse_root, scale_by_asgo

DAMPING = 1e-3


def gradients(count, shape, seed=0):
    """Gradients whose columns have much in common, as those of a layer's units do."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(shape[-1],) * 2) * 0.5 ** np.arange(shape[-1])
    return [(rng.normal(size=shape) @ mix).astype(np.float32) for _ in range(count)]


def steps(transform, given):
    state = transform.init({"w": jnp.zeros(given[0].shape)})
    taken = []
    for g in given:
        u, state = transform.update({"w": jnp.asarray(g)}, state)
        taken.append(np.asarray(u["w"]))
    return taken


def by_definition(given, b1=0.9, b2=0.99, period=20, warm_up=20):
    """Equation by equation, in float64, with numpy's eigenvectors."""
    n = given[0].shape[-1]
    m, v, taken = np.zeros((given[0].size // n, n)), np.zeros((n, n)), []
    for t, kernel in enumerate(given, start=1):
        g = kernel.astype(np.float64).reshape(-1, n)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g.T @ g / len(g)
        if t <= warm_up or (t - 1) % period == 0:
            unbiased = v / (1 - b2**t)
            values, vectors = np.linalg.eigh(
                unbiased + DAMPING * np.trace(unbiased) / n * np.eye(n)
            )
            root = vectors / np.sqrt(values) @ vectors.T
        taken.append((m / (1 - b1**t) @ root).reshape(kernel.shape))
    return taken


@pytest.mark.parametrize("shape", [(40, 8), (3, 3, 4, 8)], ids=["matrix", "kernel"])
def test_each_step_is_the_formula_with_a_root_up_to_twenty_steps_old(shape):
    given = gradients(50, shape)
    for ours, expected in zip(steps(scale_by_asgo(), given), by_definition(given), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=2e-3, atol=2e-3)


def test_a_direction_of_small_gradients_is_walked_as_far_as_one_of_large_ones():
    rng = np.random.default_rng(1)
    turned, _ = np.linalg.qr(rng.normal(size=(16, 16)))
    sizes = np.geomspace(1, 0.1, 16)
    given = [(rng.normal(size=(500, 16)) * sizes @ turned.T).astype(np.float32) for _ in range(20)]
    along = steps(scale_by_asgo(b1=0.0), given)[-1] @ turned
    np.testing.assert_allclose((along**2).mean(axis=0), 1.0, atol=0.25)  # 100 to 1 in gradients


def test_a_gradient_in_a_new_direction_is_not_followed_too_far():
    known, new = np.zeros((2, 64, 16), np.float32)
    known[:, :8], new[:, 8:] = 1e-3, 1e-3  # no unit of the second eight was heard of before
    params = {"w": jnp.zeros(known.shape)}
    optimizer = optim.make("asgo", 1.0)
    state = optimizer.init(params)
    for gradient in [known] * 30 + [new]:
        u, state = optimizer.update({"w": jnp.asarray(gradient)}, state, params)
    assert np.abs(np.asarray(u["w"])[:, 8:]).min() > 0
    assert np.sqrt(np.mean(np.square(u["w"]))) <= 1 + 1e-3
    whitened = steps(scale_by_asgo(), [known] * 30 + [new])[-1]
    assert np.sqrt(np.mean(np.square(whitened))) > 2  # what it would be


def test_bfloat16_products_change_steps_by_their_rounding_only():
    given = gradients(30, (64, 32))
    exact = steps(scale_by_asgo(damping=1e-2), given)
    rounded = steps(scale_by_asgo(damping=1e-2, dtype=jnp.bfloat16), given)
    for a, b in zip(exact, rounded, strict=True):
        assert np.abs(a - b).mean() < 0.02 * np.abs(a).mean()


def test_biases_and_narrow_matrices_are_adams():
    params = {"w": jnp.ones((8, 16)), "q": jnp.ones((8, 6)), "b": jnp.ones(16)}
    gradient = jax.tree.map(lambda w: 0.1 * w, params)
    taken = {}
    for name in ("adam", "asgo"):
        optimizer = optim.make(name, 0.1, 1e-3)
        taken[name] = optimizer.update(gradient, optimizer.init(params), params)[0]
    for key, is_equal in {"w": False, "q": True, "b": True}.items():
        assert np.allclose(taken["adam"][key], taken["asgo"][key]) is is_equal


def test_runs_mapped_over_seeds_take_the_steps_they_take_alone_and_share_a_branch():
    transform = scale_by_asgo()
    given = [gradients(25, (40, 8), seed) for seed in range(3)]
    mapped = jax.vmap(transform.update)
    state = jax.vmap(transform.init)({"w": jnp.zeros((3, 40, 8))})
    for row in zip(*given, strict=True):
        u, state = mapped({"w": jnp.stack(row)}, state)
    for k in range(3):
        np.testing.assert_allclose(u["w"][k], steps(transform, given[k])[-1], rtol=1e-4, atol=1e-4)
    program = jax.make_jaxpr(mapped)({"w": jnp.stack(row)}, state)
    outside = {str(equation.primitive) for equation in program.jaxpr.eqns}
    assert "cond" in outside
    assert "eigh" not in outside  # eigenvectors are looked for in the branch alone


def test_a_root_of_what_is_singular_or_not_finite_ends_and_says_so():
    assert np.isfinite(inverse_root(jnp.zeros((4, 4)), DAMPING)).all()
    assert np.isnan(inverse_root(jnp.full((4, 4), jnp.nan), DAMPING)).all()


def test_lapack_keeps_one_thread_and_numpy_its_own():
    given = [x for x in threadpoolctl.threadpool_info() if "numpy.libs" in x["filepath"]]
    optim.make("asgo", 0.1)
    now = threadpoolctl.threadpool_info()
    assert [x["num_threads"] for x in now if "scipy.libs" in x["filepath"]] == [1]
    assert [x for x in now if "numpy.libs" in x["filepath"]] == given
