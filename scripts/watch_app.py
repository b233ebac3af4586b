"""The web side of watching: the page, one WebSocket per viewer, and who may connect."""

import asyncio
import base64
import contextlib
import hashlib
import json
import re
from collections.abc import AsyncIterator, Iterator
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from dqnlab.types import UserError
from scripts import watch_controls
from scripts.watch_controls import Command
from scripts.watch_player import Player

_IN_FLIGHT = 3  # moments that a viewer may have without having said that it has seen them
_MAX_VIEWERS = 100


class Hub:
    """Hands the newest moment to every viewer. A slow one misses some; nobody waits for it."""

    def __init__(self) -> None:
        self._newest = b""
        self._news: set[asyncio.Event] = set()  # one per viewer
        self._loop: asyncio.AbstractEventLoop | None = None

    def publish(self, moment: bytes) -> None:
        """From any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just been closed
                self._loop.call_soon_threadsafe(self._set, moment)

    def _set(self, moment: bytes) -> None:
        self._newest = moment
        for news in self._news:
            news.set()

    def __len__(self) -> int:
        return len(self._news)

    @contextlib.contextmanager
    def watching(self) -> Iterator[asyncio.Event]:
        """The event of a viewer, set whenever there is something new."""
        self._loop = asyncio.get_running_loop()
        news = asyncio.Event()
        self._news.add(news)
        try:
            yield news
        finally:
            self._news.discard(news)

    async def send(self, socket: WebSocket, news: asyncio.Event, seen: asyncio.Semaphore) -> None:
        """Keep sending the newest moment to one viewer."""
        while True:
            await seen.acquire()
            await news.wait()
            news.clear()
            await socket.send_bytes(self._newest)


def make(
    hub: Hub,
    info: dict[str, Any],
    player: Player,
    hosts: set[str],
) -> ASGIApp:
    """The app.

    Args:
      info: what each viewer is told first.
      player: obeys the viewers' commands.
      hosts: names under which a browser may know this server.
    """
    page = resources.files("scripts").joinpath("watch.html").read_text(encoding="utf-8")
    headers = security_headers(page)

    async def index(request: Request) -> Response:
        return HTMLResponse(page, headers=headers)

    async def watch(socket: WebSocket) -> None:
        if len(hub) >= _MAX_VIEWERS:
            await socket.close(1013, "too many viewers")
            return
        await socket.accept()
        await socket.send_text(json.dumps({"info": info}))
        seen = asyncio.Semaphore(_IN_FLIGHT)
        with hub.watching() as news:
            player.send(Command("viewers", len(hub)))
            sender = asyncio.create_task(hub.send(socket, news, seen))
            try:
                async for text in _messages(socket):
                    if text == "seen":
                        seen.release()
                        continue
                    try:
                        player.send(watch_controls.parse(text, info))
                    except UserError as error:
                        await socket.send_text(json.dumps({"error": str(error)}))
            finally:
                sender.cancel()
                with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, OSError):
                    await sender
        player.send(Command("viewers", len(hub)))

    app = Starlette(routes=[Route("/", index), WebSocketRoute("/watch", watch)])
    return _OwnPagesOnly(app, hosts)


async def _messages(socket: WebSocket) -> AsyncIterator[str]:
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        yield message.get("text") or ""


def security_headers(page: str) -> dict[str, str]:
    """Nothing but the page's own script and style runs, and it talks to this server only."""

    def hashes(tag: str) -> str:
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digests = [hashlib.sha256(text.encode()).digest() for text in found]
        return " ".join(f"'sha256-{base64.b64encode(each).decode()}'" for each in digests)

    policy = {
        "default-src": "'none'",
        "script-src": hashes("script"),
        "style-src": hashes("style"),
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "content-security-policy": "; ".join(f"{key} {value}" for key, value in policy.items()),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
    }


class _OwnPagesOnly:
    """Refuses requests under foreign names (DNS rebinding) and from other sites' pages."""

    def __init__(self, app: ASGIApp, hosts: set[str]):
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and not self._is_ours(scope):
            if scope["type"] == "http":
                answer = PlainTextResponse("this server does not know that host or origin", 403)
                await answer(scope, receive, send)
            else:  # refused before it is accepted: the browser sees 403
                await receive()
                await send({"type": "websocket.close", "code": 1008})
            return
        await self._app(scope, receive, send)

    def _is_ours(self, scope: Scope) -> bool:
        found: dict[bytes, list[bytes]] = {b"host": [], b"origin": []}
        for name, value in scope["headers"]:
            if name in found:
                found[name].append(value)
        if len(found[b"host"]) != 1 or len(found[b"origin"]) > 1:
            return False
        host = found[b"host"][0].decode("latin1").lower()
        name = re.sub(r":\d+$", "", host).removeprefix("[").removesuffix("]")
        if name not in self._hosts:
            return False
        # Browsers always say where a WebSocket comes from; other programs need not.
        origins = [each.decode("latin1").lower() for each in found[b"origin"]]
        return all(origin in (f"http://{host}", f"https://{host}") for origin in origins)
