"""The fence: which requests may reach a server of ours. The same class stands before every one of them.

Dagster's web server has no authentication. It executes a mutation that is asked by plain GET, or by a form,
so a page of any site that the user visits could change the project. The fence therefore decides on the
request as the application behind it will see it, after percent-decoding:

1. Host must be a name of this server (against DNS rebinding).
2. Origin, where there is one, must be this server; a web socket must have one.
3. Another site may link to us. It may not include, fetch or frame anything of ours.
4. Changes are asked by POST, with ``Content-Type: application/json`` and a stated, bounded length. A browser
   sends such a request to another site only after asking that site, and the answer is no.
5. GET on a GraphQL path has no query string at all, so it can carry no operation in any spelling.
6. Where a token is set, the request must carry it: in a cookie, or as ``Authorization: Bearer``.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode

from cytopipe.serve.problem import MEDIA_TYPE, problem

__all__ = ["LARGEST_BODY_BYTES", "App", "Fence", "hosts_of"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LARGEST_BODY_BYTES = 16 << 20
"""A backfill of 100,000 partitions is posted in 3 MB."""

_GRAPHQL = "graphql"
_SINGLE = ("host", "origin", "content-type", "content-length", "authorization", "sec-fetch-site")
_PORT = re.compile(r":[0-9]{1,5}\Z")
_PATH_CHARACTERS = "/-._~!$&'()*+,;=:@"  # of RFC 3986; a backslash is none of them
_ADDED_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",
}


def hosts_of(port: int | None, names: tuple[str, ...] = ()) -> frozenset[str]:
    """The values of a Host header that mean a server on loopback.

    Parameters
    ----------
    port : int or None
        Its port; None takes any (``localhost:*``), for a server that may be forwarded to other ports.
    names : tuple of str
        Names under which a reverse proxy shows the server.
    """
    loopback = ("127.0.0.1", "localhost", "[::1]")
    end = "*" if port is None else str(port)
    return frozenset({f"{name.lower()}:{end}" for name in (*loopback, *names)} | {*map(str.lower, names)})


class Fence:
    """An ASGI application that lets through to `app` what may pass.

    Parameters
    ----------
    app : ASGI application
    hosts : frozenset of str
        Host headers that mean this server; see :func:`hosts_of`.
    token : str, optional
        A secret that every request must carry. It is taken once from the address (``?token=``) into a cookie.
    post_paths : tuple of str, optional
        Paths that may be posted to; None means all, an empty tuple none.
    content_policy : str, optional
        Content-Security-Policy of answers that have none of their own.
    """

    def __init__(
        self,
        app: App,
        *,
        hosts: frozenset[str],
        token: str = "",
        post_paths: tuple[str, ...] | None = None,
        content_policy: str = "",
    ) -> None:
        self.app = app
        self.hosts = hosts
        self.origins = frozenset().union(*map(_origins_of, hosts))
        self.token = token
        # Cookies know no ports: two servers of one host must not overwrite each other's.
        self.cookie = f"cytopipe_{hashlib.sha256(token.encode()).hexdigest()[:8]}"
        self.post_paths = post_paths
        self.methods = ("GET", "HEAD") if post_paths == () else ("GET", "HEAD", "POST")
        self.added = _ADDED_HEADERS | ({"content-security-policy": content_policy} if content_policy else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] == "http":
            send = self._with_headers(send)
        headers = _headers(scope)
        if refusal := self._refusal(scope, headers):
            await self._refuse(scope, headers, receive, send, *refusal)
        elif self.token and not self._known(headers):
            await self._ask_for_token(scope, headers, receive, send)
        else:
            await self.app(scope, receive, send)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """Status and reason for turning a request away; None if it may pass."""
        host = headers.get("host", "").lower()
        if not self._is_ours(host):
            return 421, "This server does not answer to that host name."
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in self.origins | _origins_of(host):
            return 403, "Requests from other sites are refused."
        from_us = headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
        if scope["type"] == "websocket":
            if origin is None or not from_us:
                return 403, "A web socket must come from a page of this server."
            return None
        if scope["method"] in ("GET", "HEAD"):
            return self._refusal_of_get(scope, headers, from_us)
        if scope["method"] not in self.methods:
            return 405, f"Only {', '.join(self.methods)} are understood."
        if not from_us:
            return 403, "Requests from other sites are refused."
        return self._refusal_of_post(scope, headers)

    def _is_ours(self, host: str) -> bool:
        return host in self.hosts or _PORT.sub("", host) + ":*" in self.hosts

    def _refusal_of_get(self, scope: Scope, headers: dict[str, str], from_us: bool) -> tuple[int, str] | None:
        if not from_us and headers.get("sec-fetch-mode") != "navigate":
            return 403, "Another site may link to this one, and include nothing of it."
        if scope.get("query_string") and _GRAPHQL in _segments(scope["path"]):
            return 405, "GraphQL is asked by POST."
        return None

    def _refusal_of_post(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        if headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            return 415, "Only JSON may be posted."
        length = headers.get("content-length", "")
        if not (length.isascii() and length.isdigit()):
            return 411, "The length of the body must be stated."
        if len(length) > 12 or int(length) > LARGEST_BODY_BYTES:
            return 413, f"At most {LARGEST_BODY_BYTES:,} bytes may be posted."
        if self.post_paths is not None and scope["path"].rstrip("/") not in self.post_paths:
            return 403, "This server is read-only."
        return None

    def _known(self, headers: dict[str, str]) -> bool:
        given = headers.get("authorization", "").removeprefix("Bearer ").strip()
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            cookie = None
        return self._equal(given) or (cookie is not None and self._equal(cookie.value))

    def _equal(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())

    async def _ask_for_token(
        self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send
    ) -> None:
        """Take the token from the address into a cookie, or say that one is needed."""
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        given = query.pop("token", [""])[0]
        if scope["type"] != "http" or scope["method"] != "GET" or not self._equal(given):
            reason = "Open the address that the command printed: it has the token."
            await self._refuse(scope, headers, receive, send, 401, reason)
            return
        location = _path_of_this_site(scope["path"]) + (f"?{urlencode(query, doseq=True)}" if query else "")
        cookie = f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/"
        await _respond(
            send, 303, b"", {"location": location, "set-cookie": cookie, "cache-control": "no-store"}
        )

    async def _refuse(
        self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send, status: int, reason: str
    ) -> None:
        """A person with a browser gets the sentence, a program a problem."""
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": reason})
            return
        extra = {"cache-control": "no-store"} | ({"allow": ", ".join(self.methods)} if status == 405 else {})
        if "text/html" in headers.get("accept", ""):
            await _respond(send, status, f"{reason}\n".encode(), extra)
        else:
            body = json.dumps(problem(status, reason, scope["path"])).encode()
            await _respond(send, status, body, {"content-type": MEDIA_TYPE, **extra})

    def _with_headers(self, send: Send) -> Send:
        """`send`, with the headers added that an answer does not have."""

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                names = {bytes(name).lower() for name, _ in given}
                given += [
                    (name.encode(), value.encode())
                    for name, value in self.added.items()
                    if name.encode() not in names
                ]
                message = {**message, "headers": given}
            await send(message)

        return send_more


def _origins_of(host: str) -> frozenset[str]:
    return frozenset({f"http://{host}", f"https://{host}"})


def _segments(path: str) -> set[str]:
    """The parts of a path in lower case, without parameters, however it was encoded."""
    plain = unquote(unquote(path)).replace("\\", "/").lower()
    return {part.partition(";")[0].strip() for part in plain.split("/")}


def _path_of_this_site(path: str) -> str:
    """A path for a redirect: to a browser, ``//elsewhere`` and ``/\\elsewhere`` would be other sites."""
    return "/" + quote(path.lstrip("/"), safe=_PATH_CHARACTERS, errors="replace")


def _headers(scope: Scope) -> dict[str, str]:
    """Header names to values; a header that decides and is given twice gets a value that passes nowhere."""
    found: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name in found and name in _SINGLE:
            value = "\x00twice"
        elif name in found:
            value = f"{found[name]}; {value}" if name == "cookie" else f"{found[name]}, {value}"
        found[name] = value
    return found


async def _respond(send: Send, status: int, body: bytes, headers: dict[str, str]) -> None:
    given = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(body)), **headers}
    listed = [(name.encode(), value.encode()) for name, value in given.items()]
    await send({"type": "http.response.start", "status": status, "headers": listed})
    await send({"type": "http.response.body", "body": body})
