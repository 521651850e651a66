"""The application over a results root, and the server of it.

Nothing is written. The fence of the web UI stands before it, too (see `cytopipe.serve.fence`); no path can be
posted to.
"""

from __future__ import annotations

import html
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from cytopipe import __version__
from cytopipe.atlas.catalogue import Catalogue
from cytopipe.errors import InputError
from cytopipe.serve.atlas_api.problems import add_problem_handlers
from cytopipe.serve.atlas_api.routes import router
from cytopipe.serve.fence import Fence, hosts_of
from cytopipe.serve.listener import server_of

__all__ = ["create_app", "serve"]

_CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


def create_app(results_root: str | Path) -> Fence:
    """The read-only API over the results under `results_root`, behind the fence.

    Parameters
    ----------
    results_root : path
        As :class:`cytopipe.atlas.catalogue.Catalogue` describes it.

    Returns
    -------
    Fence
        An ASGI application.

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
    return Fence(app, hosts=hosts_of(None), post_paths=(), content_policy=_CONTENT_POLICY)


def serve(results_root: str | Path, *, host: str = "127.0.0.1", port: int = 8787) -> None:
    """Serve the API until interrupted.

    Raises
    ------
    ParameterError
        If `host` is not loopback: who may see results is the business of a proxy in front.
    """
    server_of(create_app(results_root), host=host, port=port).run()


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
