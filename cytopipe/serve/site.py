"""The addresses of the web UI: our own pages, and Dagster's application for all the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from starlette.responses import RedirectResponse, Response

from cytopipe.serve.artifacts import PREFIX, Artifacts
from cytopipe.serve.fence import App, Receive, Scope, Send
from cytopipe.serve.project_state import ProjectState
from cytopipe.serve.start_page import start_page
from cytopipe.serve.viewer import PREFIX as VIEW
from cytopipe.serve.viewer import Viewer

__all__ = ["Site"]

START = "/start"


class Site:
    """An ASGI application: ``/start``, ``/artifacts/``, ``/view/``, and `dagster` for every other address.

    Parameters
    ----------
    dagster : ASGI application
    output : Path
        The output root of the project.
    name : str
        What the project is called.
    read_state : callable
        Tells what the project holds; called in a thread.
    """

    def __init__(
        self, dagster: App, *, output: Path, name: str, read_state: Callable[[], ProjectState]
    ) -> None:
        self.dagster = dagster
        self.artifacts = Artifacts(output, f"cytopipe · {name}")
        self.viewer = Viewer(output, f"cytopipe · {name}")
        self.read_state = read_state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http":
            await self.dagster(scope, receive, send)
        elif path.startswith(PREFIX):
            await self.artifacts(scope, receive, send)
        elif path.startswith(VIEW):
            await self.viewer(scope, receive, send)
        elif scope["method"] in ("GET", "HEAD") and path in ("/", PREFIX.rstrip("/"), START):
            answer = await self._own(path)
            await answer(scope, receive, send)
        else:
            await self.dagster(scope, receive, send)

    async def _own(self, path: str) -> Response:
        if path != START:  # Dagster's own first page tells a newcomer nothing
            return RedirectResponse(START if path == "/" else PREFIX, 307)
        return start_page(await asyncio.to_thread(self.read_state))
