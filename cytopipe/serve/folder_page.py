"""A folder of the output root as a page: where it is, its pictures, its files with sizes and dates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from urllib.parse import quote

from starlette.responses import HTMLResponse

from cytopipe.serve.output_root import Shown
from cytopipe.serve.page import bytes_in_words, counted, html_page

__all__ = ["folder_page"]

_MOST_ROWS = 5000
_MOST_PICTURES = 24
_THUMBNAIL_PX = 480
_KINDS = {
    ".fasta": "sequences (FASTA)",
    ".fa": "sequences (FASTA)",
    ".fastq": "reads (FASTQ)",
    ".h5ad": "annotated matrix (AnnData)",
    ".zarr": "images (OME-Zarr)",
    ".tif": "image (TIFF)",
    ".tiff": "image (TIFF)",
    ".tsv": "table",
    ".csv": "table",
    ".parquet": "table (Parquet)",
    ".json": "document (JSON)",
    ".png": "picture",
    ".svg": "picture",
    ".html": "page",
    ".spart": "species partition (SPART)",
    ".zip": "archive",
    ".gz": "compressed file",
}

_IMAGES = (".ome.zarr", ".tiff", ".tif")


def folder_page(relative: str, entries: Sequence[Shown], *, site: str) -> HTMLResponse:
    """The page of a folder.

    Parameters
    ----------
    relative : str
        Its path below the output root; empty for the root itself.
    entries : sequence of Shown
    site : str
        What the project is called.
    """
    title = relative or "Results"
    return html_page(f"{title} - {site}", _body(relative, entries), site=site)


def _body(relative: str, entries: Sequence[Shown]) -> Iterator[str]:
    yield f'<p class="soft">{_way_to(relative)}</p>'
    yield f"<h1>{escape(relative.rpartition('/')[2] or 'Results')}</h1>"
    if not entries:
        yield "<p>This folder is empty.</p>"
        return
    folders = sum(entry.is_folder for entry in entries)
    size = bytes_in_words(sum(entry.size_bytes for entry in entries))
    counts = [counted(folders, "folder")] if folders else []
    counts += [f"{counted(len(entries) - folders, 'file')}, {size}"] if len(entries) > folders else []
    yield (
        f'<p class="soft">{" and ".join(counts)} · <a href="?zip">Download this folder</a> '
        "(.zip, with everything below it)</p>"
    )
    pictures = [entry.name for entry in entries if entry.name.lower().endswith(".png")]
    if pictures:
        yield f'<div class="gallery">{"".join(map(_picture, pictures[:_MOST_PICTURES]))}</div>'
    yield '<div class="scroll"><table><thead><tr><th>Name</th><th>Kind</th><th class="right">Size</th>'
    yield "<th>Changed (UTC)</th><th></th></tr></thead><tbody>"
    for entry in entries[:_MOST_ROWS]:
        yield _row(entry, relative)
    yield "</tbody></table></div>"
    if len(entries) > _MOST_ROWS:
        yield f'<p class="soft">and {len(entries) - _MOST_ROWS:,} more, in the download</p>'


def _way_to(relative: str) -> str:
    parts = relative.split("/") if relative else []
    links = ['<a href="/artifacts/">Results</a>'] if parts else []
    for depth, part in enumerate(parts[:-1], 1):
        address = "/artifacts/" + _address("/".join(parts[:depth])) + "/"
        links.append(f'<a href="{address}">{escape(part)}</a>')
    return " / ".join(links)


def _row(entry: Shown, folder: str) -> str:
    address = "./" + _address(entry.name) + ("/" if entry.is_folder else "")
    changed = datetime.fromtimestamp(entry.modified, UTC).strftime("%Y-%m-%d %H:%M")
    name = escape(entry.name) + ("/" if entry.is_folder else "")
    size = "" if entry.is_folder else bytes_in_words(entry.size_bytes)
    action = f'<a href="{address}{"?zip" if entry.is_folder else "?download"}">download</a>'
    if entry.name.lower().endswith(_IMAGES):
        action = f'<a href="/view/{_address(f"{folder}/{entry.name}".lstrip("/"))}">view</a> · {action}'
    return (
        f'<tr><td class="name"><a href="{address}">{name}</a></td><td class="soft">{_kind(entry)}</td>'
        f'<td class="right">{size}</td><td class="soft nowrap">{changed}</td>'
        f'<td class="right">{action}</td></tr>'
    )


def _picture(name: str) -> str:
    address = "./" + _address(name)
    return (
        f'<figure><a href="{address}"><img loading="lazy" alt="{escape(name)}" '
        f'src="{address}?width={_THUMBNAIL_PX}"></a><figcaption>{escape(name)}</figcaption></figure>'
    )


def _kind(entry: Shown) -> str:
    ending = "." + entry.name.lower().rpartition(".")[2]
    return _KINDS.get(ending, "folder" if entry.is_folder else "file")


def _address(path: str) -> str:
    return quote(path, errors="surrogateescape")
