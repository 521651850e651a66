"""The HTTP server: uvicorn on loopback, with limits on what a client may keep waiting.

uvicorn has no time-out for a request that is never finished, nor for an answer that is never read: 64 such
connections would lock out everybody else. Here

1. a request must be complete, head and body, `REQUEST_S` after its connection was free for it;
2. an answer that nobody reads for `UNREAD_S` is dropped;
3. when there are more than `MOST_CONNECTIONS`, the one that has waited longest for a request makes room.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from cytopipe.errors import ParameterError, UserError
from cytopipe.serve.fence import App

__all__ = ["LOOPBACK", "MOST_CONNECTIONS", "REQUEST_S", "UNREAD_S", "free_port", "server_of"]

LOOPBACK = "127.0.0.1"
REQUEST_S = 15.0
UNREAD_S = 300.0
MOST_CONNECTIONS = 128
_LARGEST_HEAD_BYTES = 64 << 10


def free_port(wanted: int | None) -> int:
    """`wanted` if it is free; without a wish, 3000 or the next free one.

    Raises
    ------
    UserError
        If `wanted` is taken.
    """
    for port in [wanted] if wanted else range(3000, 3100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    ports = f"port {wanted} is" if wanted else "ports 3000 to 3099 are"
    raise UserError(f"{ports} taken", where="--port", next="Name another, or leave it out.")


def server_of(app: App, *, host: str = LOOPBACK, port: int = 0) -> uvicorn.Server:
    """A server of `app`; its ``run()`` serves until it is told to stop.

    Raises
    ------
    ParameterError
        If `host` is not loopback, or there is no such port.
    """
    if not _is_loopback(host):
        raise ParameterError(
            "this server listens on loopback only",
            where="host",
            expected="127.0.0.1, ::1 or localhost",
            found=host,
            next="Forward the port (ssh -L), or put a proxy with authentication in front.",
        )
    if not 0 <= port <= 65535:
        raise ParameterError("no such port", where="port", expected="0 to 65535", found=str(port))
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=BoundedProtocol,
            limit_concurrency=2 * MOST_CONNECTIONS,
            h11_max_incomplete_event_size=_LARGEST_HEAD_BYTES,
            timeout_graceful_shutdown=5,
            server_header=False,
            access_log=False,
            log_level="error",
        )
    )


class BoundedProtocol(H11Protocol):
    """One connection of uvicorn's, with the three limits of this module."""

    request_timer: asyncio.TimerHandle | None = None
    unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._watch()
        self._make_room()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_timers()
        super().connection_lost(error)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.unread_timer is None:
            self.unread_timer = self.loop.call_later(UNREAD_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.unread_timer is not None:
            self.unread_timer.cancel()
            self.unread_timer = None

    def _watch(self) -> None:
        """Keep the timer running while a request is to come, and only then."""
        # A connection that became a web socket has left `connections`.
        waiting = self in self.connections and self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
        if waiting and self.request_timer is None:
            self.request_timer = self.loop.call_later(REQUEST_S, self.transport.abort)
        elif not waiting and self.request_timer is not None:
            self.request_timer.cancel()
            self.request_timer = None

    def _make_room(self) -> None:
        if len(self.connections) <= MOST_CONNECTIONS:
            return
        waiting = [
            one
            for one in self.connections
            if isinstance(one, BoundedProtocol) and one.request_timer is not None and one is not self
        ]
        if waiting:
            min(waiting, key=lambda one: one.request_timer.when()).transport.abort()

    def _stop_timers(self) -> None:
        for timer in (self.request_timer, self.unread_timer):
            if timer is not None:
                timer.cancel()
        self.request_timer = self.unread_timer = None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
