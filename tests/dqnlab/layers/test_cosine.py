import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from dqnlab.layers.cosine import CosineEmbedding


@hk.transform
def net(taus):
    return CosineEmbedding(8, num_cosines=5)(taus)


def test_the_embedding_is_the_written_equation():
    taus = jax.random.uniform(jax.random.key(0), (3, 2))
    params = net.init(jax.random.key(1), taus)
    (p,) = params.values()
    w, b = np.float64(p["w"]), np.linspace(-1, 1, 8)
    p["b"] = jnp.asarray(b, jnp.float32)
    out = net.apply(params, None, taus)
    assert out.shape == (3, 2, 8)
    for index in np.ndindex(3, 2):
        for j in range(8):
            total = sum(np.cos(np.pi * i * float(taus[index])) * w[i, j] for i in range(5))
            np.testing.assert_allclose(out[(*index, j)], max(total + b[j], 0.0), atol=1e-5)


def test_the_first_cosine_may_be_another():
    shifted = hk.transform(lambda taus: CosineEmbedding(4, num_cosines=3, first=1)(taus))
    taus = jnp.array([0.25])
    params = shifted.init(jax.random.key(1), taus)
    (p,) = params.values()
    cosines = np.cos(np.pi * 0.25 * np.arange(1, 4))
    expected = np.maximum(cosines @ np.asarray(p["w"]), 0.0)
    np.testing.assert_allclose(shifted.apply(params, None, taus)[0], expected, atol=1e-6)


def test_64_cosines_by_default():
    default = hk.transform(lambda taus: CosineEmbedding(8)(taus))
    (p,) = default.init(jax.random.key(0), jnp.zeros(4)).values()
    assert p["w"].shape == (64, 8)
