"""Pictures of a field of view, of a square around a cell, of a region of interest.

The three functions take what they read from a *field of view* and give an array; they keep nothing. Regions
are (y0, y1, x0, x1) in pixels of the full image, half open. Image and masks of a region are sampled at the
same pixels, from its first one on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from cytopipe.errors import InputError
from cytopipe.export.styles import Annotation, CellColours, MarkerSet, MaskStyle, thickness_at
from cytopipe.storage.guard.budget import require_budget

__all__ = [
    "ArrayField",
    "Field",
    "Layer",
    "Region",
    "layer_of",
    "padded",
    "region_of_crop",
    "region_of_roi",
    "render_crop_to_array",
    "render_fov_to_array",
    "render_roi_to_array",
    "within",
]

Region = tuple[int, int, int, int]
Overlay = MaskStyle | CellColours | Annotation


class Field(Protocol):
    """A field of view, read lazily: only the channels and regions that are asked for."""

    name: str
    shape: tuple[int, int]
    channels: Sequence[str]
    masks: Sequence[str]
    annotations: Sequence[str]
    reads_parts: bool
    """Whether rows are read from a file without the rest of the image."""

    def read_channels(self, names: Sequence[str], region: Region, step: int) -> np.ndarray:
        """(C, Y, X) every `step`-th pixel of a region, in the image's own type."""

    def read_mask(self, name: str, region: Region, step: int) -> np.ndarray:
        """(Y, X) labels of cells, 0 between them."""

    def read_annotation(self, name: str, region: Region, step: int) -> np.ndarray:
        """(Y, X) classes of pixels."""


@dataclass(frozen=True)
class ArrayField:
    """A field of view in memory: (Y, X) arrays by name, all of one shape."""

    name: str
    images: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray] = None
    classes: Mapping[str, np.ndarray] = None
    reads_parts = False  # all of it is in memory

    @property
    def shape(self) -> tuple[int, int]:
        return next(iter(self.images.values())).shape

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(self.images)

    @property
    def masks(self) -> tuple[str, ...]:
        return tuple(self.labels or ())

    @property
    def annotations(self) -> tuple[str, ...]:
        return tuple(self.classes or ())

    def read_channels(self, names: Sequence[str], region: Region, step: int) -> np.ndarray:
        return np.stack([_part(self.images[name], region, step) for name in names])

    def read_mask(self, name: str, region: Region, step: int) -> np.ndarray:
        return _part(self.labels[name], region, step)

    def read_annotation(self, name: str, region: Region, step: int) -> np.ndarray:
        return _part(self.classes[name], region, step)


def _part(array: np.ndarray, region: Region, step: int) -> np.ndarray:
    y0, y1, x0, x1 = region
    return array[y0:y1:step, x0:x1:step]


# ---------------------------------------------------------------------- the three pictures


