import itertools
import math
from pydoc_data import topics

import numpy as np
import pytest

from dqnlab.witten_bell import nats_per_character


def test_three_characters_by_hand():
    # Train "aab": unigrams a 2, b 1: N 3, T 2; uniform over {a, b, c} is 1/3.
    # p1(a) = (2 + 2/3) / 5, p1(c) = (0 + 2/3) / 5. After "b" nothing was seen, so order 2 is order
    # 1 there; after "a": a 1, b 1, N 2, T 2, so p2(c | a) = (0 + 2 p1(c)) / 4.
    p1a, p1c = (2 + 2 / 3) / 5, (2 / 3) / 5
    one, two = nats_per_character("aab", "ac", orders=2)
    assert one == pytest.approx(-(math.log(p1a) + math.log(p1c)) / 2)
    assert two == pytest.approx(-(math.log(p1a) + math.log(2 * p1c / 4)) / 2)


def test_probabilities_of_all_continuations_sum_to_one():
    for order in (1, 2, 3):
        # Over all strings of length 2 from the alphabet of the training text.
        total = sum(
            math.exp(-2 * nats_per_character("abracadabra", "".join(pair), order)[-1])
            for pair in itertools.product("abrcd", repeat=2)
        )
        assert total == pytest.approx(1.0)


@pytest.mark.slow
def test_pythons_own_help_texts():
    text = "".join(topics.topics.values())
    cut = int(0.95 * len(text))
    nats = nats_per_character(text[:cut], text[cut:])
    # Python 3.11's texts; other versions' differ by a few sentences.
    np.testing.assert_allclose(nats, [3.175, 2.241, 1.618, 1.263, 1.127, 1.103], atol=0.05)
