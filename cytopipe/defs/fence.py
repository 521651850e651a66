"""The fence before the web interface: who may speak to it, and how.

Dagster's web server has no authentication, and a page of any site that the user visits could change state
in it (a mutation by plain GET from a foreign origin succeeds; so does a form). Here a request must name
this server as its host, come from no foreign origin, and change things only by POST of JSON; where a
token is set, it must be known. DNS rebinding fails at the host, cross-site requests at origin and form.
Files of the output root are shown under ``/artifacts``, and of nothing else.

    request                         needs
    any                             Host one of ours
    with Origin, or a web socket    Origin one of ours
    other than GET, HEAD            POST, Content-Type application/json, no foreign Sec-Fetch-Site
    GET /graphql                    no query in it
    with a token set                cookie, or Authorization: Bearer, compared in constant time
"""

from __future__ import annotations

import asyncio
import hmac
import io
import mimetypes
import os
import stat
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qs, urlencode

__all__ = ["Fence", "allowed_hosts"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_COOKIE = "cytopipe_token"
_ARTIFACTS = "/artifacts/"
_SHOWN = {
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".html": "text/html; charset=utf-8",
}
_AS_TEXT = {".tsv", ".csv", ".txt", ".fasta", ".fa", ".uc", ".log", ".md", ".spart", ".yaml"}
_CHUNK_BYTES = 1 << 18
# An artifact may hold a script (SVG, HTML): it is shown, and may not act.
_MAY_NOT_ACT = "sandbox; default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'"
_WIDEST_PX = 2000
_MOST_PIXELS = 100_000_000


def allowed_hosts(port: int, names: tuple[str, ...] = ()) -> frozenset[str]:
    """The values of a Host header that mean this server: loopback names, and `names` a proxy may use."""
    loopback = ("127.0.0.1", "localhost", "[::1]")
    return frozenset({f"{name}:{port}" for name in (*loopback, *names)} | set(names))


class Fence:
    """An ASGI application that lets through to `app` what may pass.

    Parameters
    ----------
    app : ASGI application
        The web interface.
    hosts : frozenset of str
        Host headers that mean this server; see :func:`allowed_hosts`.
    output : Path
        The output root, shown under ``/artifacts``.
    token : str, optional
        A secret that every request must carry; asked for once in the address (``?token=``), then a cookie.
    read_only : bool
        Refuse everything that is not a question.
    """

    def __init__(
        self, app: App, *, hosts: frozenset[str], output: Path, token: str = "", read_only: bool = False
    ) -> None:
        self.app = app
        self.hosts = hosts
        self.origins = frozenset(f"{scheme}://{host}" for host in hosts for scheme in ("http", "https"))
        self.output = output
        self.token = token
        self.read_only = read_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = _headers(scope)
        if refusal := self._refusal(scope, headers):
            await _refuse(scope, receive, send, *refusal)
            return
        if self.token and not self._known(headers):
            await self._ask(scope, receive, send)
            return
        if scope["type"] == "http" and scope["path"].startswith(_ARTIFACTS):
            await self._show(scope, send)
            return
        await self.app(scope, receive, send)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """Status and reason for turning a request away; None if it may pass."""
        if headers.get("host", "").lower() not in self.hosts:
            return 421, "This server does not answer to that host name."
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in self.origins:
            return 403, "Requests from other sites are refused."
        if scope["type"] == "websocket":
            return None if origin is not None else (403, "A web socket must say where it comes from.")
        method, path = scope["method"], scope["path"]
        if method in ("GET", "HEAD"):
            if path.rstrip("/").endswith("/graphql") and b"query" in scope.get("query_string", b""):
                return 405, "GraphQL is asked by POST."
            return None
        if method != "POST":
            return 405, "Only GET, HEAD and POST are understood."
        if headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            return 415, "Only JSON may be posted."
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return 403, "Requests from other sites are refused."
        if self.read_only and not path.rstrip("/").endswith("/graphql"):
            return 403, "This server is read-only."
        return None

    def _known(self, headers: dict[str, str]) -> bool:
        given = headers.get("authorization", "").removeprefix("Bearer ").strip()
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(_COOKIE)
        except CookieError:
            cookie = None
        return self._equal(given) or (cookie is not None and self._equal(cookie.value))

    def _equal(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())

    async def _ask(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take the token from the address into a cookie, or say that one is needed."""
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        given = query.pop("token", [""])[0]
        if scope["type"] != "http" or scope["method"] != "GET" or not self._equal(given):
            await _refuse(scope, receive, send, 401, "Open the address that `cytopipe ui` printed.")
            return
        rest = urlencode(query, doseq=True)
        # Only the path goes back, with one slash: '//elsewhere' would be another site.
        location = "/" + scope["path"].lstrip("/") + (f"?{rest}" if rest else "")
        cookie = f"{_COOKIE}={self.token}; HttpOnly; SameSite=Strict; Path=/"
        await _respond(
            send, 303, b"", {"location": location, "set-cookie": cookie, "cache-control": "no-store"}
        )

    async def _show(self, scope: Scope, send: Send) -> None:
        """Send a file of the output root, as something that cannot run."""
        if scope["method"] == "POST":
            await _respond(send, 405, b"Artifacts are only read.\n")
            return
        file = _regular_file_below(self.output, scope["path"].removeprefix(_ARTIFACTS))
        if file is None:
            await _respond(send, 404, b"No such artifact.\n")
            return
        if width := _width_wanted(scope):
            with os.fdopen(file, "rb") as stream:
                small = await asyncio.to_thread(_narrowed, stream, width)
            if small is None:
                await _respond(send, 415, b"No picture that can be made smaller.\n")
            else:
                await _respond(send, 200, small, {"content-type": "image/png", "cache-control": "no-cache"})
            return
        with os.fdopen(file, "rb") as stream:
            size = os.fstat(file).st_size
            headers = _artifact_headers(scope["path"], size)
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body", "body": b""})
                return
            left = size
            while left > 0 and (piece := stream.read(min(_CHUNK_BYTES, left))):
                left -= len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": left > 0})
            if left > 0 or size == 0:
                await send({"type": "http.response.body", "body": b""})


def _regular_file_below(root: Path, relative: str) -> int | None:
    """A descriptor of a regular file below `root`, or None: no hidden names, no way out through a link."""
    parts = relative.split("/")
    if (
        not relative
        or "\x00" in relative
        or any(part in ("", ".", "..") or part.startswith(".") for part in parts)
    ):
        return None
    try:
        base = root.resolve(strict=True)
        path = root.joinpath(*parts).resolve(strict=True)
        if not path.is_relative_to(base):
            return None
        # O_NONBLOCK: opening a pipe that nobody writes to would otherwise wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return descriptor


def _width_wanted(scope: Scope) -> int | None:
    """The ``width`` of the query, in pixels: pictures are shown beside metadata smaller than they are."""
    given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("width", [""])[0]
    return min(int(given), _WIDEST_PX) if given.isascii() and given.isdigit() and int(given) > 0 else None


def _narrowed(stream: BinaryIO, width: int) -> bytes | None:
    """A PNG picture at most `width` pixels wide; None where the file is none, or unreasonably large."""
    from PIL import Image

    try:
        with Image.open(stream, formats=["PNG"]) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                return None
            picture.thumbnail((width, picture.height))
            shrunk = io.BytesIO()
            picture.save(shrunk, "PNG")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return shrunk.getvalue()


def _artifact_headers(path: str, size: int) -> list[tuple[bytes, bytes]]:
    ending = Path(path).suffix.lower()
    kind = _SHOWN.get(ending) or ("text/plain; charset=utf-8" if ending in _AS_TEXT else None)
    headers = {
        "content-type": kind or mimetypes.types_map.get(ending, "application/octet-stream"),
        "content-length": str(size),
        "x-content-type-options": "nosniff",
        "content-security-policy": _MAY_NOT_ACT,
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-cache",
    }
    if kind is None:
        headers["content-disposition"] = "attachment"
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def _headers(scope: Scope) -> dict[str, str]:
    """Header names to values; of a header given twice, nothing that would pass."""
    found: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name in found and name in ("host", "origin", "content-type", "authorization"):
            value = "\x00twice"
        elif name in found:
            value = f"{found[name]}; {value}" if name == "cookie" else f"{found[name]}, {value}"
        found[name] = value
    return found


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, reason: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": reason})
        return
    await _respond(send, status, f"{reason}\n".encode())


async def _respond(send: Send, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    given = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(body)), **(headers or {})}
    listed = [(name.encode(), value.encode()) for name, value in given.items()]
    await send({"type": "http.response.start", "status": status, "headers": listed})
    await send({"type": "http.response.body", "body": body})
