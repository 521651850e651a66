"""The pictures of a plan as a gallery: captions, links, sizes that fit a page."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cytopipe.errors import InputError
from cytopipe.export.drawing import Drawn, draw, drawn_together
from cytopipe.export.gallery import GalleryItem, contact_sheet, pdf_gallery
from cytopipe.export.items import Item, Plan

__all__ = ["MOST_SHOWN", "gallery_bytes", "gallery_items", "montage"]

MOST_SHOWN = 24
"""Pictures of a montage."""

_AT_ONCE = 128
"""Pictures in memory, so that they can be put into their order."""


def gallery_items(
    plan: Plan,
    *,
    folder: Path | None = None,
    failed: Callable[[Item, Exception], None] = lambda item, error: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    stop: Callable[[], bool] = lambda: False,
    fovs: Iterable[str] | None = None,
) -> Iterator[GalleryItem]:
    """Pictures of a plan in its order, one after the other.

    Parameters
    ----------
    plan : Plan
    folder : Path, optional
        Where the gallery will lie; pictures then link to the exported files that stand.
    failed : callable
        Gets each item that cannot be drawn; it is left out.
    progress : callable
        ``progress(done, total)``.
    stop : callable
        Asked before each picture; the gallery ends early.
    fovs : iterable of str, optional
        These fields of view alone.
    """
    output, done = Path(plan.settings.output), 0
    chosen = plan.by_fov if fovs is None else {fov: plan.by_fov[fov] for fov in fovs}
    total = sum(map(len, chosen.values()))
    for items in chosen.values():
        for first in range(0, len(items), _AT_ONCE):
            some = items[first : first + _AT_ONCE]
            for one in some:
                if one.fault:
                    failed(one, InputError(one.fault))
            made = dict(_drawn(plan, [one for one in some if not one.fault]))
            for one in some:
                if stop():
                    return
                done += 1
                progress(done, total)
                if one.fault:
                    continue
                drawn = made.pop(one)
                if isinstance(drawn, Exception):
                    failed(one, drawn)
                    continue
                file = output / one.file
                link = os.path.relpath(file, folder) if folder is not None and file.is_file() else ""
                yield GalleryItem(one.name, one.caption, drawn.picture, Path(link).as_posix() if link else "")


def _drawn(plan: Plan, items: list[Item]) -> Iterator[tuple[Item, Drawn | Exception]]:
    if not items:
        return
    info = plan.infos[items[0].fov]
    field = plan.source.field(info.name)

    def make(held, item: Item) -> Drawn:
        step = item.downsample * max(1, -(-plan.longest_px(item) // plan.settings.gallery.largest_px))
        return draw(held, info, item, plan.settings, step)

    yield from drawn_together(field, info, items, make)  # type: ignore[misc]


def gallery_bytes(items: Iterable[GalleryItem], kind: str, plan: Plan, title: str) -> bytes:
    """A gallery as ``pdf`` or ``html``."""
    if kind == "html":
        return "".join(contact_sheet(items, title=title)).encode()
    said = plan.settings.gallery
    return pdf_gallery(
        items,
        title=title,
        rows=said.rows,
        columns=said.columns,
        page=said.page,
        quality=plan.settings.quality,
    )


def montage(items: Iterable[GalleryItem], side_px: int = 160) -> bytes:
    """The first pictures side by side as a PNG, for a look at what was made; empty where there are none."""
    import cv2
    import numpy as np

    from cytopipe.export.encoding import encode

    tiles = []
    for one in items:
        height, width = one.picture.shape[:2]
        scale = side_px / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(
            one.picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
        )
        tile = np.zeros((side_px, side_px, 3), np.uint8)
        top, left = (side_px - size[1]) // 2, (side_px - size[0]) // 2
        tile[top : top + size[1], left : left + size[0]] = small
        tiles.append(tile)
        if len(tiles) == MOST_SHOWN:
            break
    if not tiles:
        return b""
    columns = min(len(tiles), 6)
    while len(tiles) % columns:
        tiles.append(np.zeros((side_px, side_px, 3), np.uint8))
    rows = [np.hstack(tiles[first : first + columns]) for first in range(0, len(tiles), columns)]
    return encode(np.vstack(rows), "png")
