"""Requests that wait are answered together: one call of the net for all of them.

There is no waiting for company. While the net works on one batch the next requests gather, so a
lone request is answered at once and many at a time fill larger batches.
"""

import asyncio
import bisect
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np

from scripts.predictor import Predictor

Outputs = dict[str, np.ndarray]


class Busy(Exception):
    """More inputs wait than would be answered in time."""


class _Waiting(NamedTuple):
    x: np.ndarray
    answer: asyncio.Future[Outputs]


class Batcher:
    """`await batcher(x)` for x[n, *shape], n <= max_batch; from one event loop at a time."""

    def __init__(self, net: Predictor, max_batch: int, max_waiting: int):
        self.max_batch = max_batch
        self.num_batches = self.num_inputs = 0
        self._max_waiting = max_waiting
        self._shape, self._dtype = net.shape, net.dtype
        self._compiled = compile_sizes(net, max_batch)
        self._sizes = sorted(self._compiled)
        self._waiting: deque[_Waiting] = deque()
        self._worker: asyncio.Task[None] | None = None
        # The event loop stays free while the net computes: XLA holds no interpreter lock.
        self._thread = ThreadPoolExecutor(1, "net")

    async def __call__(self, x: np.ndarray) -> Outputs:
        """The net's outputs for x, each [n, ...]. Raises Busy where the queue is full."""
        if sum(len(each.x) for each in self._waiting) + len(x) > self._max_waiting:
            raise Busy
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(x, answer))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._take():
            try:
                outputs = await loop.run_in_executor(self._thread, self._compute, batch)
            except Exception as error:
                outputs, failed = [], error
                for each in batch:
                    if not each.answer.done():
                        each.answer.set_exception(failed)
            for each, output in zip(batch, outputs, strict=False):
                if not each.answer.done():  # nobody waits for it any more
                    each.answer.set_result(output)

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        num_inputs = 0
        while self._waiting and num_inputs + len(self._waiting[0].x) <= self.max_batch:
            each = self._waiting.popleft()
            if not each.answer.done():
                batch.append(each)
                num_inputs += len(each.x)
        return batch

    def _compute(self, batch: list[_Waiting]) -> list[Outputs]:
        num_inputs = sum(len(each.x) for each in batch)
        size = self._sizes[bisect.bisect_left(self._sizes, num_inputs)]
        x = np.zeros((size, *self._shape), self._dtype)
        np.concatenate([each.x for each in batch], out=x[:num_inputs])
        outputs = jax.device_get(self._compiled[size](x))
        self.num_batches += 1
        self.num_inputs += num_inputs
        ends = np.cumsum([len(each.x) for each in batch])
        return [
            {name: value[end - len(each.x) : end] for name, value in outputs.items()}
            for each, end in zip(batch, ends, strict=True)
        ]


def compile_sizes(
    net: Predictor, max_batch: int
) -> dict[int, Callable[[np.ndarray], dict[str, jax.Array]]]:
    """The net compiled for 1, 2, 4 ... max_batch inputs; nothing is compiled later."""
    sizes = {2**power for power in range(max_batch.bit_length()) if 2**power < max_batch}
    jitted = jax.jit(net.predict)
    return {
        size: jitted.lower(jax.ShapeDtypeStruct((size, *net.shape), net.dtype)).compile()
        for size in sorted(sizes | {max_batch})
    }
