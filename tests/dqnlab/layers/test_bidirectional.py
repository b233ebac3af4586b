import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from dqnlab.layers.bidirectional import Bidirectional
from dqnlab.layers.gru import GRU

T, B, D, H = 6, 2, 3, 4
X = jnp.asarray(np.random.default_rng(0).normal(size=(T, B, D)), jnp.float32)
NET = hk.without_apply_rng(
    hk.transform(lambda x, mask=None: Bidirectional(lambda name: GRU(H, name=name))(x, mask=mask))
)
ONE = hk.without_apply_rng(hk.transform(lambda x: GRU(H)(x)))
PARAMS = NET.init(jax.random.PRNGKey(0), X)


def one_way(name, x):
    theirs = {
        "gru/input": PARAMS[f"bidirectional/{name}/input"],
        "gru": PARAMS[f"bidirectional/{name}"],
    }
    return ONE.apply(theirs, x)


def test_it_is_one_layer_on_the_sequence_and_another_on_its_mirror_image():
    outputs, (end, start) = NET.apply(PARAMS, X)
    forward, forward_last = one_way("forward", X)
    backward, backward_last = one_way("backward", X[::-1])
    np.testing.assert_allclose(outputs, jnp.concatenate([forward, backward[::-1]], -1), atol=1e-6)
    np.testing.assert_allclose(end, forward_last, atol=1e-6)
    np.testing.assert_allclose(start, backward_last, atol=1e-6)


def test_padding_does_not_reach_the_layer_that_starts_there():
    padded = jnp.concatenate([X, jnp.full((3, B, D), 50.0)])
    mask = jnp.arange(T + 3)[:, None] < jnp.full((1, B), T)
    outputs, _ = NET.apply(PARAMS, padded, mask)
    np.testing.assert_allclose(outputs[:T], NET.apply(PARAMS, X)[0], atol=1e-6)
