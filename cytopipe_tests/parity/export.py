"""Golden cases of `export`: pictures of the renderers, scale bars, thickness of outlines.

Float pictures agree to 1e-6, pictures of bytes to one grey level. Scale bars differ on purpose where the
reference draws one pixel that is longer than the part of the width that was asked for.
"""

from __future__ import annotations

import csv
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
