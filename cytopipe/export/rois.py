"""Regions of interest as UELer keeps them: a CSV of 24 columns, one row for each.

A region is a view (a box of a field of view) or a shape that a person drew, an open line or a polygon, with a
box around it. Coordinates are pixels of the full image, x along columns. Columns that an older file does not
have are empty; what stands in a column is text of the user and names no path.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cytopipe.errors import CytopipeError, Finding, InputError
from cytopipe.export.csv_rows import MAX_BYTES, parse_csv

__all__ = ["ROI_COLUMNS", "Roi", "format_rois", "parse_rois", "read_rois"]

_KINDS = ("", "view", "line")
_NUMBERS = ("x", "y", "width", "height", "zoom", "x_min", "x_max", "y_min", "y_max")
_PADDING_PX, _LEAST_PX = 4.0, 8.0  # of the box around a shape
_MOST_FINDINGS, _MOST_POINTS = 20, 100_000


@dataclass(frozen=True)
class Roi:
    """One region of interest; the fields are the columns of the file, in their order.

    Parameters
    ----------
    roi_id : str
        Tells two regions of one name apart.
    name, fov, map_id : str
        `map_id` where it lies on a map of several fields, and `fov` is empty.
    x, y, width, height, zoom : float or None
        Centre and size of the view (px); None where the file has nothing.
    x_min, x_max, y_min, y_max : float or None
        Its box (px).
    marker_set : str
        Name of the marker set it was seen with; empty where it has none.
    tags : tuple of str
    annotation_palette, mask_color_set, mask_visibility, mask_painter_state, comment : str
        As they stand; the states are JSON.
    roi_kind : str
        ``view``, ``line`` (a shape) or empty (a view, or a shape where there is a geometry).
    geometry : tuple of (float, float)
        Corners (x, y) of a shape; empty for a view.
    closed : bool
        Whether the shape is a polygon. Not a column: it stands in the geometry.
    created_at, updated_at : str
        ISO 8601.
    """

    roi_id: str
    name: str = ""
    fov: str = ""
    map_id: str = ""
    x: float | None = None
    y: float | None = None
    width: float | None = None
    height: float | None = None
    zoom: float | None = None
    x_min: float | None = None
    x_max: float | None = None
    y_min: float | None = None
    y_max: float | None = None
    marker_set: str = ""
    tags: tuple[str, ...] = ()
    annotation_palette: str = ""
    mask_color_set: str = ""
    mask_visibility: str = ""
    mask_painter_state: str = ""
    comment: str = ""
    roi_kind: str = ""
    geometry: tuple[tuple[float, float], ...] = ()
    created_at: str = ""
    updated_at: str = ""
    closed: bool = False

    @property
    def is_shape(self) -> bool:
        return self.roi_kind == "line" or (not self.roi_kind and bool(self.geometry))

    @property
    def box(self) -> dict[str, float | None]:
        """``x_min``, ``x_max``, ``y_min``, ``y_max``, ``x``, ``y``, ``width`` and ``height``, as
        `render_roi_to_array` takes them. A shape without a box gets one around its corners.
        """
        found = {name: getattr(self, name) for name in _NUMBERS if name != "zoom"}
        sides = [found[name] for name in ("x_min", "x_max", "y_min", "y_max")]
        if self.geometry and (None in sides or not any(sides)):
            for axis, at in (("x", 0), ("y", 1)):
                values = [point[at] for point in self.geometry]
                found[f"{axis}_min"], found[f"{axis}_max"] = _padded(min(values), max(values))
        return found


ROI_COLUMNS = tuple(one.name for one in fields(Roi) if one.name != "closed")
"""Columns of the file, in their order."""


def read_rois(path: Path | str) -> list[Roi]:
    """Regions of a CSV file, in its order; errors as :func:`parse_rois`."""
    from cytopipe.storage.guard.budget import read_bounded

    return parse_rois(read_bounded(Path(path), MAX_BYTES), where=str(path))


def parse_rois(data: bytes, *, where: str = "") -> list[Roi]:
    """Regions of a CSV.

    Parameters
    ----------
    data : bytes
        UTF-8 with a header. ``fov`` has to be there; other columns may be missing, further ones are passed
        over. A row without ``roi_id`` gets one that is made of its content.
    where : str
        For messages.

    Raises
    ------
    InputError
        With every finding and its line: no CSV, numbers that are none, a kind or geometry that is not known,
        a ``roi_id`` that stands twice, a region of no field and no map.
    """
    rows = parse_csv(data, ["fov"], where=where)
    findings: list[Finding] = []
    found: list[Roi] = []
    for number, row in enumerate(rows, 1):
        place = f"{where}: region {number}" if where else f"region {number}"
        try:
            found.append(_roi({name: _text(row.get(name, "")) for name in ROI_COLUMNS}, number, place))
        except CytopipeError as error:
            findings += error.findings
    seen: dict[str, int] = {}
    for number, roi in enumerate(found, 1):
        if roi.roi_id in seen and not findings:
            findings.append(
                Finding(
                    what=f"the roi_id {roi.roi_id!r} stands twice",
                    where=where,
                    found=f"regions {seen[roi.roi_id]} and {number}",
                    next="Give one of them another roi_id, or leave it empty.",
                )
            )
        seen.setdefault(roi.roi_id, number)
    if findings:
        raise InputError(findings[:_MOST_FINDINGS])
    return found


def format_rois(rois: Iterable[Roi]) -> bytes:
    """CSV that UELer and :func:`parse_rois` read, the same bytes for the same regions."""
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(ROI_COLUMNS)
    for roi in rois:
        row = {name: getattr(roi, name) for name in ROI_COLUMNS}
        row |= {name: float(row[name]) for name in _NUMBERS if row[name] is not None}
        row["tags"], row["geometry"] = ",".join(roi.tags), _geometry_text(roi)
        writer.writerow(["" if value is None else value for value in row.values()])
    return sink.getvalue().encode()


# ---------------------------------------------------------------------- one row


def _text(value: str) -> str:
    """pandas writes ``nan`` where a column of text has nothing."""
    kept = value.strip()
    return "" if kept.lower() == "nan" else kept


def _roi(row: dict[str, str], number: int, where: str) -> Roi:
    findings: list[Finding] = []
    numbers: dict[str, float | None] = {}
    for name in _NUMBERS:
        try:
            numbers[name] = _number(row[name])
        except ValueError:
            findings.append(
                Finding(
                    what=f"{name} is no number", where=where, expected="pixels", found=repr(row[name][:80])
                )
            )
    if row["roi_kind"].lower() not in _KINDS:
        findings.append(
            Finding(
                what="has a kind that is not known",
                where=where,
                expected="view, line or nothing",
                found=repr(row["roi_kind"][:80]),
            )
        )
    if not row["fov"] and not row["map_id"]:
        findings.append(
            Finding(what="lies in no field of view", where=where, expected="a name in fov, or in map_id")
        )
    points, closed = (), False
    try:
        points, closed = _geometry(row["geometry"], where)
    except CytopipeError as error:
        findings += error.findings
    if row["roi_kind"].lower() == "line" and not points and not row["geometry"]:
        findings.append(
            Finding(
                what="is a shape without a geometry", where=where, next="Draw it again, or make it a view."
            )
        )
    if findings:
        raise InputError(findings)
    others = {name: value for name, value in row.items() if name not in _NUMBERS}
    others |= {"tags": tuple(dict.fromkeys(tag.strip() for tag in row["tags"].split(",") if tag.strip()))}
    others |= {"geometry": points, "closed": closed, "roi_kind": row["roi_kind"].lower()}
    roi = Roi(**others, **numbers)
    if roi.roi_id:
        return roi
    made = uuid5(NAMESPACE_URL, f"cytopipe:roi:{number}:{json.dumps(row, sort_keys=True)}")
    return replace(roi, roi_id=str(made))


def _number(text: str) -> float | None:
    if not text:
        return None
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _geometry(text: str, where: str) -> tuple[tuple[tuple[float, float], ...], bool]:
    """Corners (x, y) and whether they are closed."""
    from cytopipe.storage.state import parse_json

    if not text:
        return (), False
    document = parse_json(text.encode(), where=f"{where}: geometry")
    points = document.get("points") if isinstance(document, dict) else None
    pairs = isinstance(points, list) and all(
        isinstance(one, list)
        and len(one) >= 2
        and all(isinstance(n, int | float) and not isinstance(n, bool) and abs(n) < 1e12 for n in one[:2])
        for one in points
    )
    if not pairs or not points or len(points) > _MOST_POINTS:
        raise InputError(
            "has a geometry that cannot be used",
            where=where,
            expected=f'{{"type": "polygon", "points": [[x, y], ...]}}, at most {_MOST_POINTS:,} of them',
            found=text[:80],
        )
    closed = document.get("closed", str(document.get("type", "")).lower() == "polygon")
    return tuple((float(one[0]), float(one[1])) for one in points), bool(closed)


def _geometry_text(roi: Roi) -> str:
    if not roi.geometry:
        return ""
    document = {
        "type": "polygon" if roi.closed else "polyline",
        "closed": roi.closed,
        "points": [[float(x), float(y)] for x, y in roi.geometry],
    }
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


def _padded(low: float, high: float) -> tuple[float, float]:
    """A span with room around it, 8 px long at least, that begins at 0 or later, as UELer makes it."""
    low, high = low - _PADDING_PX, high + _PADDING_PX
    if low < 0:
        low, high = 0.0, high - low
    missing = max(_LEAST_PX - (high - low), 0.0)
    low, high = low - missing / 2, high + missing / 2
    return (0.0, high - low) if low < 0 else (low, high)
