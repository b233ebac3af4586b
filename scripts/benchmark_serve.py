"""Load on a server of scripts/serve.py: how many single inputs it answers, and how soon.

python scripts/benchmark_serve.py http://127.0.0.1:8000 --rate 200 --seconds 20

Requests are sent at fixed times, whether or not earlier ones were answered, and a latency counts
from the time when its request was due: a server that stalls does not slow its own measurement.
"""

import asyncio
import dataclasses
import io
import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

if __package__ in (None, ""):  # run as a file: make `scripts` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import tyro

from dqnlab.types import UserError
from scripts import extras, flags, startup


@dataclasses.dataclass(frozen=True)
class Options:
    """What load."""

    url: Annotated[str, tyro.conf.Positional]
    """Of the server."""
    rate: float = 200.0
    """Requests per second; 0 sends as many as are answered, over all connections."""
    seconds: float = 20.0
    """Length of the measurement, after one second of warm-up."""
    connections: int = 16
    """Kept open side by side."""
    json_bodies: bool = False
    """Send inputs as JSON instead of .npy."""


def body_of(like: dict[str, Any], as_json: bool) -> tuple[bytes, str]:
    """One random input as the server wants it, and its content type."""
    rng, shape = np.random.default_rng(0), like["shape"]
    is_float = np.dtype(like["dtype"]).kind == "f"
    x = (rng.random(shape) if is_float else rng.integers(0, 100, shape)).astype(like["dtype"])
    if as_json:
        return json.dumps({"inputs": x.tolist()}).encode(), "application/json"
    buffer = io.BytesIO()
    np.save(buffer, x)
    return buffer.getvalue(), "application/x-npy"


async def measure(options: Options) -> dict[str, Any]:
    """Latencies in seconds of the answered requests, and what came back."""
    import httpx

    limits = httpx.Limits(max_connections=options.connections)
    async with httpx.AsyncClient(base_url=options.url, limits=limits, timeout=30) as client:
        try:
            like = (await client.get("/health")).json()["input"]
        except (httpx.HTTPError, httpx.InvalidURL, KeyError, ValueError) as error:
            raise UserError(f"{options.url} is no server of scripts/serve.py: {error!r}") from error
        content, kind = body_of(like, options.json_bodies)

        async def ask(due: float) -> tuple[float, int]:
            headers = {"content-type": kind}
            answer = await client.post("/predict", content=content, headers=headers)
            return time.perf_counter() - due, answer.status_code

        async def closed_loop(until: float) -> list[tuple[float, int]]:
            done = []
            while (now := time.perf_counter()) < until:
                done.append(await ask(now))
            return done

        async def open_loop(seconds: float) -> list[tuple[float, int]]:
            start, tasks = time.perf_counter(), []
            for number in range(int(seconds * options.rate)):
                due = start + number / options.rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                tasks.append(asyncio.create_task(ask(due)))
            return await asyncio.gather(*tasks)

        async def load(seconds: float) -> list[tuple[float, int]]:
            if options.rate:
                return await open_loop(seconds)
            until = time.perf_counter() + seconds
            each = [closed_loop(until) for _ in range(options.connections)]
            return [one for results in await asyncio.gather(*each) for one in results]

        await load(1.0)
        start = time.perf_counter()
        results = await load(options.seconds)
        return {"seconds": time.perf_counter() - start, "results": results}


def main(args: list[str] | None = None) -> int:
    """Parse, measure, print. Returns 1 where a request was not answered by 200."""
    options = flags.cli(Options, args=args, description=__doc__)
    extras.need("dev", "httpx")
    if options.rate < 0 or not options.seconds > 0 or options.connections < 1:
        raise UserError("--rate must be at least 0, --seconds positive, --connections at least 1")
    found = asyncio.run(measure(options))
    latencies = np.array([latency for latency, _ in found["results"]]) * 1e3
    failed = sum(status != 200 for _, status in found["results"])
    p50, p95, p99 = np.quantile(latencies, [0.5, 0.95, 0.99])
    print(
        f"{len(latencies)} requests, {failed} failed, {len(latencies) / found['seconds']:.0f}/s; "
        f"latency ms: p50 {p50:.1f}  p95 {p95:.1f}  p99 {p99:.1f}  max {latencies.max():.1f}"
    )
    return int(failed > 0)


if __name__ == "__main__":
    with startup.user_errors():
        sys.exit(main())
