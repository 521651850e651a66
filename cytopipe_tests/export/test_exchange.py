"""Marker sets and regions of interest of UELer are read, written and checked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cytopipe.errors import CytopipeError, InputError
from cytopipe.export.markers import format_marker_sets, parse_marker_sets, read_marker_sets, revision_of
from cytopipe.export.rois import ROI_COLUMNS, Roi, format_rois, parse_rois, read_rois

GOLDEN = Path(__file__).resolve().parents[3] / "shared/golden/export"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden cases are not on this machine")


# ---------------------------------------------------------------------- marker sets


@needs_golden
def test_marker_sets_of_the_reference_come_back_as_they_were():
    text = (GOLDEN / "marker_sets.json").read_bytes()
    sets = read_marker_sets(GOLDEN / "marker_sets.json")
    immune = sets["immune"]
    assert [one.channel for one in immune.channels] == ["DNA", "CD45", "CD3"]
    assert immune.channels[0].colour == (0, 0, 1)
    assert (immune.channels[1].low, immune.channels[1].high) == (5, 400)
    assert json.loads(format_marker_sets(sets.values())) == json.loads(text)
    assert parse_marker_sets(format_marker_sets(sets.values())) == sets


def one_set(**changes):
    settings = {"color": "Green", "contrast_min": 0, "contrast_max": 9} | changes
    return {"m": {"selected_channels": ["DNA"], "channel_settings": {"DNA": settings}}}


def test_green_is_that_of_the_reference_and_not_that_of_css():
    found = parse_marker_sets(json.dumps(one_set()).encode())
    assert found["m"].channels[0].colour == (0, 1, 0)
    hexadecimal = parse_marker_sets(json.dumps(one_set(color="#123456")).encode())
    assert (
        json.loads(format_marker_sets(hexadecimal.values()))["m"]["channel_settings"]["DNA"]["color"]
        == "#123456"
    )


def test_the_revision_of_a_marker_set_follows_what_it_shows_and_not_its_name():
    first, second = (parse_marker_sets(json.dumps(one_set(contrast_max=n)).encode())["m"] for n in (9, 10))
    assert revision_of(first) != revision_of(second)
    assert revision_of(type(first)("other", first.channels)) == revision_of(first)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ([], "holds no marker sets"),
        ({"m": 1}, "is not an object"),
        ({"m": {"selected_channels": []}}, "shows no channel"),
        ({"m": {"selected_channels": ["DNA"]}}, "no settings of channel 'DNA'"),
        (one_set(color="Greenish"), "colour that is not known"),
        (one_set(color=7), "colour that is not known"),
        (one_set(contrast_min="low"), "has no limits"),
        (one_set(contrast_max=None), "has no limits"),
        ({"m": {**one_set()["m"], "selected_channels": ["DNA", "DNA"]}}, "twice"),
    ],
)
def test_a_marker_set_that_cannot_be_used_is_told(document, told):
    with pytest.raises(InputError, match=told):
        parse_marker_sets(json.dumps(document).encode())


def test_every_fault_of_marker_sets_is_told_at_once():
    document = {"a": one_set(color="x")["m"], "b": one_set(contrast_min=[])["m"], "c": 1}
    with pytest.raises(InputError) as error:
        parse_marker_sets(json.dumps(document).encode(), where="sets.json")
    assert [one.where for one in error.value.findings] == [
        f"sets.json: marker set {name!r}" for name in "abc"
    ]


@pytest.mark.parametrize("data", [b"", b"{", b'{"m": NaN}', b"\xff\xfe", b"[" * 100_000, b'{"a":1,"a":2}'])
def test_hostile_marker_sets_are_one_clear_error(data):
    with pytest.raises(CytopipeError):
        parse_marker_sets(data)


# ---------------------------------------------------------------------- regions


@needs_golden
def test_regions_of_the_reference_come_back_as_they_were():
    import io

    import pandas as pd

    data = (GOLDEN / "roi_manager.csv").read_bytes()
    rois = read_rois(GOLDEN / "roi_manager.csv")
    assert data.decode().splitlines()[0] == ",".join(ROI_COLUMNS)
    assert (rois[0].name, rois[0].fov, rois[0].tags) == ("tumour edge", "fov1", ("good", "fig1"))
    assert (rois[0].x_min, rois[0].x_max, rois[0].marker_set) == (60, 140, "immune")
    assert parse_rois(format_rois(rois)) == rois
    before, after = (pd.read_csv(io.BytesIO(text)) for text in (data, format_rois(rois)))
    pd.testing.assert_frame_equal(before, after, check_dtype=False)


def test_shapes_names_and_comments_survive_writing_and_reading():
    rois = [
        Roi("a", name='../../etc, "x"\nsecond line', fov="fov 1", comment="ä, 日本", tags=("x", "y z")),
        Roi("b", fov="f", roi_kind="line", geometry=((1.5, 2.0), (30.0, 2.25)), x_min=0.1, x_max=34.0),
        Roi("c", map_id="slide", roi_kind="line", geometry=((1, 2), (3, 4), (0, 9)), closed=True),
        Roi("d", fov="f", mask_painter_state=json.dumps({"colours": ["#ff0000"] * 20_000})),
    ]
    assert parse_rois(format_rois(rois)) == rois
    assert format_rois(parse_rois(format_rois(rois))) == format_rois(rois)


def test_a_shape_without_a_box_has_one_around_it_that_can_be_rendered():
    from cytopipe.export import ArrayField, ChannelStyle, MarkerSet, render_roi_to_array

    roi = parse_rois(b'fov,geometry\nf,"{""type"":""polygon"",""points"":[[20,10],[40,10]]}"\n')[0]
    assert roi.is_shape and roi.closed and roi.roi_id
    assert [roi.box[name] for name in ("x_min", "x_max", "y_min", "y_max")] == [16, 44, 6, 14]
    field = ArrayField("f", {"DNA": np.ones((60, 60), "f4")})
    shown = MarkerSet("m", (ChannelStyle("DNA", (1, 1, 1), 0, 1),))
    assert render_roi_to_array(field, roi.box, shown).shape == (8, 28, 3)


def test_an_older_file_without_the_later_columns_is_read():
    (roi,) = parse_rois("\ufeffroi_id,fov,x_min,x_max,y_min,y_max\nq,fov1,1,2,3,nan\n".encode())
    assert (roi.x_min, roi.y_max, roi.roi_kind, roi.tags) == (1, None, "", ())


def test_every_fault_of_regions_is_told_at_once_with_its_place():
    text = "fov,x,roi_kind,geometry\nf,left,,\n,1,,\nf,inf,circle,\nf,1,line,\n"
    text += 'f,1,,"{""points"":[[1]]}"\nf,1,,[\n'
    with pytest.raises(InputError) as error:
        parse_rois(text.encode(), where="rois.csv")
    told = [str(one) for one in error.value.findings]
    assert [one.split(":")[1] for one in told] == [f" region {n}" for n in (1, 2, 3, 3, 4, 5, 6)]
    for words, one in zip(
        ("x is no number", "no field of view", "x is no number", "kind", "without a geometry", "geometry"),
        told,
        strict=False,
    ):
        assert words in one


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "empty"),
        (b"name\nx\n", "no column 'fov'"),
        (b"fov,fov\na,b\n", "stands twice"),
        (b"fov,x\nf\n", "another length"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"roi_id,fov\na,f\na,f\n", "'a' stands twice"),
        (b'fov\n"f\n', "is not CSV"),
    ],
)
def test_hostile_regions_are_one_clear_error(data, told):
    with pytest.raises(InputError, match=told):
        parse_rois(data)


def test_green_means_one_colour_in_jobs_and_in_files_of_marker_sets():
    from cytopipe.export.styles import colour_of

    assert colour_of("green") == colour_of("Green") == colour_of("lime") == (0.0, 1.0, 0.0)
    setting = {"color": "Green", "contrast_min": 0, "contrast_max": 9}
    said = {"a": {"selected_channels": ["DNA"], "channel_settings": {"DNA": setting}}}
    (style,) = parse_marker_sets(json.dumps(said).encode())["a"].channels
    assert style.colour == colour_of("green")
