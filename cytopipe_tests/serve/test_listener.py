"""The HTTP server under clients that are slow, silent or many: over real sockets on loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from starlette.responses import PlainTextResponse, Response

from cytopipe.errors import ParameterError
from cytopipe.serve import listener
from cytopipe.serve.listener import MOST_CONNECTIONS, server_of

ASK = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
HALVES = {
    "nothing": b"",
    "half a line": b"GET / HT",
    "half a head": ASK[:-2],
    "half a body": POST + b"Content-Length: 100\r\n\r\n{",
    "half a chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nff\r\nab",
    "a second half": ASK + b"GET / HT",
}


async def answer(scope, receive, send) -> None:
    """Reads the body to its end, as every application does, and says that it did."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message.get("more_body", False)
    large = scope["path"] == "/large"
    response = Response(bytes(32 << 20)) if large else PlainTextResponse("whole")
    await response(scope, receive, send)


@contextlib.contextmanager
def listening(app=answer) -> Iterator[int]:
    """A server of ours on a free port; the port."""
    door = socket.create_server(("127.0.0.1", 0), backlog=512)
    server = server_of(app)
    server.config.lifespan = "off"
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, daemon=True)
    thread.start()
    yield door.getsockname()[1]
    server.should_exit = True
    thread.join(15)
    assert not thread.is_alive()


def connect(port: int, data: bytes = b"") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    client.sendall(data)
    return client


def answered(client: socket.socket) -> bool:
    """Whether a whole answer comes."""
    got = b""
    with contextlib.suppress(OSError):
        while not got.endswith(b"whole") and (piece := client.recv(65536)):
            got += piece
    return got.endswith(b"whole")


def ended(client: socket.socket) -> bool:
    """Whether the server has closed this connection, within the client's own patience."""
    try:
        while client.recv(1 << 20):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.fixture
def hasty(monkeypatch):
    """Limits of a second, so that the test is short."""
    monkeypatch.setattr(listener, "REQUEST_S", 1.0)
    monkeypatch.setattr(listener, "UNREAD_S", 1.0)


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES.keys())
def test_a_request_that_is_never_finished_ends(hasty, half):
    with listening() as port, connect(port, half) as client:
        began = time.monotonic()
        assert ended(client)
        assert time.monotonic() - began < 5


def test_a_byte_now_and_then_does_not_keep_a_request_alive(hasty):
    with listening() as port, connect(port, ASK[:-2]) as client:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - began < 8:
                client.sendall(b"X")
                time.sleep(0.1)
        assert time.monotonic() - began < 5


def test_an_answer_that_is_never_read_ends(hasty):
    with listening() as port, connect(port, ASK.replace(b"/ ", b"/large ", 1)) as client:
        time.sleep(3)
        got = 0
        with contextlib.suppress(ConnectionError):
            while piece := client.recv(1 << 20):
                got += len(piece)
        assert got < 32 << 20


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES.keys())
def test_half_sent_requests_lock_nobody_out(half):
    """Three times as many as there may be, and no time limit is reached meanwhile."""
    with listening() as port, contextlib.ExitStack() as stack:
        began = time.monotonic()
        for _ in range(3 * MOST_CONNECTIONS):
            stack.enter_context(connect(port, half))
        for _ in range(5):
            with connect(port, ASK) as client:
                assert answered(client)
        assert time.monotonic() - began < listener.REQUEST_S


def test_requests_sent_slowly_but_whole_are_answered():
    with listening() as port, connect(port) as client:
        for letter in ASK:
            client.sendall(bytes([letter]))
            time.sleep(0.005)
        assert answered(client)
        client.sendall(POST + b"Content-Length: 2\r\n\r\n{")
        time.sleep(0.2)
        client.sendall(b"}")  # on the same connection
        assert answered(client)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.org", "::"])
def test_only_loopback_is_served(host):
    with pytest.raises(ParameterError, match="loopback"):
        server_of(answer, host=host)
