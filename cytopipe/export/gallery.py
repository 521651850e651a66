"""Galleries of pictures: a PDF with captions that can be searched, and an HTML contact sheet.

Pictures arrive one at a time and are written as they come: memory is one picture, whatever the number of
pages.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from cytopipe.export.scale_bars import font_file

__all__ = ["PAGES_MM", "GalleryItem", "contact_sheet", "page_of_one", "pdf_gallery"]

PAGES_MM = {"a4": (210.0, 297.0), "a4-landscape": (297.0, 210.0), "letter": (215.9, 279.4)}
"""Width and height of a page (mm)."""

_POINTS = 72 / 25.4
_FONT = "DejaVuSans"
_CAPTION_POINTS, _LINE_POINTS = 7.0, 9.0


@dataclass(frozen=True)
class GalleryItem:
    """A picture of a gallery.

    Parameters
    ----------
    name : str
        Region, cell or field of view; in bold above the rest.
    lines : sequence of str
        More lines of the caption: field of view, channels, settings.
    picture : ndarray of uint8
        (Y, X, 3), its scale bar drawn already.
    link : str
        Relative address of its file, for the contact sheet.
    """

    name: str
    lines: Sequence[str]
    picture: np.ndarray
    link: str = ""


def pdf_gallery(
    items: Iterable[GalleryItem],
    *,
    title: str,
    rows: int = 4,
    columns: int = 3,
    page: str = "a4",
    quality: int = 90,
) -> bytes:
    """Pages of pictures in a grid, each with its caption below; the page says its number.

    Parameters
    ----------
    items : iterable of GalleryItem
        In the order of the grid, row by row.
    title : str
    rows, columns : int
        1 to 20; 1 and 1 for one picture per page.
    page : {'a4', 'a4-landscape', 'letter'}
    quality : int
        Of the JPEG pictures inside, 1 to 100.
    """
    sink = io.BytesIO()
    width, height = (side * _POINTS for side in PAGES_MM[page])
    canvas = _canvas(sink, (width, height), title)
    margin, head = 36.0, 20.0
    cell_width, cell_height = (width - 2 * margin) / columns, (height - 2 * margin - head) / rows
    number = 0
    for at, item in enumerate(items):
        place = at % (rows * columns)
        if place == 0:
            if at:
                canvas.showPage()
            number += 1
            canvas.setFont(_FONT, 10)
            canvas.drawString(margin, height - margin, title[:120])
            canvas.drawRightString(width - margin, height - margin, f"page {number}")
            canvas.bookmarkPage(f"page-{number}")
            canvas.addOutlineEntry(item.name[:80], f"page-{number}", 0)
        row, column = divmod(place, columns)
        left = margin + column * cell_width
        top = height - margin - head - row * cell_height
        _draw_item(canvas, item, left, top, cell_width - 8, cell_height - 8, quality)
    if not number:
        canvas.setFont(_FONT, 10)
        canvas.drawString(margin, height - margin, f"{title[:100]}: no pictures")
    canvas.save()
    return sink.getvalue()


def page_of_one(picture: np.ndarray, *, dpi: float, quality: int, about: str) -> bytes:
    """A PDF page as large as the picture at `dpi`."""
    sink = io.BytesIO()
    height, width = (side / dpi * 72 for side in picture.shape[:2])
    canvas = _canvas(sink, (width, height), "")
    canvas.setSubject(about)
    canvas.drawImage(_jpeg(picture, quality), 0, 0, width, height)
    canvas.save()
    return sink.getvalue()


def contact_sheet(items: Iterable[GalleryItem], *, title: str) -> Iterator[str]:
    """An HTML page of thumbnails that link to the files beside it, in pieces; no script, no network."""
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="'
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
        '"><title>' + escape(title) + "</title><style>"
        "body{font:14px/1.4 system-ui,sans-serif;margin:1rem}main{display:grid;gap:1rem;"
        "grid-template-columns:repeat(auto-fill,minmax(11rem,1fr))}figure{margin:0}"
        "img{width:100%;height:11rem;object-fit:contain;background:#111;image-rendering:pixelated}"
        "figcaption{overflow-wrap:anywhere}small{color:#667085;display:block}"
        "</style></head><body><h1>" + escape(title) + "</h1><main>"
    )
    for item in items:
        lines = "".join(f"<small>{escape(line)}</small>" for line in item.lines)
        image = f'<img loading="lazy" alt="{escape(item.name)}" src="{_thumbnail(item.picture)}">'
        linked = f'<a href="{escape(item.link)}">{image}</a>' if item.link else image
        yield f"<figure>{linked}<figcaption><b>{escape(item.name)}</b>{lines}</figcaption></figure>\n"
    yield "</main></body></html>\n"


def _canvas(sink: io.BytesIO, size: tuple[float, float], title: str):
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont
    from reportlab.pdfgen.canvas import Canvas

    if _FONT not in pdfmetrics.getRegisteredFontNames():
        pdfmetrics.registerFont(TTFont(_FONT, font_file()))
    canvas = Canvas(sink, pagesize=size, invariant=1, pageCompression=1)
    canvas.setTitle(title)
    canvas.setCreator("cytopipe")
    return canvas


def _draw_item(canvas, item: GalleryItem, left, top, width, height, quality: int) -> None:
    lines = [line for line in item.lines if line][:4]
    room = height - _LINE_POINTS * (len(lines) + 1) - 2
    rows, columns = item.picture.shape[:2]
    scale = min(width / columns, room / rows)
    canvas.drawImage(_jpeg(item.picture, quality), left, top - rows * scale, columns * scale, rows * scale)
    y = top - rows * scale - _LINE_POINTS
    for size, line in ((_CAPTION_POINTS + 1, item.name), *((_CAPTION_POINTS, line) for line in lines)):
        canvas.setFont(_FONT, size)
        canvas.drawString(left, y, _fitting(line, size, width))
        y -= _LINE_POINTS


def _fitting(text: str, size: float, width: float) -> str:
    """As much of a line as the width holds."""
    from reportlab.pdfbase.pdfmetrics import stringWidth

    line = "".join(one if one.isprintable() else " " for one in text)
    if stringWidth(line, _FONT, size) <= width:
        return line
    while line and stringWidth(f"{line}…", _FONT, size) > width:
        line = line[:-1]
    return f"{line}…"


def _jpeg(picture: np.ndarray, quality: int):
    from PIL import Image
    from reportlab.lib.utils import ImageReader

    sink = io.BytesIO()
    Image.fromarray(picture).save(sink, "jpeg", quality=quality, subsampling=0)
    sink.seek(0)
    return ImageReader(sink)


def _thumbnail(picture: np.ndarray, largest: int = 256) -> str:
    import base64

    from PIL import Image

    image = Image.fromarray(picture)
    if max(image.size) > largest:
        image.thumbnail((largest, largest))
    sink = io.BytesIO()
    image.save(sink, "jpeg", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(sink.getvalue()).decode()}"
