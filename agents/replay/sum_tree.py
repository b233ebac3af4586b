"""A binary sum tree on the device, for sampling in proportion to priorities.

Node 1 is the root, the children of node k are 2k and 2k + 1, and leaf i is node L + i; node 0 is
unused. A node above the leaves is always recomputed from its two children, never incremented, so
rounding errors do not build up over a run.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from dqnlab.types import Array

# Stored priorities are 0 or in this range: below it, sums would be denormal numbers, which some
# devices flush to 0; above it, the sum of 2^26 of them would overflow float32.
SMALLEST, LARGEST = float(np.finfo(np.float32).tiny), 1e30


class SumTree(NamedTuple):
    """Priorities of at least `capacity` items and their sums; the padding has priority 0."""

    nodes: Array  # float32[2 L], L the power of two not below the capacity


def init(capacity: int) -> SumTree:
    """A tree in which every priority is 0."""
    num_leaves = 1 << (capacity - 1).bit_length()
    return SumTree(jnp.zeros(2 * num_leaves, jnp.float32))


def total(tree: SumTree) -> Array:
    """The sum of all priorities, float32[]."""
    return tree.nodes[1]


def get(tree: SumTree, indices: Array) -> Array:
    """The priorities of the items `indices`: int32[B] -> float32[B]."""
    return tree.nodes[tree.nodes.shape[0] // 2 + indices]


def set(tree: SumTree, indices: Array, values: Array) -> SumTree:  # noqa: A001, sum_tree.set
    """Give the items `indices` the priorities `values`, in place where the tree is donated.

    Of several values for one item the last wins. An index outside the tree (-1, say) is ignored.
    Values are clipped to [0, LARGEST]; NaN counts as 0, lest it enter every sum above its leaf.
    Shapes: indices int32[B], values float32[B].
    """
    num_leaves = tree.nodes.shape[0] // 2
    # The order in which a scatter meets duplicates is undefined, so it must meet one of each.
    order = jnp.argsort(indices, stable=True)
    indices, values = indices[order], values[order]
    is_last = jnp.append(indices[1:] != indices[:-1], True)
    is_inside = (indices >= 0) & (indices < num_leaves)
    leaves = num_leaves + jnp.clip(indices, 0, num_leaves - 1)
    values = jnp.where(values >= SMALLEST, jnp.minimum(values, LARGEST), 0.0)
    target = jnp.where(is_last & is_inside, leaves, 2 * num_leaves)
    nodes = tree.nodes.at[target].set(values, mode="drop")

    def one_level_up(_: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        nodes, parents = carry[0], carry[1] // 2
        # Siblings write to their parent twice, but the same sum.
        return nodes.at[parents].set(nodes[2 * parents] + nodes[2 * parents + 1]), parents

    return SumTree(lax.fori_loop(0, depth(tree), one_level_up, (nodes, leaves))[0])


def find(tree: SumTree, mass: Array) -> Array:
    """The items in which the running sum of priorities passes `mass`: float32[B] -> int32[B].

    For `mass` uniform in [0, total) an item's probability is its priority over the total, up to
    the resolution of float32: total / 2^24, a sixteenth of the mean priority of 2^20 items. An item
    of priority 0 is never found, whatever rounding does to `mass`; the total must not be 0.
    """

    def one_level_down(_: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        node, mass = carry
        left, right = tree.nodes[2 * node], tree.nodes[2 * node + 1]
        # The sum of a node rounds, so `mass` may exceed both children together: then the last
        # item with a priority is meant, not the empty one after it.
        go_right = (mass >= left) & (right > 0.0)
        return 2 * node + go_right, jnp.where(go_right, mass - left, mass)

    root = jnp.ones(mass.shape, jnp.int32)
    leaves: Array
    leaves, _ = lax.fori_loop(0, depth(tree), one_level_down, (root, jnp.maximum(mass, 0.0)))
    return leaves - tree.nodes.shape[0] // 2


def depth(tree: SumTree) -> int:
    """The number of levels below the root."""
    return (tree.nodes.shape[0] // 2).bit_length() - 1
