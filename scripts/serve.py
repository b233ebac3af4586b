"""Answer predictions of a trained net over HTTP.

python scripts/serve.py runs/Breakout-prioritized-s0-... --port 8000
"""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Literal

if __package__ in (None, ""):  # run as a file: make `scripts` and `agents` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tyro

from dqnlab.types import UserError
from scripts import extras, flags, predictor, startup


@dataclasses.dataclass(frozen=True)
class Options:
    """What to serve, and where."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Run folder of a training command."""
    checkpoint: str = "best"
    """best, last, or the agent steps of a kept checkpoint."""
    host: str = "127.0.0.1"
    """Address to listen on; the default is reachable from this machine only."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    max_batch: int = 32
    """Most inputs in one request, and most that are answered in one call of the net."""
    timeout: float = 10.0
    """Seconds in which a body must arrive, and an answer be found."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where the net computes."""


def main(args: list[str] | None = None) -> int:
    """Parse, load, compile, serve until stopped. Returns the exit code."""
    options = flags.cli(Options, args=args, description=__doc__)
    extras.need("web", "starlette", "uvicorn")
    from scripts import http_server, serve_app, serve_batching  # only now: they need the extra

    if not 1 <= options.max_batch <= 1024:
        raise UserError(f"--max-batch is {options.max_batch}; it must be within 1 .. 1024")
    if not 0 < options.timeout < float("inf"):
        raise UserError(f"--timeout is {options.timeout}; it must be a positive number of seconds")
    device = startup.select_device(options.device)
    net = predictor.load(options.run_dir, options.checkpoint)
    with http_server.listen(options.host, options.port) as listening:
        print(f"compiling for {device} ...", flush=True)
        batcher = serve_batching.Batcher(net, options.max_batch, 16 * options.max_batch)
        app = serve_app.make(net, batcher, options.timeout)
        shape = ", ".join(map(str, net.shape))
        where = http_server.url(listening)
        print(f"POST {where}/predict  {net.dtype}[B, {shape}]")
        print(f"GET  {where}/openapi.json and {where}/health", flush=True)
        http_server.run(http_server.make(app), listening)
    return 0


if __name__ == "__main__":
    with startup.user_errors():
        sys.exit(main())
