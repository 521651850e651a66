"""One item becomes a picture and the bytes of its file; many items of a field of view share what is read.

A block of a field is read once and all items inside of it are cut out of it. Blocks have a bounded size, so
that memory does not grow with the field.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cytopipe.errors import InputError
from cytopipe.export.items import AroundCell, AroundPoint, Box, Item, Whole
from cytopipe.export.parameters import PictureSettings
from cytopipe.export.render.pictures import (
    Field,
    Region,
    padded,
    region_of_crop,
    render_crop_to_array,
    render_fov_to_array,
    within,
)
from cytopipe.export.scale_bars import ScaleBar, draw_scale_bar, length_in_words, scale_bar

if TYPE_CHECKING:
    from cytopipe.export.sources import FovInfo
    from cytopipe.export.styles import MarkerSet

__all__ = ["Drawn", "draw", "drawn_together", "file_of"]

_BLOCK_BYTES = 192 << 20


@dataclass(frozen=True, eq=False)
class Drawn:
    """A picture with what is to be known of it.

    Parameters
    ----------
    picture : ndarray of uint8
        (Y, X, 3), with its scale bar.
    region : Region
        What it shows, before it was cut off at the edges (px of the full image).
    bar : ScaleBar or None
    """

    picture: np.ndarray
    region: Region
    bar: ScaleBar | None


def draw(field: Field, info: FovInfo, item: Item, settings: PictureSettings, downsample: int = 0) -> Drawn:
    """The picture of an item.

    Parameters
    ----------
    field : Field
    info : FovInfo
        Of the same field of view.
    item : Item
        Without a fault.
    settings : PictureSettings
        Of the scale bar; the format does not matter here.
    downsample : int, optional
        In place of the item's own.
    """
    step = downsample or item.downsample
    place = _settled(field, item)
    assert item.marker_set is not None
    if isinstance(place, AroundPoint):
        centre = (place.x, place.y)
        region = region_of_crop(centre, place.size_px)
        black = (0, 0, 0) if place.pad else None
        seen = None
        if isinstance(field, _Held) and not item.overlays:
            seen = field.shown(item.marker_set, within(region, info.shape), step)
        if seen is None:
            picture = render_crop_to_array(
                field, item.marker_set, centre, place.size_px, step, overlays=item.overlays, padding=black
            )
        else:
            picture = seen if black is None else padded(seen, region, info.shape, step, black)
    else:
        region = place.region if isinstance(place, Box) else (0, info.height, 0, info.width)
        picture = render_fov_to_array(field, item.marker_set, step, overlays=item.overlays, region=region)
        if isinstance(place, Box) and place.points:
            picture = _with_shape(picture, place, within(region, info.shape), step)
    bar = _bar(picture.shape[1], info.pixel_size_um, step, settings) if settings.scale_bar else None
    return Drawn(np.ascontiguousarray(picture) if bar is None else draw_scale_bar(picture, bar), region, bar)


def file_of(field: Field, info: FovInfo, item: Item, settings: PictureSettings) -> tuple[bytes, dict]:
    """The bytes of an item's file, and facts about it: size, scale bar, region."""
    from cytopipe.export.encoding import encode, encode_ome_tiff

    assert item.marker_set is not None
    pixel = None if info.pixel_size_um is None else info.pixel_size_um * item.downsample
    if settings.file_format == "ome-tiff":
        region = _region(field, info, item)
        channels = [one.channel for one in item.marker_set.channels]
        image = field.read_channels(channels, region, item.downsample)
        data = encode_ome_tiff(image, item.marker_set, pixel_size_um=pixel, name=f"{item.fov} {item.name}")
        facts = {"height_px": image.shape[1], "width_px": image.shape[2]}
        return data, facts | _facts(region, pixel, None)
    drawn = draw(field, info, item, settings)
    about = {
        "name": item.name,
        "fov": item.fov,
        "marker_set": item.marker_set.name,
        "channels": {one.channel: [*one.colour, one.low, one.high] for one in item.marker_set.channels},
        "downsample": item.downsample,
        "region_y0_y1_x0_x1": list(drawn.region),
    }
    data = encode(
        drawn.picture,
        settings.file_format,
        dpi=settings.dpi,
        pixel_size_um=pixel,
        quality=settings.quality,
        about=about,
    )
    facts = {"height_px": drawn.picture.shape[0], "width_px": drawn.picture.shape[1]}
    return data, facts | _facts(drawn.region, pixel, drawn.bar)


