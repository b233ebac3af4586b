import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agents.replay import sum_tree

set_ = jax.jit(sum_tree.set, donate_argnums=0)
find = jax.jit(sum_tree.find)


def tree_of(priorities):
    tree = sum_tree.init(len(priorities))
    return set_(tree, jnp.arange(len(priorities)), jnp.asarray(priorities, jnp.float32))


def assert_is_sum_tree(tree, leaves):
    """Every node is exactly the float32 sum of its children; the padding is 0."""
    nodes = np.asarray(tree.nodes)
    half = len(nodes) // 2
    np.testing.assert_array_equal(nodes[half : half + len(leaves)], leaves)
    assert not nodes[half + len(leaves) :].any()
    parents = np.arange(1, half)
    np.testing.assert_array_equal(nodes[parents], nodes[2 * parents] + nodes[2 * parents + 1])


def test_a_tree_by_hand():
    tree = tree_of([1.0, 0.0, 3.0])
    np.testing.assert_array_equal(tree.nodes, [0, 4, 1, 3, 1, 0, 3, 0])
    assert sum_tree.total(tree) == 4.0
    np.testing.assert_array_equal(sum_tree.get(tree, jnp.array([2, 0])), [3.0, 1.0])
    masses = jnp.array([0.0, 0.99, 1.0, 3.99])
    np.testing.assert_array_equal(find(tree, masses), [0, 0, 2, 2])


@pytest.mark.parametrize("capacity", [1, 2, 3, 64, 65])
def test_the_padding_reaches_the_next_power_of_two_and_is_never_found(capacity):
    tree = tree_of(np.ones(capacity))
    assert len(tree.nodes) == 2 * 2 ** int(np.ceil(np.log2(capacity)))
    masses = jnp.array([-1.0, 0.0, capacity / 2, capacity - 1e-3, capacity, 2.0 * capacity])
    found = np.asarray(find(tree, masses))
    assert found.min() >= 0
    assert found.max() == capacity - 1


def test_the_last_of_several_values_for_one_item_wins():
    tree = set_(sum_tree.init(4), jnp.array([2, 0, 2, 2, 0]), jnp.array([9.0, 1.0, 8.0, 3.0, 2.0]))
    assert_is_sum_tree(tree, np.float32([2, 0, 3, 0]))


def test_indices_outside_the_tree_are_ignored():
    tree = set_(tree_of([1.0, 2.0, 3.0, 4.0]), jnp.array([-1, 4, 7, 1]), jnp.full(4, 9.0))
    assert_is_sum_tree(tree, np.float32([1, 9, 3, 4]))


def test_priorities_are_clipped_where_they_are_stored():
    values = [-1.0, np.nan, np.inf, 1e-45, 1e38, 1.0]
    tree = tree_of(values)
    expected = np.float32([0, 0, sum_tree.LARGEST, 0, sum_tree.LARGEST, 1])
    assert_is_sum_tree(tree, expected)
    assert jnp.isfinite(sum_tree.total(tree))


