"""What a region of UELer was seen with beside its marker set: masks, cells in colours, a palette of classes.

Four columns of the file of regions say it. `mask_visibility` is JSON: by mask whether it was shown.
`mask_painter_state` is JSON: how the mask painter coloured cells. `mask_color_set` and `annotation_palette`
are names of files that UELer keeps beside the regions: `<name>.maskcolors.json`, and in the folder
`pixel_annotation_palettes` `<name>.pixelannotations.json`. All of it is checked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cytopipe.errors import CytopipeError, Finding, InputError
from cytopipe.export.styles import Annotation, CellColours, Colour, MaskStyle, colour_of

if TYPE_CHECKING:
    from cytopipe.export.cells import Cells
    from cytopipe.export.rois import Roi

__all__ = ["Painter", "Presets", "parse_mask_visibility", "parse_painter_state"]

MAX_BYTES = 16 << 20
_MOST_FILES, _MOST_CLASSES, _LAST_CLASS = 10_000, 100_000, 65_535
_FOLDERS = (".", "pixel_annotation_palettes")
_PALETTE, _COLOURS = ".pixelannotations.json", ".maskcolors.json"
_FILL_PERCENT, _ANNOTATION_OPACITY, _DEFAULT = 35, 0.5, "#a0a0a0"
_WHITE: Colour = (1.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class Gradient:
    """Cells in the colours of a number: a colour map of matplotlib between two limits.

    The limits are those of arcsinh(value / cofactor) where a cofactor is given; where they are None, 1 % and
    99 % of the cells of all fields of view lie below them.
    """

    colormap: str
    low: float | None
    high: float | None
    cofactor: float | None
    filled: bool
    opacity: float


@dataclass(frozen=True, eq=False)
class Painter:
    """How the mask painter of UELer colours the cells of a mask by a column of the cell table.

    Parameters
    ----------
    column : str
    mask : str
        Empty where the file does not say it (colour sets do not).
    colours : mapping of str to Colour
        Of the classes that are painted.
    hidden : frozenset of str
        Classes that are not painted.
    filled : frozenset of str
    opacities : mapping of str to float
        Of filled classes; `opacity` for the others.
    others : Colour
        Of cells of any further class.
    others_filled : bool
    opacity : float
    border : {'cell', 'mask'} or Colour
        Of borders: the colour of their cell, of the mask, or their own.
    outlined_as_border : bool
        Whether outlines of cells without an area have the colour of borders, too.
    borders_of_filled, borders_of_others : bool
        Whether filled cells have a border, and the others an outline.
    border_opacity : float
    mask_colour : Colour or None
        Of the mask itself, where it is drawn below.
    thickness_px : float or None
    gradient : Gradient or None
        In place of classes.
    """

    column: str
    mask: str = ""
    colours: Mapping[str, Colour] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    filled: frozenset[str] = frozenset()
    opacities: Mapping[str, float] = field(default_factory=dict)
    others: Colour = _WHITE
    others_filled: bool = False
    opacity: float = _FILL_PERCENT / 100
    border: Colour | str = "cell"
    outlined_as_border: bool = False
    borders_of_filled: bool = False
    borders_of_others: bool = True
    border_opacity: float = 1.0
    mask_colour: Colour | None = None
    thickness_px: float | None = None
    gradient: Gradient | None = None

    def cells(self, table: Cells, fov: str, below: MaskStyle) -> tuple[CellColours, ...]:
        """The cells of a field of view in their colours: those with an area, then those with an outline.

        Parameters
        ----------
        table : Cells
        fov : str
        below : MaskStyle
            The mask, and how all of its cells are drawn.

        Raises
        ------
        InputError
            The table has no such column, or it holds no numbers.
        """
        colours, filled, opacities = (self._by_class if self.gradient is None else self._by_number)(
            table, fov
        )
        areas = {label: colour for label, colour in colours.items() if label in filled}
        lines = {label: colour for label, colour in colours.items() if label not in filled}
        border = below.colour if self.border == "mask" else self.border
        drawn = []
        if areas:
            drawn.append(
                CellColours(
                    below.mask,
                    areas,
                    frozenset(areas),
                    fill_opacities=opacities,
                    border_colours={} if border == "cell" else dict.fromkeys(areas, border),
                    border_opacity=self.border_opacity if self.borders_of_filled else 0.0,
                    thickness_px=below.thickness_px,
                )
            )
        if lines and self.borders_of_others:
            if border != "cell" and self.outlined_as_border:
                lines = dict.fromkeys(lines, border)
            drawn.append(
                CellColours(
                    below.mask, lines, border_opacity=self.border_opacity, thickness_px=below.thickness_px
                )
            )
        return tuple(drawn)

    def _by_class(self, table: Cells, fov: str) -> tuple[dict[int, Colour], frozenset[int], dict[int, float]]:
        colours, filled, opacities = {}, [], {}
        for label, name in table.groups(self.column).get(fov, {}).items():
            if name in self.hidden:
                continue
            is_active = name in self.colours
            colours[label] = self.colours.get(name, self.others)
            if name in self.filled if is_active else self.others_filled:
                filled.append(label)
                opacities[label] = self.opacities.get(name, self.opacity) if is_active else self.opacity
        return colours, frozenset(filled), opacities

    def _by_number(
        self, table: Cells, fov: str
    ) -> tuple[dict[int, Colour], frozenset[int], dict[int, float]]:
        import matplotlib
        import numpy as np

        assert self.gradient is not None
        scale = self.gradient
        labels, values, known = table.numbers(self.column, fov)

        def scaled(numbers: np.ndarray) -> np.ndarray:
            return numbers if scale.cofactor is None else np.arcsinh(numbers / scale.cofactor)

        low, high = scale.low, scale.high
        if low is None or high is None:  # over all fields of view, so that a colour means one value
            low, high = np.percentile(scaled(known), [1, 99])
        span = high - low if high > low else 1.0
        shares = np.clip((scaled(values) - low) / span, 0, 1)
        rgb = np.round(matplotlib.colormaps[scale.colormap](shares)[:, :3] * 255) / 255
        colours = {label: tuple(one) for label, one in zip(labels.tolist(), rgb.tolist(), strict=True)}
        filled = frozenset(colours) if scale.filled else frozenset()
        return colours, filled, dict.fromkeys(filled, scale.opacity)


# ---------------------------------------------------------------------- columns of a region


def parse_mask_visibility(text: str, *, where: str = "mask_visibility") -> dict[str, bool]:
    """By mask, whether it was shown. Errors as :func:`parse_painter_state`."""
    document = _object(text.encode(), where)
    wrong = [name for name, shown in document.items() if not isinstance(shown, bool)]
    if wrong:
        raise InputError(
            f"does not say whether the mask {wrong[0]!r} is shown",
            where=where,
            expected='{"whole_cell": true, "nuclear": false}',
            found=repr(document[wrong[0]])[:80],
        )
    return document


def parse_painter_state(text: str, *, where: str = "mask_painter_state") -> Painter:
    """How cells were painted.

    Raises
    ------
    InputError
        With every finding: no JSON object, values of another kind, colours or colour maps that are not known.
    """
    read = _Reader(_object(text.encode(), where), where)
    painter = _painter(
        read,
        colours=read.mapping("class_colors"),
        shown=read.mapping("class_visible"),
        filled=[name for name, one in read.mapping("class_fill").items() if one is True],
        percents=read.mapping("class_opacity"),
        legacy_borders="show_borders_on_filled",
        gradient=read,
        names=("continuous_column", "arcsinh_cofactor", "continuous_fill", "continuous_opacity"),
    )
    read.finish()
    return painter


def parse_colour_set(data: bytes, *, where: str = "mask_color_set") -> Painter:
    """A colour set that the mask painter saved; errors as :func:`parse_painter_state`."""
    read = _Reader(_object(data, where), where)
    painter = _painter(
        read,
        colours=read.mapping("colors"),
        shown=read.mapping("visible"),
        filled=[name for name, one in read.mapping("modes").items() if one == "fill"],
        percents=read.mapping("opacities"),
        legacy_borders="show_fill_borders",
        gradient=_Reader(read.mapping("continuous"), where, read.findings),
        names=("column", "cofactor", "fill", "opacity"),
    )
    read.finish()
    return painter


def parse_annotation_palette(data: bytes, *, where: str = "annotation_palette") -> Annotation | None:
    """A palette of pixel annotations; None where it was saved with the annotation not drawn.

    Raises
    ------
    InputError
        As :func:`parse_painter_state`.
    """
    read = _Reader(_object(data, where), where)
    name = read.text("annotation")
    colours = {key: read.colour("colors", one) for key, one in read.mapping("colors").items()}
    classes = read.document.get("class_ids") or [key for key in colours if key.isdecimal()]
    try:
        numbers = sorted({int(one) for one in classes})
    except (TypeError, ValueError):
        numbers = []
    if not name:
        read.wrong("names no annotation", "annotation: the name of a label image", "")
    if not numbers or numbers[0] < 0 or numbers[-1] > _LAST_CLASS:
        read.wrong("has no classes", f"class_ids: numbers from 0 to {_LAST_CLASS:,}", repr(classes)[:80])
    opacity = read.number("alpha", _ANNOTATION_OPACITY)
    if not 0 <= opacity <= 1:
        read.wrong("has an opacity that is not possible", "alpha: 0 to 1", f"{opacity:g}")
    read.finish()
    default = colour_of(_DEFAULT)
    palette = tuple(colours.get(str(number), default) for number in range(numbers[-1] + 1))
    return None if read.document.get("mode") == "mask" else Annotation(name, palette, opacity)


def _painter(
    read: _Reader,
    *,
    colours: Mapping[str, Any],
    shown: Mapping[str, Any],
    filled: Sequence[str],
    percents: Mapping[str, Any],
    legacy_borders: str,
    gradient: _Reader,
    names: tuple[str, str, str, str],
) -> Painter:
    """What states and colour sets say in the same way."""
    is_gradient = read.choice("color_mode", ("categorical", "continuous")) == "continuous"
    column = gradient.text(names[0]) if is_gradient else read.text("identifier")
    if not column:
        read.wrong(
            "names no column of the cell table", f"{names[0] if is_gradient else 'identifier'}: its name", ""
        )
    active = read.names("active_classes", list(colours))
    by_class = {name: read.colour(name, one) for name, one in colours.items()}
    others = read.colour("default_color", read.document.get("default_color", _DEFAULT))
    mask_colour = read.document.get("mask_type_color")
    mask_colour = read.colour("mask_type_color", mask_colour) if mask_colour else None
    mode = read.choice("border_color_mode", ("mask_type_color", "same_as_fill", "custom"))
    border = {
        "same_as_fill": "cell",
        "mask_type_color": "mask",
        "custom": read.colour("border_custom_color", read.document.get("border_custom_color", _DEFAULT)),
    }[mode]
    is_new = "show_borders" in read.document
    borders = read.switch("show_borders", True)
    return Painter(
        column,
        mask=read.text("mask_name"),
        colours={name: by_class.get(name, others) for name in active},
        hidden=frozenset(name for name in active if shown.get(name, True) is False),
        filled=frozenset(filled),
        opacities={name: read.percent(name, one) for name, one in percents.items()},
        others=others,
        others_filled=read.switch("global_fill", False),
        opacity=read.percent("global_fill_opacity", read.document.get("global_fill_opacity", _FILL_PERCENT)),
        border=border,
        outlined_as_border=is_new,
        borders_of_filled=borders if is_new else read.switch(legacy_borders, False),
        borders_of_others=borders,
        border_opacity=read.percent("border_opacity", read.document.get("border_opacity", 100)),
        mask_colour=mask_colour,
        thickness_px=max(1.0, read.number("outline_thickness", 1.0))
        if read.has("outline_thickness")
        else None,
        gradient=_gradient(gradient, names) if is_gradient else None,
    )


def _gradient(read: _Reader, names: tuple[str, str, str, str]) -> Gradient:
    import matplotlib

    _, cofactor, fill, opacity = names
    colormap = read.text("colormap") or "viridis"
    if colormap not in matplotlib.colormaps:
        read.wrong(
            "has a colour map that is not known", "one of matplotlib, such as viridis", repr(colormap)[:80]
        )
    divisor = read.number(cofactor, 5.0)
    automatic = read.switch("auto_range", False)
    return Gradient(
        colormap,
        None if automatic else read.number("vmin", 0.0),
        None if automatic else read.number("vmax", 1.0),
        (divisor if divisor > 0 else 1.0) if read.switch("arcsinh", False) else None,
        read.switch(fill, True),
        read.percent(opacity, read.document.get(opacity, 100)),
    )


def _object(data: bytes, where: str) -> dict[str, Any]:
    from cytopipe.storage.state import parse_json

    document = parse_json(data, where=where, max_bytes=MAX_BYTES)
    if not isinstance(document, dict):
        raise InputError("is no JSON object", where=where, expected="{...}", found=type(document).__name__)
    return document


class _Reader:
    """Values of a document of UELer, with everything that is wrong with them."""

    def __init__(
        self, document: Mapping[str, Any], where: str, findings: list[Finding] | None = None
    ) -> None:
        self.document, self.where = document, where
        self.findings: list[Finding] = [] if findings is None else findings

    def has(self, name: str) -> bool:
        return name in self.document

    def wrong(self, what: str, expected: str, found: str) -> None:
        self.findings.append(Finding(what=what, where=self.where, expected=expected, found=found))

    def finish(self) -> None:
        if self.findings:
            raise InputError(self.findings[:20])

    def text(self, name: str) -> str:
        value = self.document.get(name) or ""
        if isinstance(value, str):
            return value.strip()
        self.wrong(f"{name} is no text", "text", repr(value)[:80])
        return ""

    def switch(self, name: str, default: bool) -> bool:
        value = self.document.get(name, default)
        if not isinstance(value, bool):
            self.wrong(f"{name} is no truth value", "true or false", repr(value)[:80])
            return default
        return value

    def number(self, name: str, default: float) -> float:
        value = self.document.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.wrong(f"{name} is no number", "a number", repr(value)[:80])
            return default
        return float(value)

    def percent(self, name: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
            self.wrong(f"the opacity of {name!r} is not possible", "0 to 100 percent", repr(value)[:80])
            return 1.0
        return value / 100

    def choice(self, name: str, options: tuple[str, ...]) -> str:
        value = self.document.get(name) or options[0]
        if value not in options:
            self.wrong(f"{name} is not known", f"one of {', '.join(options)}", repr(value)[:80])
            return options[0]
        return value

    def mapping(self, name: str) -> Mapping[str, Any]:
        value = self.document.get(name) or {}
        if not isinstance(value, dict) or len(value) > _MOST_CLASSES:
            self.wrong(f"{name} is no mapping", "values by class", repr(value)[:80])
            return {}
        return value

    def names(self, name: str, default: list[str]) -> list[str]:
        value = self.document.get(name, default)
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            self.wrong(f"{name} is no list of names", '["T cell", "B cell"]', repr(value)[:80])
            return []
        return value

    def colour(self, name: str, value: object) -> Colour:
        for text in (value, f"#{value}"):
            try:
                return colour_of(text) if isinstance(text, str) else colour_of("")
            except InputError:
                continue
        self.wrong(f"the colour of {name!r} is not known", "#rrggbb", repr(value)[:80])
        return _WHITE


# ---------------------------------------------------------------------- files of UELer


class Presets:
    """Palettes and colour sets that lie in a folder of UELer, by the name that was given to them.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._palettes: dict[str, Annotation | None] = {}
        self._colour_sets: dict[str, Painter] = {}

    @cached_property
    def files(self) -> list[Path]:
        """All of them, sorted."""
        found: list[Path] = []
        for below in _FOLDERS:
            try:
                inside = sorted((self.folder / below).iterdir())
            except OSError:
                continue
            found += [one for one in inside if one.name.endswith((_PALETTE, _COLOURS)) and one.is_file()]
        return found[:_MOST_FILES]

    def palette(self, name: str) -> Annotation | None:
        """A palette of pixel annotations, as :func:`parse_annotation_palette`."""
        if name not in self._palettes:
            path, data = self._file(name, _PALETTE, "annotation_palette")
            self._palettes[name] = parse_annotation_palette(data, where=f"annotation_palette: {path}")
        return self._palettes[name]

    def colour_set(self, name: str) -> Painter:
        """A colour set, as :func:`parse_colour_set`."""
        if name not in self._colour_sets:
            path, data = self._file(name, _COLOURS, "mask_color_set")
            self._colour_sets[name] = parse_colour_set(data, where=f"mask_color_set: {path}")
        return self._colour_sets[name]

    def files_for(self, roi: Roi) -> list[Path]:
        """The files that a region may be drawn from."""
        named = [(roi.annotation_palette, _PALETTE), (roi.mask_color_set, _COLOURS)]
        return [one for one in self.files for name, suffix in named if name and one.name.endswith(suffix)]

    def spread_columns(self, roi: Roi) -> list[str]:
        """The columns of the cell table whose values in all fields of view decide the colours of a region."""
        if roi.mask_painter_state or not roi.mask_color_set:
            return []
        painter = self.colour_set(roi.mask_color_set)
        return [painter.column] if painter.gradient is not None and painter.gradient.low is None else []

    def _file(self, name: str, suffix: str, column: str) -> tuple[Path, bytes]:
        """The file that calls itself by a name; the one that UELer names after it is looked at first."""
        from cytopipe.storage.guard.budget import read_bounded

        plain = re.sub("-+", "-", re.sub(r"[^a-zA-Z0-9-_]+", "-", name.strip().lower())).strip("-")
        usual = plain + suffix
        there = [one for one in self.files if one.name.endswith(suffix)]
        known = []
        for path in sorted(there, key=lambda one: one.name != usual):
            try:
                data = read_bounded(path, MAX_BYTES)
                called = _object(data, str(path)).get("name", path.name.removesuffix(suffix))
            except CytopipeError:
                if path.name == usual:
                    raise
                continue  # another file is broken; it is not asked for
            if called == name:
                return path, data
            known.append(str(called))
        raise InputError(
            f"there is no file of {name!r}",
            where=column,
            expected=f"{usual} in {self.folder}" + (f", or one of {', '.join(known[:20])}" if known else ""),
            next="Copy it from the .UELer folder, say rois: {palettes: FOLDER}, or choose settings: shared.",
        )