def _facts(region: Region, pixel: float | None, bar: ScaleBar | None) -> dict:
    return {
        "region": ",".join(map(str, region)),
        "pixel_size_um": pixel,
        "scale_bar": bar.label if bar is not None else "",
    }


def _bar(width: int, pixel_um: float | None, step: int, settings: PictureSettings) -> ScaleBar | None:
    if settings.bar_um is None:
        return scale_bar(width, pixel_um, step, largest_fraction=settings.bar_fraction)
    automatic = scale_bar(width, pixel_um, step, largest_fraction=1.0)  # refuses an unknown size of a pixel
    assert pixel_um is not None
    length = settings.bar_um / (pixel_um * step)
    if automatic is None or not 1 <= length <= width:
        raise InputError(
            "a scale bar of this length does not fit",
            where="bar_um",
            expected=f"{pixel_um * step:g} to {width * pixel_um * step:g} micrometres",
            found=f"{settings.bar_um:g}",
            next="Choose another length, or leave bar_um out.",
        )
    nm = settings.bar_um * 1000
    label = (
        length_in_words(round(nm)) if nm == round(nm) and _is_round(round(nm)) else f"{settings.bar_um:g} µm"
    )
    return ScaleBar(length, settings.bar_um, label)


def _is_round(length_nm: int) -> bool:
    """Whether a length can be said in whole units, as `length_in_words` does."""
    unit = 10**6 if length_nm >= 10**6 else 10**3 if length_nm >= 10**3 else 1
    return length_nm % unit == 0


def _with_shape(picture: np.ndarray, place: Box, seen: Region, step: int) -> np.ndarray:
    """The picture with a line or polygon of a region, in white on black."""
    import cv2

    points = np.array([[(x - seen[2]) / step, (y - seen[0]) / step] for x, y in place.points])
    bounded = np.clip(np.round(points * 8), -(1 << 28), 1 << 28).astype(np.int32)  # three bits of a fraction
    out = np.ascontiguousarray(picture).copy()
    for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.polylines(out, [bounded.reshape(-1, 1, 2)], place.closed, colour, width, cv2.LINE_AA, 3)
    return out


# ---------------------------------------------------------------------- places


def _settled(field: Field, item: Item) -> Whole | Box | AroundPoint:
    """The place of an item in numbers: the box of a cell is looked up in the mask."""
    place = item.place
    if not isinstance(place, AroundCell):
        return place
    if not isinstance(field, _Held):
        raise TypeError("the box of a cell is looked up in a field that is held")
    y0, y1, x0, x1 = field.box_of(place.mask, place.label)
    side = max(y1 - y0, x1 - x0) + 2 * place.padding_px
    side = min(max(side, place.min_size_px), place.max_size_px)
    return AroundPoint((x0 + x1) / 2, (y0 + y1) / 2, side + side % 2, place.pad)


def _region(field: Field, info: FovInfo, item: Item) -> Region:
    """What an item shows, inside of the field."""
    place = _settled(field, item)
    if isinstance(place, AroundPoint):
        return within(region_of_crop((place.x, place.y), place.size_px), info.shape)
    return within(place.region if isinstance(place, Box) else (0, *info.shape[:1], 0, info.width), info.shape)


def drawn_together(
    field: Field, info: FovInfo, items: Sequence[Item], make: Callable[[Field, Item], object]
) -> Iterator[tuple[Item, object]]:
    """Call `make(field, item)` for items of one field, which is read block by block.

    Yields
    ------
    item, result : Item, object
        In the order of blocks; an exception of `make` is the result.
    """
    held = _Held(field)
    blocks: dict[tuple, list[tuple[Item, Region]]] = defaultdict(list)
    for item in items:
        try:
            region = _region(held, info, item)
        except Exception as error:
            yield item, error
            continue
        blocks[_block_of(item, region, info)].append((item, region))
    for key in sorted(blocks, key=lambda key: key[0]):
        inside = blocks[key]
        held.let_go()
        if len(inside) > 1:
            y0, x0 = (min(region[i] for _, region in inside) for i in (0, 2))
            y1, x1 = (max(region[i] for _, region in inside) for i in (1, 3))
            held.union = (y0, y1, x0, x1)
        for item, _ in inside:
            try:
                made = make(held, item)
            except Exception as error:
                made = error
            yield item, made
    held.let_go()


