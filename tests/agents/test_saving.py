import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import saving
from agents.replay import ring as rings
from dqnlab.types import EnvSpec, TimeStep

SPEC = EnvSpec("model", 2, 3, ("a", "b", "c"), (3,), "uint8", 1, 1, {}, False)
_add = jax.jit(rings.add, donate_argnums=0)


def filled(num_rows: int, capacity_rows: int) -> rings.Ring:
    rng = np.random.default_rng(num_rows)
    ring = rings.init(SPEC, 2 * capacity_rows)
    for _ in range(num_rows):
        step = TimeStep(
            rng.integers(0, 256, (2, 3), np.uint8),
            rng.normal(size=2).astype(np.float32),
            rng.integers(0, 2, 2).astype(np.float32),
            rng.random(2) < 0.3,
        )
        ring = _add(ring, step, rng.integers(0, 3, 2).astype(np.int32))
    return ring


@settings(max_examples=15, deadline=None)
@given(num_rows=st.integers(0, 900), capacity_rows=st.sampled_from([100, 300, 700]))
def test_rows_read_in_two_parts_and_written_back_give_the_same_ring(num_rows, capacity_rows):
    ring = filled(num_rows, capacity_rows)
    oldest = saving.oldest_row(ring, num_rows)
    middle = (oldest + num_rows) // 2
    restored = rings.init(SPEC, 2 * capacity_rows)
    for start, stop in ((oldest, middle), (middle, num_rows)):
        columns = saving.read_rows(ring, start, stop)
        assert len(columns["first"]) == stop - start
        restored = saving.write_rows(restored, start, columns)
    restored = restored._replace(num_rows=jnp.int32(num_rows))
    jax.tree.map(np.testing.assert_array_equal, restored, ring)
