"""What an export makes: one item for each picture, with its file name, settings and recipe.

Planning looks at names, tables and the heads of images; it reads no pixels and writes nothing. What is wrong
with one item (a channel that its field of view lacks) is kept with the item, which will fail alone. What is
wrong with all of them is raised at once.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.errors import CytopipeError, Finding, InputError, ParameterError
from cytopipe.export.encoding import FORMATS
from cytopipe.export.parameters import JobSettings, OverlaySetting, PictureSettings, RoiSettings
from cytopipe.export.render.pictures import Region, region_of_roi
from cytopipe.export.styles import Annotation, CellColours, ChannelStyle, MarkerSet, MaskStyle, colour_of
from cytopipe.provenance import digest_of
from cytopipe.storage.names import check_key, slug

if TYPE_CHECKING:
    from cytopipe.export.cells import Cells
    from cytopipe.export.presets import Presets
    from cytopipe.export.rois import Roi
    from cytopipe.export.sources import FovInfo, ImageSource

__all__ = [
    "CODE",
    "CURRENT",
    "AroundCell",
    "AroundPoint",
    "Box",
    "Item",
    "Plan",
    "Whole",
    "chosen_rois",
    "marker_sets_of",
    "plan_items",
    "presets_of",
]

CODE = "2"
"""Version of what decides the pixels; raised when the same settings give other pictures."""

_CATEGORY_COLOURS = (
    "#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#edc948", "#b07aa1", "#ff9da7", "#9c755f",
    "#bab0ac",
)  # fmt: skip
"""Colours of groups that no palette names, in the order of their names (Tableau 10)."""

CURRENT = "current:"
"""In the place of a marker set: the channels that UELer showed without one."""


@dataclass(frozen=True)
class Whole:
    """A whole field of view."""


@dataclass(frozen=True)
class AroundPoint:
    """A square around a point (px of the full image); filled with black beyond the field if `pad`."""

    x: float
    y: float
    size_px: int
    pad: bool


@dataclass(frozen=True)
class AroundCell:
    """A square around the box of a cell in a mask."""

    mask: str
    label: int
    padding_px: int
    min_size_px: int
    max_size_px: int
    pad: bool


@dataclass(frozen=True)
class Box:
    """A box (y0, y1, x0, x1), and a shape that is drawn in it: points (x, y) of a line or a polygon."""

    region: Region
    points: tuple[tuple[float, float], ...] = ()
    closed: bool = False


Place = Whole | AroundPoint | AroundCell | Box
Overlay = MaskStyle | CellColours | Annotation


@dataclass(frozen=True, eq=False)
class Item:
    """One picture.

    Parameters
    ----------
    name : str
        What a person calls it: field of view, ``cell 12``, name of a region.
    fov : str
    file : str
        Path below the output folder, with slashes.
    place : Place
        Which part of the field it shows.
    marker_set : MarkerSet or None
        None where it could not be found; `fault` says why.
    overlays : tuple
    downsample : int
    fault : str
        Why it cannot be made, where planning found it out already; empty otherwise.
    recipe : str
        Digest of everything that decides its bytes, and of the times of change of the images, which do not
        stand in the file; empty where there is a fault.
    """

    name: str
    fov: str
    file: str
    place: Place
    marker_set: MarkerSet | None
    overlays: tuple[Overlay, ...] = ()
    downsample: int = 1
    fault: str = ""
    recipe: str = ""

    @property
    def caption(self) -> tuple[str, ...]:
        """Lines of a gallery below the name: field of view, channels, size."""
        shown = ", ".join(one.channel for one in self.marker_set.channels) if self.marker_set else ""
        size = f"1 of {self.downsample} px" if self.downsample > 1 else ""
        name = f"{self.marker_set.name}: " if self.marker_set else ""
        return (self.fov if self.fov != self.name else "", f"{name}{shown}", size)


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that an export will make.

    Parameters
    ----------
    settings : JobSettings
        A snapshot; later changes of the file it came from have no effect.
    source : ImageSource
    items : tuple of Item
        Field of view by field of view.
    infos : mapping of str to FovInfo
        Of the fields of view that can be read.
    """

    settings: JobSettings
    source: ImageSource
    items: tuple[Item, ...]
    infos: Mapping[str, FovInfo] = field(default_factory=dict)

    @cached_property
    def by_fov(self) -> dict[str, tuple[Item, ...]]:
        """Items by field of view, in the order of the plan."""
        found: dict[str, list[Item]] = defaultdict(list)
        for one in self.items:
            found[one.fov].append(one)
        return {fov: tuple(items) for fov, items in found.items()}

    def longest_px(self, item: Item) -> int:
        """Longer side of its picture (px); of a box in a mask, the most it can be."""
        info = self.infos[item.fov]
        match item.place:
            case Whole():
                side = max(info.shape)
            case AroundPoint(size_px=size) | AroundCell(max_size_px=size):
                side = size
            case Box(region=(y0, y1, x0, x1)):
                side = max(min(y1, info.height) - max(y0, 0), min(x1, info.width) - max(x0, 0))
        return -(-side // item.downsample)

    def bytes_of(self, item: Item) -> int:
        """An upper estimate of the size of its file."""
        info = self.infos.get(item.fov)
        if info is None or item.marker_set is None:
            return 0
        match item.place:
            case Whole():
                pixels = info.height * info.width
            case AroundPoint(size_px=side) | AroundCell(max_size_px=side):
                pixels = side * side
            case Box(region=(y0, y1, x0, x1)):
                pixels = (y1 - y0) * (x1 - x0)
        pixels = -(-pixels // item.downsample**2)
        if self.settings.file_format == "ome-tiff":
            return pixels * info.dtype.itemsize * len(item.marker_set.channels) + 4096
        return pixels * 3 + 4096


def plan_items(settings: JobSettings, cells: Cells | None = None, *, may_be_empty: bool = False) -> Plan:
    """Plan an export.

    Parameters
    ----------
    settings : JobSettings
    cells : Cells, optional
        Its cell table, where it was read already.
    may_be_empty : bool
        Whether a plan without items is one, too: of one field of view of many.

    Raises
    ------
    InputError, ParameterError
        Everything that is wrong with all of it: no such marker set, no items, two files of one name, a scale
        bar where the size of a pixel is not known, and so on.
    """
    from cytopipe.export.sources import open_source

    source = open_source(settings.source, settings.kind, settings.pixel_size_um, settings.masks or None)
    sets = marker_sets_of(settings)
    known = source.fov_names()
    if unknown := [name for name in settings.fovs if name not in known]:
        raise InputError(
            Finding(
                what=f"there is no field of view {name!r}",
                where=settings.source,
                expected=f"one of {', '.join(known)}",
            )
            for name in unknown
        )
    wanted = tuple(settings.fovs) or known
    cells = _cells_of(settings) if cells is None else cells
    maker = _Maker(settings, source, sets, cells, wanted)
    items = list(maker.items())
    if not items and not may_be_empty:
        raise InputError(
            "there is nothing to export",
            where=settings.source,
            expected=f"{settings.mode} in {len(wanted)} fields of view",
            next="Look at the fields of view, the condition on cells or the names of regions.",
        )
    items = [maker.checked(one) for one in items]
    findings = [*maker.without_pixel_size(items), *_collisions(items)]
    if findings:
        raise InputError(findings)
    return Plan(settings, source, tuple(items), maker.known_infos)


# ---------------------------------------------------------------------- settings as values


def marker_sets_of(settings: JobSettings) -> dict[str, MarkerSet]:
    """The marker sets of a job by name: those of its file, then its own, which go before.

    Raises
    ------
    ParameterError
        The one that is to be shown does not exist, or is not said although there are several.
    """
    found: dict[str, MarkerSet] = {}
    if settings.marker_set_file:
        from cytopipe.export.markers import read_marker_sets

        found.update(read_marker_sets(Path(settings.marker_set_file)))
    for name, channels in settings.marker_sets.items():
        styles = [
            ChannelStyle(one, colour_of(said.color), said.low, said.high) for one, said in channels.items()
        ]
        found[name] = MarkerSet(name, tuple(styles))
    if settings.marker_set and settings.marker_set not in found:
        raise ParameterError(
            f"there is no marker set {settings.marker_set!r}",
            where="marker_set",
            expected=f"one of {', '.join(found)}",
        )
    if not settings.marker_set and len(found) != 1 and not settings.shows_own:
        raise ParameterError(
            "several marker sets are there, and none was chosen",
            where="marker_set",
            expected=f"one of {', '.join(found)}",
            next="Say which one is shown: marker_set: NAME.",
        )
    return found


def _cells_of(settings: JobSettings) -> Cells | None:
    if settings.cells is None:
        return None
    from cytopipe.export.cells import read_cell_table

    checkpoint = Path(settings.cells.checkpoint) if settings.cells.checkpoint else None
    return read_cell_table(Path(settings.cells.table), checkpoint)


class _Maker:
    """Makes the items of a job; remembers what it saw of each field of view."""

    def __init__(
        self,
        settings: JobSettings,
        source: ImageSource,
        sets: Mapping[str, MarkerSet],
        cells: Cells | None,
        fovs: Sequence[str],
    ) -> None:
        self.settings, self.source, self.sets, self.cells, self.fovs = settings, source, sets, cells, fovs
        self.suffix = FORMATS[settings.file_format]
        self.shared = sets.get(settings.marker_set) or (next(iter(sets.values())) if len(sets) == 1 else None)
        self.known_infos: dict[str, FovInfo] = {}
        self._faults: dict[str, str] = {}
        self._identities: dict[tuple, str] = {}
        self._digests: dict[int, str] = {}
        self._common = digest_of({"code": CODE, "picture": PictureSettings.of(settings).as_json()})
        self._overlays: dict[str, tuple[Overlay, ...]] = {}
        self._own: dict[tuple[str, ...], tuple[Overlay, ...]] = {}
        self._presets = presets_of(settings)
        for one in settings.overlays:
            if one.color_by and cells is not None:
                cells.names(one.color_by)  # a column that is not there is wrong with all items

    def items(self) -> Iterator[Item]:
        match self.settings.mode:
            case "fov":
                for fov in self.fovs:
                    yield self._item(fov, fov, f"{self._folder(fov)}{self.suffix}", Whole())
            case "cells":
                yield from self._cells()
            case "rois":
                yield from self._rois()

    # ------------------------------------------------------------------ cells

    def _cells(self) -> Iterator[Item]:
        said = self.settings.cells
        assert said is not None and self.cells is not None  # checked by the settings
        chosen = self.cells.chosen(said.where)
        if self.settings.fovs:
            chosen = chosen[chosen["fov"].isin(self.fovs)]
        order = {fov: number for number, fov in enumerate(self.fovs)}
        groups = sorted(
            chosen.groupby("fov", sort=True), key=lambda pair: (order.get(pair[0], len(order)), pair[0])
        )
        for fov, rows in groups:
            folder = self._folder(fov)
            places = zip(rows["label"].tolist(), rows["x"].tolist(), rows["y"].tolist(), strict=True)
            for label, x, y in places:
                place: Place = (
                    AroundPoint(x, y, said.size_px + said.size_px % 2, said.pad_edges)
                    if said.around == "centroid"
                    else AroundCell(
                        said.mask, label, said.padding_px, said.min_size_px, said.max_size_px, said.pad_edges
                    )
                )
                yield self._item(f"cell {label}", fov, f"{folder}/cell_{label}{self.suffix}", place, label)

    # ------------------------------------------------------------------ regions of interest

    def _rois(self) -> Iterator[Item]:
        from cytopipe.export.rois import read_rois

        said = self.settings.rois
        assert said is not None  # checked by the settings
        rois = chosen_rois(read_rois(Path(said.file)), said)
        if self.settings.fovs:
            rois = [one for one in rois if one.fov in self.fovs]
        order = {fov: number for number, fov in enumerate(self.fovs)}
        rois = sorted(rois, key=lambda one: (order.get(one.fov, len(order)), one.fov))
        names = Counter((one.fov, _roi_name(one).casefold()) for one in rois)
        for roi in rois:
            name = _roi_name(roi)
            file = slug(_plain(name))
            if names[roi.fov, name.casefold()] > 1:  # two regions of one name are two files
                file = f"{file}_{slug(_plain(roi.roi_id))[:8]}"
            yield self._roi(roi, name, f"{self._folder(roi.fov or 'no field')}/{file}{self.suffix}", said)

    def _roi(self, roi: Roi, name: str, file: str, said: RoiSettings) -> Item:
        marker_set, fault = self._marker_set_of(roi, said)
        if not roi.fov:
            fault = "the region belongs to no field of view"
        info = self._info(roi.fov) if roi.fov else None
        if info is None:
            item = self._item(name, roi.fov, file, Whole(), marker_set=marker_set)
            return replace(item, fault=fault or self._faults.get(roi.fov, "there is no such field of view"))
        region = region_of_roi(roi.box, info.shape)
        points = roi.geometry if said.draw_shape and roi.is_shape else ()
        place = Box(region, points, roi.closed)
        item = self._item(name, roi.fov, file, place, marker_set=marker_set)
        if self._presets is not None and not fault:
            try:
                item = replace(item, overlays=self._own_overlays(roi, info, item.overlays))
            except CytopipeError as error:
                fault = f"region {name!r}: {error}"
        y0, y1, x0, x1 = region
        if y1 <= 0 or x1 <= 0 or y0 >= info.height or x0 >= info.width:
            fault = (
                fault or f"the region lies outside of the field, which has {info.height} x {info.width} px"
            )
        longest = max(min(y1, info.height) - max(y0, 0), min(x1, info.width) - max(x0, 0))
        return replace(item, fault=fault, downsample=self._downsample_of(longest, said))

    def _marker_set_of(self, roi: Roi, said: RoiSettings) -> tuple[MarkerSet | None, str]:
        """The marker set of a region; where it has none, why."""
        if said.settings == "shared" or not roi.marker_set:
            fault = "" if self.shared else "the region names no marker set, and the job has chosen none"
            return self.shared, fault
        if roi.marker_set in self.sets:
            return self.sets[roi.marker_set], ""
        if not roi.marker_set.startswith(CURRENT):
            return None, f"there is no marker set {roi.marker_set!r}; expected one of {', '.join(self.sets)}"
        # UELer wrote which channels were shown, not how: they look as in the marker sets of the job
        known = {one.channel: one for some in self.sets.values() for one in some.channels}
        known |= {one.channel: one for one in self.shared.channels} if self.shared else {}
        names = [one.strip() for one in roi.marker_set.removeprefix(CURRENT).split(",") if one.strip()]
        if missing := [name for name in names if name not in known]:
            return None, (
                f"the region was seen with channel {missing[0]!r}, which no marker set of the job shows; "
                f"expected one of {', '.join(known)}"
            )
        return MarkerSet("current", tuple(known[name] for name in dict.fromkeys(names))), ""

    def _own_overlays(self, roi: Roi, info: FovInfo, shared: tuple[Overlay, ...]) -> tuple[Overlay, ...]:
        from cytopipe.export.presets import own_overlays

        said = (roi.annotation_palette, roi.mask_color_set, roi.mask_visibility, roi.mask_painter_state)
        if not any(said):
            return shared
        key = (roi.fov, *said)
        if key not in self._own:  # regions of a field were often seen in the same way
            mask = self.settings.cells.mask if self.settings.cells else "whole_cell"
            self._own[key] = own_overlays(roi, shared, self._presets, info.masks, self.cells, mask)
        return self._own[key]

    def _downsample_of(self, longest: int, said: RoiSettings) -> int:
        if said.size_px is None:
            return self.settings.downsample
        return max(1, math.ceil(longest / (said.size_px + 100)), round(longest / said.size_px))

    # ------------------------------------------------------------------ one item

    def _item(
        self,
        name: str,
        fov: str,
        file: str,
        place: Place,
        label: int = 0,
        *,
        marker_set: MarkerSet | None = None,
    ) -> Item:
        overlays = self._overlays_of(fov, label) if fov else ()
        return Item(name, fov, file, place, marker_set or self.shared, overlays, self.settings.downsample)

    def _folder(self, fov: str) -> str:
        return slug(_plain(fov))

    def _overlays_of(self, fov: str, label: int) -> tuple[Overlay, ...]:
        if fov not in self._overlays:
            self._overlays[fov] = tuple(self._overlay(one, fov) for one in self.settings.overlays)
        return tuple(
            replace(drawn, cells=frozenset({label}))
            if said.only_own and label and isinstance(drawn, MaskStyle)
            else drawn
            for said, drawn in zip(self.settings.overlays, self._overlays[fov], strict=True)
        )

    def _overlay(self, said: OverlaySetting, fov: str) -> Overlay:
        if said.annotation:
            return Annotation(said.annotation, tuple(colour_of(one) for one in said.palette), said.opacity)
        if not said.color_by:
            return MaskStyle(said.mask, colour_of(said.color), said.opacity, said.mode, said.thickness_px)
        assert self.cells is not None  # checked by the settings
        values = self.cells.groups(said.color_by).get(fov, {})
        given = dict(said.palette) if isinstance(said.palette, Mapping) else {}
        if not given and said.color_by == "metacluster":
            given = dict(self.cells.colours)
        if not given:  # the same colours in every field of view, whichever groups it has
            names = self.cells.names(said.color_by)
            given = {one: _CATEGORY_COLOURS[i % len(_CATEGORY_COLOURS)] for i, one in enumerate(names)}
        rgb = {name: colour_of(colour) for name, colour in given.items()}
        colours = {label: rgb[value] for label, value in values.items() if value in rgb}
        filled = frozenset(colours) if said.mode == "fill" else frozenset()
        return CellColours(
            said.mask,
            colours,
            filled,
            fill_opacity=said.opacity,
            border_opacity=said.opacity if said.mode == "outline" else 1.0,
            thickness_px=said.thickness_px,
        )

    # ------------------------------------------------------------------ what is known of the fields

    def _info(self, fov: str) -> FovInfo | None:
        if fov in self.known_infos or fov in self._faults:
            return self.known_infos.get(fov)
        try:
            self.known_infos[fov] = self.source.describe(fov)
        except CytopipeError as error:
            self._faults[fov] = str(error)
        return self.known_infos.get(fov)

    def checked(self, item: Item) -> Item:
        """The item with what is wrong with it, or with its recipe."""
        if item.fault:
            return item
        info = self._info(item.fov)
        if info is None:
            return replace(item, fault=self._faults[item.fov])
        if item.marker_set is None:
            return replace(item, fault="no marker set was chosen")
        if isinstance(item.place, AroundPoint) and not (
            -0.5 <= item.place.x <= info.width - 0.5 and -0.5 <= item.place.y <= info.height - 0.5
        ):
            return replace(
                item,
                fault=f"the centre ({item.place.x:g}, {item.place.y:g}) lies outside of the field, which has "
                f"{info.width} x {info.height} px; expected columns x and y in pixels",
            )
        channels = tuple(one.channel for one in item.marker_set.channels)
        masks = tuple(
            dict.fromkeys(
                [
                    *(one.name if isinstance(one, Annotation) else one.mask for one in item.overlays),
                    *([item.place.mask] if isinstance(item.place, AroundCell) else []),
                ]
            )
        )
        key = (item.fov, channels, masks)
        if key not in self._identities:
            try:
                self._identities[key] = self.source.identity(item.fov, channels, masks)
            except CytopipeError as error:
                self._identities[key] = ""
                self._faults[f"{key}"] = str(error)
        if not self._identities[key]:
            return replace(item, fault=self._faults[f"{key}"])
        return replace(item, recipe=self._recipe(item, info, self._identities[key]))

    def _recipe(self, item: Item, info: FovInfo, identity: str) -> str:
        return digest_of(
            {
                "common": self._common,
                "name": item.name,
                "fov": item.fov,
                "place": [type(item.place).__name__, vars(item.place)],
                "marker_set": self._digest(item.marker_set),
                "overlays": [self._digest(one) for one in item.overlays],
                "downsample": item.downsample,
                "pixel_size_um": info.pixel_size_um,
                "source": identity,
            }
        )[:32]

    def _digest(self, value: MarkerSet | Overlay) -> str:
        """Of a style; the many items of a field share the object, so it is taken once."""
        if isinstance(value, MaskStyle):
            return digest_of(asdict(value) | {"cells": None if value.cells is None else sorted(value.cells)})
        if id(value) not in self._digests:
            written = asdict(value)
            if isinstance(value, CellColours):
                written = {
                    "mask": value.mask,
                    "colours": [[label, *value.colours[label]] for label in value.cells],
                    "filled": sorted(value.filled),
                    "opacity": [value.fill_opacity, value.border_opacity],
                    "fills": sorted(value.fill_opacities.items()),
                    "borders": [[label, *rgb] for label, rgb in sorted(value.border_colours.items())],
                    "thickness_px": value.thickness_px,
                }
            self._digests[id(value)] = digest_of(written)
        return self._digests[id(value)]

    def without_pixel_size(self, items: Sequence[Item]) -> Iterator[Finding]:
        """Fields of view in which a scale bar is to be drawn, and cannot."""
        if not self.settings.scale_bar or self.settings.file_format == "ome-tiff":
            return
        shown = {one.fov for one in items if not one.fault}
        lost = [fov for fov in self.fovs if fov in shown and self.known_infos[fov].pixel_size_um is None]
        if lost:
            yield Finding(
                what="a scale bar needs the size of a pixel, and the files do not say it",
                where=f"{self.settings.source}: {', '.join(lost[:5])}{' ...' if len(lost) > 5 else ''}",
                next="State pixel_size_um (micrometres), or write scale_bar: false.",
            )


def presets_of(settings: JobSettings) -> Presets | None:
    """The palettes and colour sets of UELer that regions name; None where none is shown as it was seen."""
    if settings.rois is None or not settings.shows_own:
        return None
    from cytopipe.export.presets import Presets

    return Presets(
        Path(settings.rois.palettes) if settings.rois.palettes else Path(settings.rois.file).parent
    )


def chosen_rois(rois: Sequence[Roi], said: RoiSettings) -> list[Roi]:
    """The regions that a job names, or that have one of its tags; all where it does neither."""
    names = {one.name for one in rois} | {one.roi_id for one in rois}
    if unknown := [name for name in said.names if name not in names]:
        raise InputError(
            Finding(
                what=f"there is no region {name!r}",
                where=said.file,
                expected=f"one of {', '.join(sorted(one.name for one in rois if one.name)[:40])}",
            )
            for name in unknown
        )
    return [
        one
        for one in rois
        if (not said.names or one.name in said.names or one.roi_id in said.names)
        and (not said.tags or set(said.tags) & set(one.tags))
    ]


def _roi_name(roi: Roi) -> str:
    return roi.name.strip() or roi.roi_id


def _plain(name: str) -> str:
    """A name of which a file name can be made: without control characters, of a bounded length."""
    text = "".join(one if one.isprintable() else "_" for one in name)[:400].replace("...", "___")
    text = text if text.strip() else "unnamed"
    check_key(text)
    return text


def _collisions(items: Sequence[Item], most: int = 20) -> Iterator[Finding]:
    taken: dict[str, Item] = {}
    folders: dict[str, str] = {}
    told = 0
    for one in items:
        key = one.file.casefold()  # one file on macOS and Windows
        other = taken.setdefault(key, one)
        folder = key.rpartition("/")[0]
        if other is one and (not folder or folders.setdefault(folder, one.fov) == one.fov):
            continue
        told += 1
        if told > most:
            return
        if other is one:
            yield Finding(
                what="two fields of view would share a folder",
                where=one.file.rpartition("/")[0],
                found=f"{folders[folder]!r} and {one.fov!r}",
                next="Rename one of them.",
            )
            continue
        yield Finding(
            what="two items would be written to one file",
            where=one.file,
            found=f"{other.name!r} of {other.fov!r} and {one.name!r} of {one.fov!r}",
            next="Rename one of them, or leave it out.",
        )
