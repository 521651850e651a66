"""Whole wells as OME-Zarr: the tiles where they lie, cells numbered as in the table of cells."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cytopipe.storage.formats.ome_zarr import read_ome_zarr, read_plate_fields
from cytopipe.storage.formats.tiff import read_tiff
from cytopipe_tests.graph.examples.lab import Lab
from cytopipe_tests.screen.lab import edit, fresh_lab
from cytopipe_tests.storage.test_formats_ome_zarr import assert_valid, assert_valid_group

EXPORTED = """omezarr_export: true
      omezarr_well: true
      omezarr_overlays: true
      omezarr_chunk_shape: [1, 64, 64]
      omezarr_stages: [segment_sbs]"""
NEEDED = """images aligned log_filtered standard_deviation peaks max_filtered ic_fields corrected nuclei
    cells segmentation bases reads cell_barcodes positions well_info well_cells omezarr/well
    omezarr/wells omezarr/segmentation_overlay"""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Iterator[Lab]:
    """A screen of one well of two tiles that is put together; a test leaves it as it found it."""
    with fresh_lab(tmp_path_factory.mktemp("wells"), wells=("A1",)) as one:
        edit(one, ("pixel_size_um: 1.3", f"pixel_size_um: 1.3\n      {EXPORTED}"))
        tiles = ["s.1-A1|0", "s.1-A1|1"]
        keys = {
            "sbs_tiles": tiles,
            "screen_wells": ["s.1-A1"],
            "screen_plates": ["s.1"],
        }
        for asset in NEEDED.split():
            by = one.graph.makers[f"screen/sbs/{asset}"].by
            assert one.make(f"screen/sbs/{asset}", keys=keys[by.name]).success, asset
        yield one


def at(one: Lab, path: str) -> Path:
    return one.project.output / "screen/s/sbs" / path


def test_the_well_has_the_pixels_of_its_tiles_where_they_lie(made: Lab) -> None:
    path = at(made, "omezarr/well/P-1_W-A1__well.ome.zarr")
    well = read_ome_zarr(path)
    assert_valid(path)
    places = pd.read_parquet(at(made, "parquets/P-1_W-A1__positions.parquet")).set_index("tile")
    corners = np.rint(places[["i", "j"]].to_numpy()).astype(int)
    corners -= corners.min(axis=0)
    assert well.shape[-2:] == tuple(corners.max(axis=0) + 160)
    assert well.channel_names == ("DAPI", "G", "T", "A", "C") and well.pixel_size_um == (1.3, 1.3)
    pixels = well.load()
    for tile, corner in zip(places.index, corners, strict=True):
        own = read_tiff(at(made, f"images/P-1_W-A1_T-{tile}__illumination_corrected.tiff")).load()
        middle = tuple(slice(c + 60, c + 100) for c in corner)  # the other tile does not reach so far
        assert np.array_equal(pixels[(..., *middle)], own[..., 60:100, 60:100])
    assert len(list(path.resolve().glob("[0-9]"))) > 1, "has coarser levels"


def test_a_label_of_the_well_is_the_row_of_its_cell_in_the_table(made: Lab) -> None:
    well = read_ome_zarr(at(made, "omezarr/well/P-1_W-A1__well.ome.zarr"))
    table = pd.read_parquet(at(made, "parquets/P-1_W-A1__cells.parquet"))
    nuclei = well.labels["nuclei"].load()
    shift = np.rint(pd.read_parquet(at(made, "parquets/P-1_W-A1__positions.parquet"))[["i", "j"]]).min()
    inside = 0
    for number, row in enumerate(table.itertuples(), start=1):
        i, j = round(row.well_i - shift["i"]), round(row.well_j - shift["j"])
        inside += nuclei[i, j] == number
    assert inside >= 0.9 * len(table) > 5, "the middle of a bent nucleus may lie beside it"
    assert set(np.unique(well.labels["cells"].load())) <= set(range(len(table) + 1))


def test_wells_open_as_a_plate_of_one_field_each(made: Lab) -> None:
    plate = at(made, "omezarr/wells/P-1.ome.zarr")
    assert read_plate_fields(plate) == ["A/1/0"]
    assert_valid_group(plate, "0.5")
    first = plate.resolve() / "A/1/0/zarr.json"
    assert first.stat().st_nlink > 1, "shares its files with the well"


def test_a_view_of_the_well_is_linked_in_the_browser(made: Lab) -> None:
    event = made.events("screen/sbs/omezarr/well", "s.1-A1")[-1]
    assert str(event.metadata["view"]).endswith("P-1_W-A1__well.ome.zarr") or "/view/" in str(
        event.metadata["view"]
    )
    assert made.stale("screen/sbs/omezarr/well") == {}


def test_nothing_is_put_together_where_the_project_file_does_not_ask_for_it(made: Lab) -> None:
    edit(made, ("omezarr_well: true", "omezarr_well: false"))
    try:
        assert made.states("screen/sbs/omezarr/well") == {}
        assert set(made.states("screen/sbs/omezarr/segmentation").values()) == {"missing"}
        assert made.states("screen/sbs/well_cells") == {"s.1-A1": "done"}
    finally:
        edit(made, ("omezarr_well: false", "omezarr_well: true"))
    made.ledger()


def test_outlines_of_nuclei_and_cells_are_a_picture_of_the_size_of_the_image(made: Lab) -> None:
    path = at(made, "omezarr/segmentation_overlay/P-1_W-A1_T-0__segmentation_overlay.ome.zarr")
    assert_valid(path)
    overlay = read_ome_zarr(path)
    assert overlay.channel_names == ("red", "green", "blue")
    assert overlay.channel_colors == ("FF0000", "00FF00", "0000FF")
    pixels = overlay.load()
    nuclei = read_tiff(at(made, "images/P-1_W-A1_T-0__nuclei.tiff")).load()
    edge = np.zeros(nuclei.shape, bool)
    edge[1:] |= nuclei[1:] != nuclei[:-1]
    edge[:, 1:] |= nuclei[:, 1:] != nuclei[:, :-1]
    assert pixels.dtype == np.uint8 and pixels.shape == (3, *nuclei.shape)
    assert edge.any() and (pixels[:, edge] == np.array([[255], [0], [200]])).all()
