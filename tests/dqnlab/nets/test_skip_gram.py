import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from dqnlab.nets.skip_gram import SkipGram, pairs


def test_each_word_is_paired_with_its_neighbours():
    assert pairs([5, 6, 7], 1).tolist() == [[5, 6], [6, 5], [6, 7], [7, 6]]
    assert pairs([5, 6, 7], 2).tolist() == [[5, 6], [5, 7], [6, 5], [6, 7], [7, 5], [7, 6]]
    assert pairs([5], 2).shape == (0, 2)


def test_a_logit_is_the_dot_product_of_a_row_of_each_table():
    net = hk.without_apply_rng(hk.transform(lambda *x: SkipGram(6, 4)(*x)))
    center, words = jnp.array([1, 3]), jnp.array([[0, 5, 2], [3, 3, 4]])
    params = net.init(jax.random.PRNGKey(0), center, words)
    logits = net.apply(params, center, words)
    near, far = (params[f"skip_gram/{k}"]["embeddings"] for k in ("context", "center"))
    for b in range(2):
        for k in range(3):
            expected = np.dot(far[center[b]], near[words[b, k]])
            np.testing.assert_allclose(logits[b, k], expected, rtol=1e-5)
