"""The HTTP side of serving: routes, limits, and errors as JSON that tell nothing of the machine."""

import asyncio
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from scripts import serve_input, serve_schema
from scripts.predictor import Predictor
from scripts.serve_batching import Batcher, Busy

_CLOSE = {"connection": "close"}  # what is left of the body is not read
# Bytes beyond the limit that are read and thrown away: a client that is hung up on while it sends
# would see a broken connection and not the reason.
_DISCARDED = 2**22


def make(net: Predictor, batcher: Batcher, timeout_s: float) -> Starlette:
    """The app. A body must arrive, and the net answer, within `timeout_s` each."""
    limit = serve_input.max_bytes(net, batcher.max_batch)
    names = serve_schema.named(net)
    labels = np.array(net.labels)
    schema = serve_schema.openapi(net, batcher.max_batch)

    async def predict(request: Request) -> Response:
        body = await read_body(request, limit, timeout_s)
        kind = request.headers.get("content-type", "")
        arguments = (kind, body, net, batcher.max_batch)
        if len(body) > 65_536 and not kind.startswith(serve_input.NPY):
            x = await asyncio.to_thread(serve_input.parse, *arguments)  # milliseconds of parsing
        else:
            x = serve_input.parse(*arguments)
        try:
            async with asyncio.timeout(timeout_s):
                outputs = await batcher(x)
        except Busy:
            raise HTTPException(503, "busy: ask again later", {"retry-after": "1"}) from None
        except TimeoutError:
            raise HTTPException(504, "the net did not answer in time") from None
        if not all(np.isfinite(each).all() for each in outputs.values()):
            raise HTTPException(422, "the net's outputs for these inputs are not finite")
        answer = {name: each.tolist() for name, each in outputs.items()}
        return JSONResponse(
            answer | {f"{name}_name": labels[outputs[name]].tolist() for name in names}
        )

    async def health(request: Request) -> Response:
        counts = {"inputs": batcher.num_inputs, "batches": batcher.num_batches}
        like = {"shape": net.shape, "dtype": net.dtype, "max_batch": batcher.max_batch}
        return JSONResponse({"status": "ok", "answered": counts, "input": like, "net": net.about})

    async def openapi(request: Request) -> Response:
        return JSONResponse(schema)

    app = Starlette(
        routes=[
            Route("/predict", predict, methods=["POST"]),
            Route("/health", health),
            Route("/openapi.json", openapi),
        ],
        exception_handlers={
            HTTPException: _refusal,
            ClientDisconnect: _gone,
            Exception: _failure,
        },
    )
    app.router.redirect_slashes = False  # it would send clients to whatever Host they named
    return app


async def read_body(request: Request, limit: int, timeout_s: float) -> bytes:
    """The request's body. HTTPException 413 beyond `limit` bytes, 408 if it takes too long."""
    said = f"the body is too large; at most {limit} bytes"
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > limit + _DISCARDED:
        raise HTTPException(413, said, _CLOSE)
    body, total = bytearray(), 0
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.stream():
                total += len(chunk)
                if total > limit + _DISCARDED:
                    raise HTTPException(413, said, _CLOSE)
                if total <= limit:
                    body += chunk
    except TimeoutError:
        raise HTTPException(408, "the body did not arrive in time", _CLOSE) from None
    if total > limit:
        raise HTTPException(413, said)
    return bytes(body)


async def _refusal(request: Request, error: Any) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


async def _failure(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "internal error"}, 500)
