"""What the browser asks of the viewer.

    /view/screen/one/a.ome.zarr                   the page of an image, or of a plate with its wells
    /view/...a.ome.zarr?field=A/1/0               one field of a plate
    /view/...?tile=2,0,512&channels=0:0000FF:90:4000&labels=nuclei&t=3     a picture of 512 x 512 pixels

Tiles are rendered by one thread, one at a time: the memory is that of one tile, however many are asked for.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from html import escape
from importlib.resources import files
from pathlib import Path
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse, JSONResponse, Response

from cytopipe.errors import CytopipeError
from cytopipe.serve.fence import Receive, Scope, Send
from cytopipe.serve.output_root import open_below
from cytopipe.serve.page import message_page
from cytopipe.serve.problem import MEDIA_TYPE, problem
from cytopipe.serve.viewer.pyramid import TILE_PX, Channel, Pyramid, fields_of, open_pyramid
from cytopipe.serve.viewer.tiles import render_small, render_tile
from cytopipe.views.policy import policy_digest

__all__ = ["PREFIX", "Viewer"]

PREFIX = "/view/"

_OPEN = 64  # images kept open
_TILE = re.compile(r"([0-9]{1,2}),([0-9]{1,7}),([0-9]{1,7})")
_NUMBER = r"(-?[0-9.]{1,24}(?:e[+-]?[0-9]{1,3})?)"
_CHANNEL = re.compile(rf"([0-9]{{1,4}}):([0-9A-Fa-f]{{6}}):{_NUMBER}:{_NUMBER}")
_FIELD = re.compile(r"[A-Za-z0-9]{1,32}/[A-Za-z0-9]{1,32}/[A-Za-z0-9]{1,32}")


def _resource(name: str) -> str:
    return files("cytopipe.serve.viewer").joinpath(name).read_text(encoding="utf-8")


_SCRIPT, _STYLE = _resource("viewer.js"), _resource("viewer.css")


_POLICY = (
    f"default-src 'none'; img-src 'self'; script-src '{policy_digest(_SCRIPT)}'; "
    f"style-src '{policy_digest(_STYLE)}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Viewer:
    """An ASGI application that shows images below a folder, under ``/view/``.

    Parameters
    ----------
    root : Path
        The folder; nothing outside it is opened.
    site : str
        What the project is called, for the head of the pages.
    """

    def __init__(self, root: Path, site: str) -> None:
        self.root, self.site = root, site
        self._renderer = ThreadPoolExecutor(1, thread_name_prefix="viewer")
        self._opened: OrderedDict[tuple, Pyramid] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            answer: Response = Response("Images are only read.\n", 405, {"allow": "GET, HEAD"})
        else:
            running = asyncio.get_running_loop()
            answer = await running.run_in_executor(self._renderer, self._answer, scope)
        await answer(scope, receive, send)

    def _answer(self, scope: Scope) -> Response:
        path = scope["path"].removeprefix(PREFIX).removesuffix("/")
        query = {
            name: values[0]
            for name, values in parse_qs(scope.get("query_string", b"").decode("latin-1")).items()
        }
        real = self._located(path)
        if real is None:
            return message_page("No such image", path, site=self.site, status=404)
        try:
            field, name = query.get("field", ""), path.rpartition("/")[2]
            fields = fields_of(real)
            if fields and not field:
                return self._page(path, name, {"fields": fields})
            if field and (not _FIELD.fullmatch(field) or field not in fields):
                return message_page("No such field", field, site=self.site, status=404)
            pyramid = self._pyramid(real / field if field else real)
            if "tile" in query:
                return self._tile(scope["path"], pyramid, query)
            if "small" in query:
                return _picture(render_small(pyramid))
            return self._page(path, f"{name} {field}".strip(), _told(pyramid, field))
        except CytopipeError as error:
            return message_page("This image cannot be shown", str(error), site=self.site, status=422)

    def _located(self, path: str) -> Path | None:
        opened = open_below(self.root, path)
        if opened is None:
            return None
        os.close(opened[0])
        return opened[2]

    def _pyramid(self, path: Path) -> Pyramid:
        state = path.stat()
        key = (str(path), state.st_ino, state.st_mtime_ns)
        if key not in self._opened:
            self._opened[key] = open_pyramid(path)
            while len(self._opened) > _OPEN:
                self._opened.popitem(last=False)
        self._opened.move_to_end(key)
        return self._opened[key]

    def _tile(self, path: str, pyramid: Pyramid, query: dict[str, str]) -> Response:
        tile = _TILE.fullmatch(query["tile"])
        channels = [one for one in query.get("channels", "").split(",") if one]
        labels = [one for one in query.get("labels", "").split(",") if one]
        found = [_CHANNEL.fullmatch(one) for one in channels]
        try:
            if not tile or not all(found):
                raise ValueError("expected tile=LEVEL,ROW,COLUMN and channels=NUMBER:COLOUR:START:END")
            level, top, left = map(int, tile.groups())
            shown = {int(one[1]): Channel("", one[2], float(one[3]), float(one[4])) for one in found if one}
            height, width = pyramid.shape_of(level) if level < len(pyramid.levels) else (0, 0)
            if not (top < height and left < width) or max(shown, default=0) >= pyramid.levels[0].n_channels:
                raise ValueError("there is no such piece of the image")
            if any(one.end <= one.start for one in shown.values()):
                raise ValueError("a window must end above its start")
            if set(labels) - set(pyramid.levels[0].labels):
                raise ValueError("there is no such label image")
            where = {
                axis: int(query[axis.lower()]) for axis in "TZ" if query.get(axis.lower(), "").isdecimal()
            }
        except ValueError as error:
            return JSONResponse(problem(422, str(error), path), 422, media_type=MEDIA_TYPE)
        return _picture(render_tile(pyramid, level, top, left, shown, labels, where))

    def _page(self, path: str, title: str, told: dict[str, object]) -> HTMLResponse:
        data = json.dumps({"tile_px": TILE_PX, **told}).replace("<", "\\u003c")
        folder = path.rpartition("/")[0]
        page = (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<style>{_STYLE}</style></head><body><header><b>{escape(title)}</b>"
            f'<span id="place">{escape(folder)}</span></header>'
            '<aside id="controls"></aside><main id="stage"></main>'
            f'<script type="application/json" id="told">{data}</script>'
            f"<script>{_SCRIPT}</script></body></html>"
        )
        headers = {"content-security-policy": _POLICY, "cache-control": "no-store"}
        return HTMLResponse(page.encode("utf-8", "replace"), headers=headers)


def _picture(png: bytes) -> Response:
    return Response(png, media_type="image/png", headers={"cache-control": "private, max-age=60"})


def _told(pyramid: Pyramid, field: str) -> dict[str, object]:
    finest = pyramid.levels[0]
    return {
        "field": field,
        "levels": [pyramid.shape_of(level) for level in range(len(pyramid.levels))],
        "channels": [] if finest.is_labels else [vars(one) for one in pyramid.channels],
        "labels": list(finest.labels),
        "sizes": {axis.lower(): finest.size(axis) for axis in "TZ" if finest.size(axis) > 1},
        "pixel_size_um": finest.pixel_size_um,
        "integer": finest.dtype.kind in "iu",
    }
