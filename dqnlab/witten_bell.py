"""The n-gram model of characters that a language model must beat (Witten & Bell 1991)."""

import math
from collections import Counter


def nats_per_character(train: str, test: str, orders: int = 6) -> list[float]:
    """Mean -log p of the characters of `test`, by models of order 1 .. orders of `train`.

    Order n sees n - 1 characters, also those before the test's start. With c(h x) the count of x
    after the context h, N its sum over x, and T the number of different x seen there:

      p(x | h) = (c(h x) + T p(x | shorter h)) / (N + T),

    down to a uniform distribution over all characters of both parts. Contexts that were never seen
    use the shorter one alone.
    """
    counts: list[Counter[str]] = [Counter() for _ in range(orders)]
    totals: list[Counter[str]] = [Counter() for _ in range(orders)]
    kinds: list[Counter[str]] = [Counter() for _ in range(orders)]
    for k in range(orders):
        for i in range(k, len(train)):
            context, gram = train[i - k : i], train[i - k : i + 1]
            kinds[k][context] += gram not in counts[k]
            counts[k][gram] += 1
            totals[k][context] += 1
    text, uniform = train + test, 1.0 / len(set(train) | set(test))
    nats = [0.0] * orders
    for i in range(len(train), len(text)):
        p = uniform
        for k in range(orders):
            context = text[max(i - k, 0) : i]
            total = totals[k][context]
            if total:
                kind = kinds[k][context]
                p = (counts[k][text[i - k : i + 1]] + kind * p) / (total + kind)
            nats[k] -= math.log(p)
    return [total / len(test) for total in nats]
