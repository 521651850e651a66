"""The application and the server.

In come a results root and the hosts a client may call it by; out comes an ASGI application, or a server on
loopback that runs until it is stopped. What must hold: nothing is written; a page that another site opened
in the same browser cannot reach it under a foreign name (DNS rebinding); no script comes from elsewhere.
"""

from __future__ import annotations

import html
import ipaddress
import json
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from cytopipe import __version__
from cytopipe.atlas.api.problems import MEDIA_TYPE, add_problem_handlers, problem_body
from cytopipe.atlas.api.routes import router
from cytopipe.atlas.catalogue import Catalogue
from cytopipe.errors import InputError, ParameterError

__all__ = ["LOOPBACK_HOSTS", "create_app", "serve"]

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
CONCURRENT_REQUESTS = 64


def create_app(results_root: str | Path, *, allowed_hosts: tuple[str, ...] = LOOPBACK_HOSTS) -> FastAPI:
    """The read-only API over the results under `results_root`.

    Parameters
    ----------
    results_root : path
        As :class:`cytopipe.atlas.catalogue.Catalogue` describes it.
    allowed_hosts : tuple of str
        Names (without port) a request may call this server by.

    Returns
    -------
    fastapi.FastAPI

    Raises
    ------
    InputError
        If there is no such directory.

    Examples
    --------
    >>> app = create_app("results")  # doctest: +SKIP
    """
    root = Path(results_root)
    if not root.is_dir():
        raise InputError(
            "there are no results",
            where=str(root),
            expected="a directory with {atlas}/pseudobulk in it",
            next="Name the output root of the atlas runs.",
        )
    app = FastAPI(
        title="cytopipe atlas",
        version=__version__,
        summary="Pseudobulk, activity and validation of single-cell atlases, read-only.",
        docs_url=None,  # the usual pages load scripts from elsewhere; `/` lists the routes without any
        redoc_url=None,
    )
    app.state.catalogue = Catalogue(root)
    add_problem_handlers(app, root)
    app.include_router(router)
    app.add_api_route("/", _index_of(app), response_class=HTMLResponse, include_in_schema=False)
    app.add_middleware(_Fence, allowed_hosts=frozenset(host.lower() for host in allowed_hosts))
    return app


def serve(results_root: str | Path, *, host: str = "127.0.0.1", port: int = 8787) -> None:
    """Serve the API until interrupted.

    Raises
    ------
    ParameterError
        If `host` is not loopback: who may see results is the business of a proxy in front.
    """
    import uvicorn

    if not _is_loopback(host):
        raise ParameterError(
            "the API is served on loopback only",
            where="host",
            expected="127.0.0.1, ::1 or localhost",
            found=host,
            next="Forward the port (ssh -L), or put a proxy with authentication in front.",
        )
    if not 0 <= port <= 65535:
        raise ParameterError("no such port", where="port", expected="0 to 65535", found=str(port))
    uvicorn.run(
        create_app(results_root),
        host=host,
        port=port,
        limit_concurrency=CONCURRENT_REQUESTS,
        server_header=False,
        log_level="warning",
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Fence:
    """Lets a request in if it calls this server by an allowed name, and says how its answer may be used."""

    def __init__(self, app, allowed_hosts: frozenset[str]) -> None:
        self.app = app
        self.allowed = allowed_hosts

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        hosts = [value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or _name_of(hosts[0]) not in self.allowed:
            await _refuse(scope, send)
            return

        async def send_guarded(message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        await self.app(scope, receive, send_guarded)


_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    (b"cache-control", b"no-cache"),
    (b"referrer-policy", b"no-referrer"),
)


def _name_of(host: str) -> str:
    """A Host header without its port; an IPv6 address keeps its brackets."""
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.partition(":")[0]


async def _refuse(scope, send) -> None:
    body = json.dumps(
        problem_body(400, "this server is not called by that Host name", scope["path"])
    ).encode()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        *_HEADERS,
    ]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _index_of(app: FastAPI):
    def index() -> str:
        """Every route with its first sentence, as a page without scripts."""
        rows = [
            f"<tr><td><code>{html.escape(path)}</code></td><td>{html.escape(verbs['get']['description'])}</td></tr>"
            for path, verbs in app.openapi()["paths"].items()
        ]
        return (
            "<!doctype html><html lang='en'><meta charset='utf-8'><title>cytopipe atlas</title>"
            "<style>body{font:16px system-ui;margin:2rem;max-width:70rem}td{padding:.3rem 1rem .3rem 0;"
            "vertical-align:top}</style><h1>cytopipe atlas</h1><p>Read-only results of atlases. "
            "The whole contract: <a href='/openapi.json'>openapi.json</a>.</p>"
            f"<table>{''.join(rows)}</table></html>"
        )

    return index
