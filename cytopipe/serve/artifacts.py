"""The output root in a browser, under ``/artifacts/``: folders as pages, files to look at or to download.

    /artifacts/decompose/meadow/           a page: pictures, files with sizes and dates, links
    /artifacts/decompose/meadow/?zip       the whole folder as one archive
    /artifacts/.../final.png?width=320     a small version of a picture
    /artifacts/.../cluster_001.fasta       shown as text;  with ?download saved under its name
    /artifacts/.../blood.h5ad              saved under its name

What an artifact holds (an SVG picture, a page of a report) is shown and may not act: nothing is loaded from
elsewhere, and no script runs but that of our own history pages, known by its digest, without rights of this
site.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from pathlib import Path
from urllib.parse import parse_qs, quote

from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from cytopipe.serve.fence import Receive, Scope, Send
from cytopipe.serve.folder_page import folder_page
from cytopipe.serve.output_root import list_folder, open_below
from cytopipe.serve.page import message_page
from cytopipe.serve.problem import MEDIA_TYPE, problem
from cytopipe.serve.thumbnails import WIDEST_PX, Thumbnails
from cytopipe.serve.zip_stream import zip_of_folder
from cytopipe.views.checkpoints.page import script_digest

__all__ = ["PREFIX", "Artifacts"]

PREFIX = "/artifacts/"

_SHOWN = {
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
    ".pdf": "application/pdf",
    ".json": "application/json",
    ".html": "text/html; charset=utf-8",
}
_AS_TEXT = {
    *(".fasta", ".fa", ".fastq", ".fq", ".tsv", ".csv", ".txt", ".uc", ".log", ".md", ".spart"),
    *(".yaml", ".yml", ".xml", ".nwk", ".newick"),
}
_LONGEST_TEXT_BYTES = 20 << 20  # a browser that shows more of it stands still
_BLOCK_BYTES = 1 << 18
_MAY_NOT_ACT = "sandbox; default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'"
_OWN_SCRIPT = _MAY_NOT_ACT.replace("sandbox;", "sandbox allow-scripts;") + "; script-src '{digest}'"


class Artifacts:
    """An ASGI application that shows the files below an output root.

    Parameters
    ----------
    root : Path
        The output root; it need not be there yet.
    site : str
        What the project is called, for the head of the pages.
    """

    def __init__(self, root: Path, site: str) -> None:
        self.root = root
        self.site = site
        self.thumbnails = Thumbnails()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            answer = Response("Artifacts are only read.\n", 405, {"allow": "GET, HEAD"})
        else:
            answer = await asyncio.to_thread(self._answer, scope)
        await answer(scope, receive, send)

    def _answer(self, scope: Scope) -> Response | _OpenFile:
        path = scope["path"].removeprefix(PREFIX)
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        opened = open_below(self.root, path.removesuffix("/"))
        if opened is None or (path.endswith("/") and not stat.S_ISDIR(opened[1].st_mode)):
            if opened is not None:
                os.close(opened[0])
            return self._nothing(path)
        descriptor, state, real = opened
        if stat.S_ISDIR(state.st_mode):
            os.close(descriptor)
            return self._folder(path, real, query, head=scope["method"] == "HEAD")
        if "width" in query:
            return self._small(scope["path"], descriptor, query["width"][0])
        return _OpenFile(descriptor, state, _file_headers(path, state, "download" in query))

    def _nothing(self, path: str) -> Response:
        if not path:
            text = "Nothing was made yet: materialize something, and it will be here."
            return message_page("No results yet", text, site=self.site, status=404)
        return message_page("No such artifact", path, site=self.site, status=404)

    def _folder(self, path: str, real: Path, query: dict[str, list[str]], *, head: bool) -> Response:
        if path and not path.endswith("/"):
            return RedirectResponse(PREFIX + quote(path) + "/", 307)
        relative = path.removesuffix("/")
        if "zip" in query:
            headers = _saved_as(f"{relative.rpartition('/')[2] or 'results'}.zip")
            if head:
                return Response(headers=headers, media_type="application/zip")
            pieces = zip_of_folder(self.root, relative)
            return StreamingResponse(pieces, headers=headers, media_type="application/zip")
        return folder_page(relative, list_folder(self.root, real), site=self.site)

    def _small(self, path: str, descriptor: int, width: str) -> Response:
        try:
            if not re.fullmatch("[1-9][0-9]{0,3}", width) or int(width) > WIDEST_PX:
                detail = f"width: expected 1 to {WIDEST_PX} pixels; found {width[:20]!r}"
                return JSONResponse(problem(422, detail, path), 422, media_type=MEDIA_TYPE)
            small = self.thumbnails.of(descriptor, int(width))
        finally:
            os.close(descriptor)
        if small is None:
            detail = "no PNG picture that can be made smaller here; ask for the file itself, without a width"
            return JSONResponse(problem(415, detail, path), 415, media_type=MEDIA_TYPE)
        return Response(small, media_type="image/png", headers={"cache-control": "no-cache"})


def _file_headers(path: str, state: os.stat_result, download: bool) -> dict[str, str]:
    ending = Path(path).suffix.lower()
    is_text = ending in _AS_TEXT
    kind = "text/plain; charset=utf-8" if is_text else _SHOWN.get(ending, "application/octet-stream")
    too_long = is_text and state.st_size > _LONGEST_TEXT_BYTES
    headers = {
        "content-type": kind,
        "content-security-policy": _MAY_NOT_ACT,
        "cache-control": "no-cache",
        "accept-ranges": "bytes",
        "etag": f'"{state.st_mtime_ns:x}-{state.st_size:x}-{state.st_ino:x}"',
    }
    if ending == ".html":
        headers["content-security-policy"] = _OWN_SCRIPT.format(digest=script_digest())
    if ending == ".pdf":
        del headers["content-security-policy"]  # no browser shows a PDF in a sandbox
    if download or too_long or not (is_text or ending in _SHOWN):
        headers |= _saved_as(path.rpartition("/")[2])
    return headers


def _saved_as(name: str) -> dict[str, str]:
    return {"content-disposition": f"attachment; filename*=UTF-8''{quote(name, safe='', errors='replace')}"}


class _OpenFile:
    """Sends an open file, or the range of it that was asked for, and closes it."""

    def __init__(self, descriptor: int, state: os.stat_result, headers: dict[str, str]) -> None:
        self.descriptor = descriptor
        self.size = state.st_size
        self.headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = {name: value.decode("latin-1") for name, value in scope["headers"]}
        try:
            if asked.get(b"if-none-match") == self.headers["etag"]:
                await self._start(send, 304, {})
                await send({"type": "http.response.body", "body": b""})
                return
            begin, end, status = self._range(asked)
            more = {"content-length": str(end - begin)}
            if status == 206:
                more["content-range"] = f"bytes {begin}-{end - 1}/{self.size}"
            await self._start(send, status, more)
            await self._send_bytes(send, begin, begin if scope["method"] == "HEAD" else end)
        finally:
            os.close(self.descriptor)

    def _range(self, asked: dict[bytes, str]) -> tuple[int, int, int]:
        """First byte, end, status: one range, of the version that the client has begun with."""
        match = re.fullmatch(r"bytes=(\d{1,18})-(\d{0,18})", asked.get(b"range", ""), re.ASCII)
        if match and asked.get(b"if-range", self.headers["etag"]) == self.headers["etag"]:
            begin, end = int(match[1]), min(int(match[2] or self.size) + 1, self.size)
            if begin < end:
                return begin, end, 206
        return 0, self.size, 200

    async def _start(self, send: Send, status: int, more: dict[str, str]) -> None:
        headers = [(name.encode(), value.encode()) for name, value in (self.headers | more).items()]
        await send({"type": "http.response.start", "status": status, "headers": headers})

    async def _send_bytes(self, send: Send, begin: int, end: int) -> None:
        while begin < end:
            block = await asyncio.to_thread(os.pread, self.descriptor, min(_BLOCK_BYTES, end - begin), begin)
            if not block:
                raise OSError("the file became shorter while it was sent")  # the connection is cut
            begin += len(block)
            await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