def render_fov_to_array(
    fov: Field,
    marker_set: MarkerSet,
    downsample_factor: int = 1,
    *,
    overlays: Sequence[Overlay] = (),
    region: Region | None = None,
    dtype: type = np.uint8,
) -> np.ndarray:
    """A field of view, or a region of it.

    Parameters
    ----------
    fov : Field
    marker_set : MarkerSet
    downsample_factor : int
        Every so many-th pixel is shown.
    overlays : sequence of MaskStyle, CellColours or Annotation
        Drawn in this order over the channels.
    region : Region, optional
        All by default. What lies outside of the field is cut off; at least one pixel is left.
    dtype : {numpy.uint8, numpy.float32}
        0 to 255, truncated, or 0 to 1.

    Returns
    -------
    ndarray
        (ceil(Y / downsample), ceil(X / downsample), 3) red, green, blue.

    Raises
    ------
    InputError
        A channel, mask or annotation is not there; the message names those that are.
    """
    if downsample_factor < 1:
        raise InputError(
            "an image cannot be enlarged",
            expected="a downsampling of 1 or more",
            found=str(downsample_factor),
        )
    wanted = [one.channel for one in marker_set.channels]
    _all_there(fov, "channel", wanted, fov.channels)
    _all_there(fov, "mask", [one.mask for one in overlays if not isinstance(one, Annotation)], fov.masks)
    _all_there(
        fov, "annotation", [one.name for one in overlays if isinstance(one, Annotation)], fov.annotations
    )
    seen = within(region or (0, fov.shape[0], 0, fov.shape[1]), fov.shape)
    height, width = (-(-(end - start) // downsample_factor) for start, end in (seen[:2], seen[2:]))
    needed = height * width * (3 * np.dtype(dtype).itemsize + _LAYER_BYTES * len(overlays))
    if needed > _SMALL_BYTES:
        require_budget(needed, None, what="a picture", where=f"{fov.name}, {height} x {width} px")
    layers = [layer for one in overlays for layer in _layers(fov, one, seen, downsample_factor)]
    out = np.empty((height, width, 3), dtype)
    row_bytes = width * len(wanted) * _PIXEL_BYTES
    rows = max(1, _READ_BYTES // row_bytes)
    if height * row_bytes > _PART_BYTES and fov.reads_parts:
        rows = max(1, _PART_BYTES // row_bytes)
    for top in range(0, height, rows):  # not all channels of a large field are in memory at once
        y0 = seen[0] + top * downsample_factor
        y1 = min(seen[1], y0 + rows * downsample_factor)
        image = fov.read_channels(wanted, (y0, y1, *seen[2:]), downsample_factor)
        _compose(image, marker_set, layers, out, top)
    return out


def render_crop_to_array(
    fov: Field,
    marker_set: MarkerSet,
    center_xy: tuple[float, float],
    size_px: int,
    downsample_factor: int = 1,
    *,
    overlays: Sequence[Overlay] = (),
    padding: Sequence[float] | None = None,
    dtype: type = np.uint8,
) -> np.ndarray:
    """A square around a point.

    Parameters
    ----------
    center_xy : (float, float)
        Column and row of the centre (px of the full image); rounded half to even.
    size_px : int
        Side of the square (px of the full image); an odd one loses a pixel, as in the reference.
    padding : (red, green, blue), optional
        Colour from 0 to 1 of what lies outside of the field, so that every crop has the same size. By default
        crops at the edge are smaller.
    **others
        As in :func:`render_fov_to_array`.
    """
    asked = region_of_crop(center_xy, size_px)
    picture = render_fov_to_array(
        fov, marker_set, downsample_factor, overlays=overlays, region=asked, dtype=dtype
    )
    if padding is None:
        return picture
    return padded(picture, asked, fov.shape, downsample_factor, padding)


def render_roi_to_array(
    fov: Field,
    roi: Mapping[str, object],
    marker_set: MarkerSet,
    downsample_factor: int = 1,
    *,
    overlays: Sequence[Overlay] = (),
    dtype: type = np.uint8,
) -> np.ndarray:
    """A region of interest: all pixels that its box touches.

    Parameters
    ----------
    roi : mapping
        ``x_min, x_max, y_min, y_max``, or where one of them is missing ``x, y`` (the centre), ``width`` and
        ``height`` (px of the full image).
    **others
        As in :func:`render_fov_to_array`.
    """
    region = region_of_roi(roi, fov.shape)
    return render_fov_to_array(
        fov, marker_set, downsample_factor, overlays=overlays, region=region, dtype=dtype
    )


# ---------------------------------------------------------------------- regions


def region_of_crop(center_xy: tuple[float, float], size_px: int) -> Region:
    """Half the size to each side of the rounded centre; may reach beyond the field."""
    if not all(math.isfinite(part) for part in center_xy):
        raise InputError("the centre of a crop is not finite", found=str(tuple(center_xy)))
    half = max(1, int(size_px) // 2)
    x, y = round(center_xy[0]), round(center_xy[1])
    return (y - half, y + half, x - half, x + half)


def region_of_roi(roi: Mapping[str, object], shape: tuple[int, int]) -> Region:
    """The box of a region of interest, rounded outwards; the whole field where neither form is complete."""
    box = [_number(roi.get(name)) for name in ("y_min", "y_max", "x_min", "x_max")]
    if None in box:
        x, y, width, height = (_number(roi.get(name)) for name in ("x", "y", "width", "height"))
        if None in (x, y, width, height) or width <= 0 or height <= 0:
            return (0, shape[0], 0, shape[1])
        box = [y - height / 2, y + height / 2, x - width / 2, x + width / 2]
    (y0, y1), (x0, x1) = sorted(box[:2]), sorted(box[2:])
    y0, x0 = math.floor(y0), math.floor(x0)
    return (y0, max(math.ceil(y1), y0 + 1), x0, max(math.ceil(x1), x0 + 1))


def within(region: Region, shape: tuple[int, int]) -> Region:
    """A region inside of a field; at least one pixel of it."""
    y0, y1, x0, x1 = region
    y0, x0 = min(max(y0, 0), shape[0] - 1), min(max(x0, 0), shape[1] - 1)
    return (y0, max(min(y1, shape[0]), y0 + 1), x0, max(min(x1, shape[1]), x0 + 1))


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def padded(
    picture: np.ndarray, asked: Region, shape: tuple[int, int], step: int, padding: Sequence[float]
) -> np.ndarray:
    """A picture of what lies inside of a field, with a colour (0 to 1) in the rest of what was asked for."""
    if within(asked, shape) == asked:
        return picture
    y0, y1, x0, x1 = asked
    whole = np.empty((-(-(y1 - y0) // step), -(-(x1 - x0) // step), 3), picture.dtype)
    colour = np.asarray(padding, np.float32)
    whole[:] = (colour * 255).astype(np.uint8) if picture.dtype == np.uint8 else colour
    top = min(-(-max(-y0, 0) // step), whole.shape[0] - 1)
    left = min(-(-max(-x0, 0) // step), whole.shape[1] - 1)
    part = picture[: whole.shape[0] - top, : whole.shape[1] - left]
    whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    return whole


# ---------------------------------------------------------------------- layers


@dataclass(frozen=True)
class Layer:
    """Colours over pixels.

    Parameters
    ----------
    index : ndarray of int32 or uint8
        (Y, X) row of the palette of each pixel.
    palette : ndarray of float32
        (N, 5) red, green, blue, opacity, and one minus opacity.
    """

    index: np.ndarray
    palette: np.ndarray


_CLEAR = (0.0, 0.0, 0.0, 0.0)


def layer_of(index: np.ndarray, colours: Sequence[Sequence[float]]) -> Layer:
    """A layer of (red, green, blue, opacity) by the rows that `index` names."""
    given = np.asarray(colours, np.float64).reshape(-1, 4)
    palette = np.column_stack([given, 1.0 - given[:, 3]]).astype(np.float32)
    kept = index.dtype if index.dtype == np.uint8 else np.int32
    return Layer(np.ascontiguousarray(index, kept), palette)


def _layers(fov: Field, style: Overlay, region: Region, step: int) -> list[Layer]:
    if isinstance(style, Annotation):
        classes = fov.read_annotation(style.name, region, step)
        index = np.clip(classes, 0, len(style.palette) - 1)
        return [layer_of(index, [(*colour, style.opacity) for colour in style.palette])]
    labels = fov.read_mask(style.mask, region, step)
    if isinstance(style, MaskStyle):
        return [mask_layer(labels, style, step)]
    return painted_layers(labels, style, step)


def mask_layer(labels: np.ndarray, style: MaskStyle, downsample: int) -> Layer:
    """One colour over cells: all that are there, or those that the style names."""
    drawn = (labels if style.mode == "fill" else _boundaries(labels)) > 0
    if style.cells is not None:
        drawn &= np.isin(labels, list(style.cells))
    if style.mode != "fill":
        drawn = _grown(drawn.view(np.uint8), thickness_at(style.thickness_px, downsample) - 1)
    return layer_of(drawn.view(np.uint8), [_CLEAR, (*style.colour, style.opacity)])


def painted_layers(labels: np.ndarray, style: CellColours, downsample: int) -> list[Layer]:
    """Fills; then the borders of filled cells, inside of them; then the outlines of the others."""
    cells = style.cells
    if not cells:
        return []
    numbered = np.searchsorted(np.asarray(cells), labels).astype(np.int32)
    known = np.asarray(cells)[np.minimum(numbered, len(cells) - 1)] == labels
    index = np.where(known, numbered + 1, 0).astype(np.int32)
    is_filled = np.array([False, *(cell in style.filled for cell in cells)])
    fills = [(*style.colours[cell], style.fill_opacities.get(cell, style.fill_opacity)) for cell in cells]
    borders = [(*style.border_colours.get(cell, style.colours[cell]), style.border_opacity) for cell in cells]
    spread = thickness_at(style.thickness_px, downsample) - 1
    layers = []
    edges = _boundaries(index)
    if is_filled.any():
        of_filled = is_filled[index]
        layers.append(layer_of(np.where(of_filled, index, 0), [_CLEAR, *fills]))
        inside = _grown(np.where(of_filled, edges, 0).astype(np.int32), spread, cells=index)
        layers.append(layer_of(inside, [_CLEAR, *borders]))
    if not is_filled[1:].all():
        outlines = _grown(np.where(is_filled[index], 0, edges).astype(np.int32), spread)
        layers.append(layer_of(outlines, [_CLEAR, *borders]))
    return layers


def _boundaries(labels: np.ndarray) -> np.ndarray:
    from cytopipe.export.render.kernels import boundary_labels

    out = np.empty(labels.shape, labels.dtype)
    boundary_labels(labels, out)
    return out


def _grown(labels: np.ndarray, times: int, *, cells: np.ndarray | None = None) -> np.ndarray:
    from cytopipe.export.render import kernels

    for _ in range(times):
        out = np.empty_like(labels)
        if cells is None:
            kernels.grown(labels, out)
        else:
            kernels.grown_inside(labels, cells, out)
        labels = out
    return labels


# ---------------------------------------------------------------------- composition

_LEAST_RANGE = float(np.finfo(np.float32).eps)
"""Of contrast limits: where they are equal or inverted, pixels above `low` have the full colour."""
_BAND = 64
"""Rows that are drawn at once."""
_READ_BYTES = 192 << 20
"""Of channels that are read at once, where the field is large: pages of files are decoded whole."""
_PART_BYTES = 16 << 20
"""Of channels that are read at once, where rows are read alone; so much stays in the processor's caches, and
the memory is used again for the next rows.
"""
_PIXEL_BYTES = 4
"""Of one channel, as most files have at most."""
_LAYER_BYTES = 16
"""Per pixel of an overlay: labels as they are read, as they are numbered, and two layers of them."""
_SMALL_BYTES = 64 << 20
"""Of a picture that needs no look at the memory that is free."""


def compose(
    image: np.ndarray, marker_set: MarkerSet, layers: Sequence[Layer], dtype: type = np.uint8
) -> np.ndarray:
    """Channels (C, Y, X) in the order of the marker set, and layers over them: (Y, X, 3)."""
    out = np.empty((*image.shape[1:], 3), dtype)
    _compose(image, marker_set, layers, out, 0)
    return out


def _compose(
    image: np.ndarray, marker_set: MarkerSet, layers: Sequence[Layer], out: np.ndarray, first_row: int
) -> None:
    """Write the rows of a picture from `first_row` on: `image` begins there, `layers` and `out` at row 0."""
    import cv2

    from cytopipe.export.render.kernels import composite

    settings = _levels(marker_set)
    image = np.ascontiguousarray(image)  # for which the kernel does many pixels at once
    sizes = [len(layer.palette) for layer in layers]
    height, width = image.shape[1:]
    indices = _stacked([layer.index[first_row : first_row + height] for layer in layers])
    first = np.cumsum([0, *sizes[:-1]])[: len(sizes)]
    palette = np.concatenate([layer.palette for layer in layers]) if layers else np.zeros((1, 5), np.float32)
    factor = np.float32(255 if out.dtype == np.uint8 else 1)
    for top in range(0, height, _BAND):  # a band stays in the cache between the two steps
        planes = np.empty((3, min(_BAND, height - top), width), out.dtype)
        composite(image, *settings, indices, first, palette, factor, top, planes)
        cv2.merge(planes, out[first_row + top : first_row + top + planes.shape[1]])


@lru_cache(64)
def _levels(marker_set: MarkerSet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower limits, ranges and colours of the channels, as the kernel takes them."""
    low = [one.low if math.isfinite(one.low) else 0.0 for one in marker_set.channels]
    high = [
        one.high if math.isfinite(one.high) else under + 1.0
        for one, under in zip(marker_set.channels, low, strict=True)
    ]
    scale = [max(over - under, _LEAST_RANGE) for over, under in zip(high, low, strict=True)]
    return (
        np.asarray(low, np.float32),
        np.asarray(scale, np.float32),
        np.asarray([one.colour for one in marker_set.channels], np.float32),
    )


def _stacked(indices: Sequence[np.ndarray]) -> np.ndarray:
    if len(indices) == 1:
        return indices[0][np.newaxis]
    return np.stack(indices) if indices else np.empty((0, 1, 1), np.int32)


def _all_there(fov: Field, what: str, wanted: Sequence[str], there: Sequence[str]) -> None:
    if missing := sorted(set(wanted) - set(there)):
        raise InputError(
            f"field of view {fov.name!r} has no {what} {', '.join(map(repr, missing))}",
            expected=f"one of {', '.join(there)}" if there else f"there is no {what}",
            next=f"Choose a {what} that is there, or look at the names in the files.",
        )
