"""An ASGI app on one socket: who may listen where, deadlines for slow clients, a clean end."""

import asyncio
import contextlib
import socket
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from dqnlab.types import UserError

HEADER_SECONDS = 10.0
_MAX_CONNECTIONS = 500
_MAX_HEADER_BYTES = 16_384


class Protocol(H11Protocol):
    """uvicorn's, which also hangs up on clients that take too long to send a request's header."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:  # noqa: D102 (asyncio.Protocol's)
        super().connection_made(transport)
        self._arm()

    def data_received(self, data: bytes) -> None:  # noqa: D102
        super().data_received(data)
        # IDLE: the header is not complete. The body's deadline is the app's.
        if self.conn.their_state is h11.IDLE:
            self._arm()
        else:
            self._disarm()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        self._disarm()
        super().connection_lost(exc)

    def _arm(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is any free one.

    Raises UserError where the port is taken, out of range or not allowed, or the host not ours.
    """
    if not 0 <= port <= 65_535:
        raise UserError(f"--port is {port}; it must be within 0 .. 65535 (0: any free one)")
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.create_server(address[:2], family=family, backlog=128)
        # Accepted connections inherit it; asyncio sets it only where a socket names its protocol.
        # Without it an answer's body waits 40 ms for the headers to be acknowledged.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot listen on {host} port {port}: {reason}; see --port") from error


def url(listening: socket.socket) -> str:
    """Where a browser finds it."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def make(app: Any) -> uvicorn.Server:
    """The server of an app, for `run`; setting its `should_exit` ends it."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=Protocol,
            ws="websockets-sansio",
            ws_max_size=4096,  # viewers send commands of a few bytes
            ws_per_message_deflate=False,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MAX_CONNECTIONS,
            h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
            timeout_graceful_shutdown=2,
        )
    )


def run(server: uvicorn.Server, listening: socket.socket) -> None:
    """Serve until Ctrl-C, which ends it cleanly, or SIGTERM, whose code the process ends with."""
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
