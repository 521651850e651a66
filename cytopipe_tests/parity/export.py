"""Golden cases of `export`: pictures, scale bars, thickness of outlines, marker sets, regions of interest.

Float pictures agree to 1e-6, pictures of bytes to one grey level. Scale bars differ on purpose where the
reference draws one pixel that is longer than the part of the width that was asked for. Marker sets and
regions are read, compared with the plain JSON and CSV field by field, and written: a second reader finds the
same values.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cytopipe.export import (
    Annotation,
    ArrayField,
    CellColours,
    ChannelStyle,
    MarkerSet,
    MaskStyle,
    colour_of,
    render_crop_to_array,
    render_fov_to_array,
    render_roi_to_array,
    scale_bar,
    thickness_at,
)
from cytopipe.export.markers import format_marker_sets, parse_marker_sets
from cytopipe.export.rois import ROI_COLUMNS, format_rois, parse_rois
from cytopipe_tests.parity import Case, Verdict, agrees, differs, fails, unevaluated

TOLERANCE = 1e-6
WHITE = (1.0, 1.0, 1.0)


def cases(folder: Path) -> Iterator[Case]:
    """Every case of one ``export`` golden folder."""
    listed = folder / "render_cases.json"
    if listed.exists():
        told = json.loads(listed.read_text())
        for case in told["cases"]:
            yield Case("export", case["name"], partial(_picture, folder, told["base"], case))
    if (folder / "scale_bars.csv").exists():
        yield Case("export", "scale_bars", partial(_bars, folder / "scale_bars.csv"))
    if (folder / "outline_thickness.json").exists():
        yield Case("export", "outline_thickness", partial(_thickness, folder / "outline_thickness.json"))
    if (folder / "marker_sets.json").exists():
        yield Case("export", "marker_sets", partial(_marker_sets, folder / "marker_sets.json"))
    if (folder / "roi_manager.csv").exists():
        yield Case("export", "roi_manager", partial(_regions, folder / "roi_manager.csv"))


def _picture(folder: Path, base: Mapping[str, Any], case: Mapping[str, Any]) -> Verdict:
    with np.load(folder / "render_expected.npz", allow_pickle=False) as archive:
        expected = {name: archive[name] for name in archive.files if name.removesuffix("_u8") == case["name"]}
    if not expected:
        return unevaluated(f"render_expected.npz holds no {case['name']}")
    for name, wanted in expected.items():
        made = _rendered(folder, base, case, wanted.dtype.type)
        if made.shape != wanted.shape:
            return fails(f"{name}: shape {made.shape}, expected {wanted.shape}")
        away = float(np.abs(made.astype(np.float64) - wanted).max())
        if away > (1 if wanted.dtype == np.uint8 else TOLERANCE):
            return fails(f"{name}: differs by {away:.3g}")
    return agrees()


def _rendered(folder: Path, base: Mapping[str, Any], case: Mapping[str, Any], dtype: type) -> np.ndarray:
    with np.load(folder / "fov_input.npz", allow_pickle=False) as archive:
        images = {name.removeprefix("ch_"): archive[name] for name in archive.files if name.startswith("ch_")}
        mask = archive["mask"]
    fov = ArrayField("fov", images, {"cell": mask}, {"class": mask % 6})
    given = case["args"]
    limits = {**base["contrast"], **given.get("contrast_override", {})}
    shown = given.get("channels") or list(base["colors"])
    markers = MarkerSet(
        "golden", tuple(ChannelStyle(one, colour_of(base["colors"][one]), *limits[one]) for one in shown)
    )
    step = given.get("ds", 1)
    match case["fn"]:
        case "crop":
            overlays = [] if "ds" in given else [MaskStyle("cell", WHITE)]
            y, x = given["center_yx"]
            padding = WHITE if given.get("pad") else None
            return render_crop_to_array(
                fov, markers, (x, y), given["size"], step, overlays=overlays, padding=padding, dtype=dtype
            )
        case "roi":
            return render_roi_to_array(fov, given["roi"], markers, step, dtype=dtype)
        case "paint":
            overlays = [_cell_colours(given)]
        case _:
            overlays = _overlays(case["name"], given)
    return render_fov_to_array(fov, markers, step, overlays=overlays, dtype=dtype)


def _overlays(name: str, given: Mapping[str, Any]) -> Sequence[Any]:
    if mask := given.get("mask"):
        return [MaskStyle("cell", colour_of(mask["color"]), mask["alpha"], mask["mode"], mask["thickness"])]
    if given.get("masks"):
        even = frozenset(range(0, 1000, 2))
        outline = MaskStyle("cell", colour_of("#00ff00"), 1.0, "outline", 2, even)
        return [MaskStyle("cell", colour_of("#ff0000"), 0.5, "fill"), outline]
    if given.get("annotation"):
        colours = ["#000000", "#e41a1c", "#377eb8", "#4daf4a", "#984ea3", "#ff7f00"]
        return [Annotation("class", tuple(map(colour_of, colours)), 0.4)]
    return []


def _cell_colours(given: Mapping[str, Any]) -> CellColours:
    more = given["kw"]

    def by_label(name: str) -> dict[int, Any]:
        return {int(label): value for label, value in more.get(name, {}).items()}

    return CellColours(
        "cell",
        {int(label): colour_of(colour) for label, colour in given["color_map"].items()},
        filled=frozenset(label for label, mode in by_label("mode_map").items() if mode == "fill"),
        fill_opacities=by_label("opacity_map"),
        border_colours={label: colour_of(one) for label, one in by_label("border_color_map").items()},
        border_opacity=more.get("border_alpha", 1.0),
        thickness_px=more["outline_thickness"],
        left_out=frozenset(more.get("exclude_ids", [])),
    )


def _bars(file: Path) -> Verdict:
    too_long = 0
    with file.open(newline="") as rows:
        for row in csv.DictReader(rows):
            width, fraction = int(row["width_px"]), float(row["max_fraction"])
            length, stands_for = float(row["pixel_length"]), float(row["physical_um"])
            pixel_um = float(row["pixel_size_nm"]) / 1000
            bar = scale_bar(width, pixel_um, int(row["downsample"]), largest_fraction=fraction)
            if bar is None and length <= 1:
                too_long += 1
                continue
            if bar is None:
                return fails(f"{row}: no bar")
            told = (bar.length_px, bar.length_um)
            if not np.allclose(told, [length, stands_for]) or bar.label != row["label"].replace("μ", "µ"):
                return fails(f"{row}: {bar}")
    return differs(f"{too_long} bars of one pixel were longer than asked") if too_long else agrees()


def _thickness(file: Path) -> Verdict:
    for given, wanted in json.loads(file.read_text()).items():
        thickness, step = given.split(",")
        if (made := thickness_at(float(thickness), int(step))) != wanted:
            return fails(f"{given}: {made}, expected {wanted}")
    return agrees()


def _marker_sets(file: Path) -> Verdict:
    theirs = json.loads(file.read_bytes())
    ours = parse_marker_sets(file.read_bytes())
    if list(ours) != list(theirs):
        return fails(f"sets {list(ours)}, expected {list(theirs)}")
    for name, wanted in theirs.items():
        shown = [one.channel for one in ours[name].channels]
        if shown != wanted["selected_channels"]:
            return fails(f"{name}: channels {shown}, expected {wanted['selected_channels']}")
        for one in ours[name].channels:
            setting = wanted["channel_settings"][one.channel]
            limits = [setting["contrast_min"], setting["contrast_max"]]
            if [one.low, one.high] != limits:
                return fails(f"{name}, {one.channel}: limits {one.low} and {one.high}, expected {limits}")
    written = json.loads(format_marker_sets(ours.values()))
    for name, wanted in theirs.items():
        of_shown = {one: wanted["channel_settings"][one] for one in wanted["selected_channels"]}
        if written[name] != {"selected_channels": wanted["selected_channels"], "channel_settings": of_shown}:
            return fails(f"{name}: written as {written[name]}")
    return agrees()


def _regions(file: Path) -> Verdict:
    data = file.read_bytes()
    theirs = _rows(data)
    ours = parse_rois(data)
    if [one.roi_id for one in ours] != [row["roi_id"] for row in theirs]:
        return fails(f"regions {[one.roi_id for one in ours]}")
    written = _rows(format_rois(ours))
    for wanted, again in zip(theirs, written, strict=True):
        for column in ROI_COLUMNS:
            if not _same_value(wanted.get(column, ""), again[column], column):
                told = f"{again[column]!r}, expected {wanted.get(column, '')!r}"
                return fails(f"region {wanted['roi_id']}, {column}: written as {told}")
    return agrees() if parse_rois(format_rois(ours)) == ours else fails("they differ when read a second time")


def _rows(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def _same_value(one: str, other: str, column: str) -> bool:
    """Whether two cells of a CSV say the same: numbers as numbers, a geometry as JSON, the rest as text."""
    if one == other:
        return True
    if column == "geometry":
        return bool(one and other) and json.loads(one) == json.loads(other)
    try:
        return float(one) == float(other)
    except ValueError:
        return False