# ---------------------------------------------------------------------- all of a region


def own_overlays(
    roi: Roi,
    shared: Sequence[MaskStyle | CellColours | Annotation],
    presets: Presets,
    masks: Sequence[str],
    cells: Cells | None,
    usual_mask: str,
) -> tuple[MaskStyle | CellColours | Annotation, ...]:
    """What is drawn over the channels of a region: what it was seen with, in place of what all regions have.

    Parameters
    ----------
    roi : Roi
    shared : sequence
        Overlays of the job: they stand where the region says nothing.
    presets : Presets
    masks : sequence of str
        That its field of view has.
    cells : Cells or None
        The cell table of the job.
    usual_mask : str
        In which cells have their labels, where the region does not say it.

    Raises
    ------
    InputError
        What a column says is malformed, or is not there; `where` names the column.
    """
    annotations = [one for one in shared if isinstance(one, Annotation)]
    outlines = [one for one in shared if not isinstance(one, Annotation)]
    if roi.annotation_palette:
        palette = presets.palette(roi.annotation_palette)
        annotations = [] if palette is None else [palette]
        _there([one.name for one in annotations], masks, "annotation_palette", "annotation")
    if not (roi.mask_visibility or roi.mask_color_set or roi.mask_painter_state):
        return (*annotations, *outlines)
    visible = parse_mask_visibility(roi.mask_visibility) if roi.mask_visibility else {}
    _there([name for name, shown in visible.items() if shown], masks, "mask_visibility", "mask")
    painter, column = None, "mask_painter_state" if roi.mask_painter_state else "mask_color_set"
    if roi.mask_painter_state:  # it is what was seen; the colour set is what it began with
        painter = parse_painter_state(roi.mask_painter_state)
    elif roi.mask_color_set:
        painter = presets.colour_set(roi.mask_color_set)
    painted = painter.mask or usual_mask if painter else ""
    styles = {name: _style(name, outlines, painter if name == painted else None) for name in masks}
    drawn: list[MaskStyle | CellColours] = [styles[name] for name, shown in visible.items() if shown]
    if painter and visible.get(painted, True):
        _there([painted], masks, column, "mask")
        if cells is None:
            raise InputError(
                f"colours cells by {painter.column!r}, and the job has no cell table",
                where=column,
                expected="cells: {table: cells.csv}",
                next="Name the table, or choose settings: shared.",
            )
        drawn += painter.cells(cells, roi.fov, styles[painted])
    return (*annotations, *drawn)


def _style(name: str, shared: Sequence[MaskStyle | CellColours], painter: Painter | None) -> MaskStyle:
    """How a mask is outlined: as it was seen, else as the job says, else white."""
    known = next((one for one in shared if one.mask == name), None)
    colour = known.colour if isinstance(known, MaskStyle) else _WHITE
    thickness = known.thickness_px if known else 1.0
    if painter is not None:
        colour, thickness = painter.mask_colour or colour, painter.thickness_px or thickness
    return MaskStyle(name, colour, thickness_px=thickness)


def _there(wanted: Sequence[str], masks: Sequence[str], column: str, what: str) -> None:
    if missing := [name for name in wanted if name not in masks]:
        raise InputError(
            f"the field of view has no {what} {missing[0]!r}",
            where=column,
            expected=f"one of {', '.join(masks)}" if masks else f"there is no {what}",
        )