OPERATION = st.lists(
    st.tuples(
        st.integers(0, 12),
        st.one_of(st.just(0.0), st.floats(0.0, 1e6, width=32)),
    ),
    min_size=5,
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@example([[(0, 1e6), (1, 1e-6), (2, 1e6), (2, 0.0), (12, 1e-30)]])
@example([[(0, sum_tree.SMALLEST), (1, sum_tree.SMALLEST), (2, 0.0), (3, 0.0), (4, 0.0)]])
@given(st.lists(OPERATION, min_size=1, max_size=8))
def test_random_operations_agree_with_an_array(operations):
    model, tree = np.zeros(13, np.float32), sum_tree.init(13)
    for operation in operations:
        for index, value in operation:
            model[index] = value if value >= sum_tree.SMALLEST else 0.0
        indices, values = zip(*operation, strict=True)
        tree = set_(tree, jnp.array(indices), jnp.array(values, jnp.float32))
        assert_is_sum_tree(tree, model)
        total = float(sum_tree.total(tree))
        np.testing.assert_allclose(total, model.sum(dtype=np.float64), rtol=1e-6)
        if total > 0.0:
            # By NumPy: a 31st of the smallest total is denormal, and XLA takes that for 0.
            masses, slack = np.linspace(0.0, total, 32, dtype=np.float32), 1e-6 * total
            found = np.asarray(find(tree, jnp.asarray(masses)))
            assert model[found].all()
            # Rounding may move a boundary a little, never more.
            after = np.cumsum(model, dtype=np.float64)[found]
            before = after - model[found]
            assert (before - slack <= masses).all()
            assert (masses <= after + slack).all()


def test_items_are_drawn_in_proportion_to_their_priority():
    priorities = np.random.default_rng(0).gamma(0.5, size=300)
    priorities[::7] = 0.0
    tree, draws = tree_of(priorities), 200_000
    mass = jax.random.uniform(jax.random.key(1), (draws,)) * sum_tree.total(tree)
    counts = np.bincount(find(tree, mass), minlength=300)
    assert not counts[priorities == 0.0].any()
    expected = draws * priorities / priorities.sum()
    frequent = expected > 5
    chi_square = np.sum((counts - expected)[frequent] ** 2 / expected[frequent])
    degrees = frequent.sum() - 1
    assert abs(chi_square - degrees) < 5 * np.sqrt(2 * degrees)


def test_a_rounded_total_never_leads_to_an_empty_item():
    # Masses around the total, and at every boundary as another order of summation rounds it.
    rng = np.random.default_rng(2)
    for trial in range(20):
        priorities = np.where(rng.random(1000) < 0.9, 0.0, rng.random(1000) ** (1 + trial))
        tree = tree_of(priorities)
        top = sum_tree.total(tree)
        masses = jnp.concatenate(
            [
                top * (1.0 + jnp.arange(-4.0, 5.0) * 2.0**-24),
                jnp.cumsum(jnp.asarray(priorities, jnp.float32)),
            ]
        )
        assert np.asarray(sum_tree.get(tree, find(tree, masses))).all()


def test_sums_do_not_drift_over_many_updates():
    def body(tree, key):
        k_index, k_value = jax.random.split(key)
        indices = jax.random.randint(k_index, (16,), 0, 100)
        return sum_tree.set(tree, indices, 1e4 * jax.random.uniform(k_value, (16,)) ** 8), None

    @functools.partial(jax.jit, donate_argnums=0)
    def run(tree):
        return jax.lax.scan(body, tree, jax.random.split(jax.random.key(3), 20_000))[0]

    tree = run(sum_tree.init(100))
    assert_is_sum_tree(tree, np.asarray(sum_tree.get(tree, jnp.arange(100))))


def test_set_writes_in_place():
    tree = sum_tree.init(1000)
    args = (tree, jnp.arange(5), jnp.ones(5))

    def num_copies(**kwargs):
        text = jax.jit(sum_tree.set, **kwargs).lower(*args).compile().as_text()
        return len(re.findall(rf"f32\[{tree.nodes.size}\]\S* copy\(", text))

    assert num_copies() > 0
    assert num_copies(donate_argnums=0) == 0


def work(function, *args):
    """How many numbers a function computes; a scatter's are left out, for it writes in place."""

    def in_jaxpr(jaxpr):
        total = 0
        for eqn in jaxpr.eqns:
            inner = [v.jaxpr for v in eqn.params.values() if hasattr(v, "jaxpr")]
            if inner:
                assert eqn.primitive.name in ("scan", "jit"), eqn
                total += eqn.params.get("length", 1) * sum(map(in_jaxpr, inner))
            elif eqn.primitive.name != "scatter":
                total += sum(v.aval.size for v in eqn.outvars)
        return total

    return in_jaxpr(jax.make_jaxpr(function)(*args).jaxpr)


def test_work_grows_with_the_depth_and_not_with_the_number_of_items():
    batch = jnp.zeros(256)

    def draw_and_update(tree, mass):
        return sum_tree.set(tree, sum_tree.find(tree, mass), mass)

    few, many = (work(draw_and_update, sum_tree.init(n), batch) for n in (1 << 10, 1 << 20))
    assert few < many < 2.1 * few  # 10 and 20 levels
    linear = work(lambda tree, mass: jnp.cumsum(tree.nodes), sum_tree.init(1 << 20), batch)
    assert linear > many