def _block_of(item: Item, region: Region, info: FovInfo) -> tuple:
    """Items with the same key are cut out of one block."""
    assert item.marker_set is not None
    per_pixel = info.dtype.itemsize * len(item.marker_set.channels) + 4 * len(item.overlays)
    side = max(512, math.isqrt(_BLOCK_BYTES // per_pixel))
    if isinstance(item.place, Whole) or max(region[1] - region[0], region[3] - region[2]) > side // 2:
        return ((region[0], region[2]), item.file)  # read alone, by the pyramid level that suffices
    channels = tuple(one.channel for one in item.marker_set.channels)
    return ((region[0] // side, region[2] // side), channels)


class _Held:
    """A field of view of which one block stays in memory."""

    def __init__(self, field: Field) -> None:
        self._field = field
        self.name, self.shape = field.name, field.shape
        self.channels, self.masks, self.annotations = field.channels, field.masks, field.annotations
        self.reads_parts = field.reads_parts
        self.union: Region | None = None
        self._blocks: dict[tuple, np.ndarray] = {}
        self._shown: tuple[MarkerSet, np.ndarray] | None = None
        self._boxes: dict[str, list] = {}

    def let_go(self) -> None:
        self.union = None
        self._blocks.clear()
        self._shown = None

    def shown(self, marker_set: MarkerSet, region: Region, step: int) -> np.ndarray | None:
        """The channels of a region as a picture, cut out of that of the block; None outside of a block.

        A pixel of the picture depends on no other one, so that many crops are rendered at once.
        """
        union = self.union
        if union is None or not _contains(union, region):
            return None
        if self._shown is None or self._shown[0] is not marker_set:
            self._shown = None  # one at a time is in memory
            self._shown = marker_set, render_fov_to_array(self._field, marker_set, region=union)
        y0, y1, x0, x1 = region
        top, left = union[0], union[2]
        return self._shown[1][y0 - top : y1 - top : step, x0 - left : x1 - left : step]

    def box_of(self, mask: str, label: int) -> Region:
        """The box of a cell; the whole mask is read once."""
        if mask not in self._boxes:
            from scipy.ndimage import find_objects

            labels = self._field.read_mask(mask, (0, self.shape[0], 0, self.shape[1]), 1)
            if int(labels.max(initial=0)) > labels.size + (1 << 20):
                raise InputError(
                    f"mask {mask!r} of {self.name!r} has labels far beyond the number of its pixels",
                    found=str(labels.max()),
                )
            self._boxes[mask] = find_objects(labels)
        boxes = self._boxes[mask]
        found = boxes[label - 1] if 0 < label <= len(boxes) else None
        if found is None:
            raise InputError(f"mask {mask!r} of {self.name!r} has no cell {label}")
        rows, columns = found
        return rows.start, rows.stop, columns.start, columns.stop

    def read_channels(self, names: Sequence[str], region: Region, step: int) -> np.ndarray:
        key = ("channels", *names)
        return self._part(key, region, step, lambda box, by: self._field.read_channels(names, box, by))

    def read_mask(self, name: str, region: Region, step: int) -> np.ndarray:
        return self._part(("mask", name), region, step, lambda box, by: self._field.read_mask(name, box, by))

    def read_annotation(self, name: str, region: Region, step: int) -> np.ndarray:
        key = ("annotation", name)
        return self._part(key, region, step, lambda box, by: self._field.read_annotation(name, box, by))

    def _part(
        self, key: tuple, region: Region, step: int, read: Callable[[Region, int], np.ndarray]
    ) -> np.ndarray:
        union = self.union
        if union is None or not _contains(union, region):
            return read(region, step)
        if key not in self._blocks:
            self._blocks[key] = read(union, 1)
        y0, y1, x0, x1 = region
        top, left = union[0], union[2]
        part = self._blocks[key][..., y0 - top : y1 - top : step, x0 - left : x1 - left : step]
        return np.ascontiguousarray(part)


def _contains(outer: Region, inner: Region) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1] and outer[2] <= inner[2] and inner[3] <= outer[3]
