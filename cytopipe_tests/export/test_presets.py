"""Regions as they were seen in UELer: masks, cells in the colours of the mask painter, palettes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from cytopipe.errors import InputError
from cytopipe.export.job import Job
from cytopipe.export.job_file import read_job
from cytopipe.export.presets import parse_mask_visibility, parse_painter_state
from cytopipe.export.rois import Roi, format_rois
from cytopipe_tests.export.layout import write_images, write_job

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
ODD, EVEN = 1, 2  # labels of a T cell and a B cell, in the middle row of pixels 20
STATE = {  # the fields of the painter's snapshot, as UELer writes them with json.dumps
    "mask_name": "whole_cell", "identifier": "phenotype", "active_classes": ["T cell", "B cell"],
    "class_colors": {"T cell": "#ff0000", "B cell": "#0000ff"},
    "class_visible": {"T cell": True, "B cell": True},
    "class_fill": {"T cell": True, "B cell": False}, "class_opacity": {"T cell": 100, "B cell": 35},
    "default_color": "#00ff00", "global_fill": False, "global_fill_opacity": 35,
    "show_borders_on_filled": False, "border_color_mode": "mask_type_color", "mask_type_color": "#ffffff",
    "outline_thickness": 1, "color_mode": "categorical",
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_images(tmp_path, ("fov1",))
    for path in (tmp_path / "data/image_data/fov1").iterdir():  # black, so that colours are those of overlays
        tifffile.imwrite(path, np.zeros((120, 120), np.uint16))
    return tmp_path


def results(root: Path, more: str = "", rois: str = "", **columns: object) -> list:
    said = {name: one if isinstance(one, str) else json.dumps(one) for name, one in columns.items()}
    (root / "rois.csv").write_bytes(
        format_rois([Roi("1", "a", "fov1", x_min=0, x_max=120, y_min=0, y_max=120, **said)])
    )
    job = f"mode: rois\nscale_bar: false\nrois: {{file: rois.csv{rois}}}\ncells: {{table: cells.csv}}\n{more}"
    return Job(read_job(write_job(root, job))).run()


def picture(root: Path, more: str = "", rois: str = "", **columns: object) -> np.ndarray:
    (one,) = results(root, more, rois, **columns)
    assert one.ok, one.error
    with Image.open(one.path) as image:
        return np.asarray(image)


def error(root: Path, more: str = "", **columns: object) -> str:
    (one,) = results(root, more, **columns)
    assert one.state == "failed"
    return one.error


def at(image: np.ndarray, label: int, dx: int = 0) -> tuple[int, ...]:
    """A pixel of a cell: its centre, or `dx` to the right of it; cells have a radius of 7 px."""
    return tuple(int(one) for one in image[20 + 30 * ((label - 1) // 3), 20 + 30 * ((label - 1) % 3) + dx])


def test_a_mask_that_was_visible_is_outlined_and_a_hidden_one_is_not(root: Path) -> None:
    shown = picture(root, mask_visibility={"whole_cell": True})
    assert (at(shown, ODD, 7), at(shown, ODD)) == (WHITE, (0, 0, 0))
    overlays = "overlays: [{mask: whole_cell, color: red}]\n"
    assert at(picture(root, overlays, mask_visibility={"whole_cell": True}), ODD, 7) == RED
    assert picture(root, overlays, mask_visibility={"whole_cell": False}).max() == 0
    assert at(picture(root, overlays), ODD, 7) == RED  # a region that says nothing has what all have


def test_cells_have_the_colours_of_the_mask_painter(root: Path) -> None:
    drawn = picture(root, mask_painter_state=STATE)
    assert [at(drawn, ODD), at(drawn, ODD, 7)] == [RED, RED]  # an area without a border
    assert [at(drawn, EVEN), at(drawn, EVEN, 7)] == [(0, 0, 0), BLUE]  # an outline
    bordered = picture(root, mask_painter_state=STATE | {"show_borders_on_filled": True})
    assert [at(bordered, ODD), at(bordered, ODD, 7)] == [RED, WHITE]
    same = STATE | {"show_borders_on_filled": True, "border_color_mode": "same_as_fill"}
    assert at(picture(root, mask_painter_state=same), ODD, 7) == RED


def test_classes_that_are_hidden_or_not_active_are_drawn_as_in_the_painter(root: Path) -> None:
    hidden = STATE | {"class_visible": {"T cell": False, "B cell": True}}
    drawn = picture(root, mask_painter_state=hidden)
    assert [at(drawn, ODD), at(drawn, ODD, 7), at(drawn, EVEN, 7)] == [(0, 0, 0), (0, 0, 0), BLUE]
    below = picture(root, mask_painter_state=hidden, mask_visibility={"whole_cell": True})
    assert [at(below, ODD, 7), at(below, EVEN, 7)] == [WHITE, BLUE]
    drawn = picture(root, mask_painter_state=STATE | {"active_classes": ["T cell"]})
    assert [at(drawn, ODD), at(drawn, EVEN, 7)] == [RED, GREEN]
    filled = STATE | {"active_classes": ["T cell"], "global_fill": True, "global_fill_opacity": 100}
    assert at(picture(root, mask_painter_state=filled), EVEN) == GREEN


def test_borders_of_the_newer_painter_have_their_own_colour_and_opacity(root: Path) -> None:
    new = {name: one for name, one in STATE.items() if name != "show_borders_on_filled"}
    new |= {"show_borders": True, "border_color_mode": "custom", "border_custom_color": "#00ff00"}
    drawn = picture(root, mask_painter_state=new | {"border_opacity": 100})
    assert [at(drawn, ODD), at(drawn, ODD, 7), at(drawn, EVEN, 7)] == [RED, GREEN, GREEN]
    drawn = picture(root, mask_painter_state=new | {"show_borders": False})
    assert [at(drawn, ODD, 7), at(drawn, EVEN, 7)] == [RED, (0, 0, 0)]
    half = picture(root, mask_painter_state=new | {"border_opacity": 50})
    assert at(half, EVEN, 7) == (0, 127, 0)


def test_cells_have_the_colours_of_a_number(root: Path) -> None:
    rows = (root / "cells.csv").read_text().replace(",197", ",0").splitlines()
    (root / "cells.csv").write_text(
        "\n".join([*rows[:2], rows[2].removesuffix("0") + "10", *rows[3:]]) + "\n"
    )
    state = {
        "color_mode": "continuous", "continuous_column": "area", "colormap": "Greys", "vmin": 0.0,
        "vmax": 10.0, "continuous_fill": True, "continuous_opacity": 100, "arcsinh": False,
        "mask_name": "whole_cell",
    }  # fmt: skip
    drawn = picture(root, mask_painter_state=state)
    assert [at(drawn, ODD), at(drawn, EVEN)] == [WHITE, (0, 0, 0)]
    assert "colour map" in error(root, mask_painter_state=state | {"colormap": "nonsense"})
    assert "no column 'height'" in error(root, mask_painter_state=state | {"continuous_column": "height"})


def test_a_colour_set_is_found_beside_the_regions_by_its_name(root: Path) -> None:
    saved = {
        "name": "My colours", "version": "1.0.0", "identifier": "phenotype", "default_color": "#00FF00",
        "class_order": ["T cell"], "colors": {"T cell": "#ff0000"}, "modes": {"T cell": "fill"},
        "visible": {"T cell": True}, "opacities": {"T cell": 100},
    }  # fmt: skip
    (root / "my-colours.maskcolors.json").write_text(json.dumps(saved))
    (root / "broken.maskcolors.json").write_text("{")
    drawn = picture(root, mask_color_set="My colours")
    assert [at(drawn, ODD), at(drawn, EVEN), at(drawn, EVEN, 7)] == [RED, (0, 0, 0), GREEN]
    (root / "elsewhere").mkdir()
    (root / "my-colours.maskcolors.json").rename(root / "elsewhere/renamed.maskcolors.json")
    said = error(root, mask_color_set="My colours")
    assert "region 'a'" in said and "mask_color_set" in said and "my-colours.maskcolors.json in" in said
    assert at(picture(root, rois=", palettes: elsewhere", mask_color_set="My colours"), ODD) == RED


def test_a_painter_state_goes_before_the_colour_set_it_began_with(root: Path) -> None:
    assert at(picture(root, mask_color_set="gone", mask_painter_state=STATE), ODD) == RED


def test_classes_of_an_annotation_have_the_colours_of_its_palette(root: Path) -> None:
    classes = np.zeros((120, 120), np.uint8)
    classes[:, 60:] = 2
    tifffile.imwrite(root / "data/segmentation/fov1_tissue.tiff", classes)
    folder = root / "pixel_annotation_palettes"
    folder.mkdir()
    saved = {"name": "tissue 1", "annotation": "tissue", "class_ids": [0, 2], "colors": {"2": "ff0000"}}
    (folder / "tissue-1.pixelannotations.json").write_text(json.dumps(saved | {"alpha": 1.0}))
    drawn = picture(root, annotation_palette="tissue 1")
    assert (tuple(drawn[5, 5]), tuple(drawn[5, 100])) == ((160, 160, 160), RED)
    (folder / "tissue-1.pixelannotations.json").write_text(json.dumps(saved))
    assert tuple(picture(root, annotation_palette="tissue 1")[5, 100]) == (127, 0, 0)
    (folder / "tissue-1.pixelannotations.json").write_text(json.dumps(saved | {"annotation": "lumen"}))
    assert "no annotation 'lumen'" in error(root, annotation_palette="tissue 1")


def test_shared_settings_are_imposed_on_all_regions(root: Path) -> None:
    more = ", settings: shared"
    assert picture(root, rois=more, mask_painter_state="{broken", mask_visibility="[]").max() == 0
    assert picture(root, rois=more, annotation_palette="gone", marker_set="gone").max() == 0


def test_channels_seen_without_a_marker_set_look_as_in_those_of_the_job(root: Path) -> None:
    tifffile.imwrite(root / "data/image_data/fov1/CD3.tiff", np.full((120, 120), 800, np.uint16))
    assert tuple(picture(root, marker_set="current:CD3")[0, 0]) == RED
    assert "'CD20', which no marker set of the job shows" in error(root, marker_set="current:CD3,CD20")


@pytest.mark.parametrize(
    ("column", "said", "expected"),
    [
        ("mask_visibility", "{", "is not JSON"),
        ("mask_visibility", "[]", "is no JSON object"),
        ("mask_visibility", {"whole_cell": "yes"}, "'whole_cell' is shown"),
        ("mask_visibility", {"nucleus": True}, "no mask 'nucleus'; expected one of whole_cell"),
        ("mask_painter_state", STATE | {"class_colors": {"T cell": "colourless"}}, "the colour of 'T cell'"),
        ("mask_painter_state", STATE | {"class_opacity": {"T cell": 400}}, "0 to 100 percent"),
        ("mask_painter_state", STATE | {"identifier": ""}, "names no column of the cell table"),
        ("mask_painter_state", STATE | {"identifier": "kind"}, "no column 'kind'"),
        ("mask_painter_state", STATE | {"mask_name": "nucleus"}, "no mask 'nucleus'"),
        ("mask_painter_state", STATE | {"border_color_mode": "rainbow"}, "border_color_mode is not known"),
        ("annotation_palette", "../../etc/passwd", "etc-passwd.pixelannotations.json in"),
    ],
)
def test_what_a_region_says_wrongly_is_named_with_its_column(root, column, said, expected) -> None:
    found = error(root, **{column: said})
    assert "region 'a'" in found and expected in found
    assert column in found or "kind" in found
    assert not (root / "pictures/fov1").exists()


def test_all_that_is_wrong_with_a_painter_state_is_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        parse_painter_state(json.dumps({"class_colors": {"a": "?"}, "global_fill": 3, "vmin": "x"}))
    assert len(caught.value.findings) == 3  # the column, the colour, the switch
    with pytest.raises(InputError):
        parse_mask_visibility('{"a": true, "a": false}')


def test_cells_in_colours_need_the_cell_table(root: Path) -> None:
    (root / "rois.csv").write_bytes(
        format_rois([Roi("1", "a", "fov1", mask_painter_state=json.dumps(STATE))])
    )
    job = "mode: rois\nscale_bar: false\nrois: {file: rois.csv}\n"
    (one,) = Job(read_job(write_job(root, job))).run()
    assert "the job has no cell table" in one.error and "cells: {table: cells.csv}" in one.error


def test_what_a_region_was_seen_with_makes_its_picture_stale(root: Path) -> None:
    assert results(root, mask_painter_state=STATE)[0].state == "exported"
    assert results(root, mask_painter_state=STATE)[0].state == "kept"
    changed = STATE | {"class_opacity": {"T cell": 50, "B cell": 35}}
    assert results(root, mask_painter_state=changed)[0].state == "exported"
    bordered = changed | {"show_borders_on_filled": True}
    assert results(root, mask_painter_state=bordered)[0].state == "exported"
    assert results(root, mask_painter_state=bordered | {"mask_type_color": "#112233"})[0].state == "exported"
