"""Montages show the cells of a perturbation; profiles of a screen name what cannot be used."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from cytopipe.defs.calls import Stored
from cytopipe.defs.screen_aggregate import aggregate, montages
from cytopipe.defs.screen_overlays import montages as montages_exported
from cytopipe.project import DataSet
from cytopipe.project.screen.entry import ScreenPart
from cytopipe.screen.montage import choose_cells, montage_picture
from cytopipe.screen.parameters import AggregateSettings, MontageSettings
from cytopipe.storage.formats.files import ResultFiles
from cytopipe.storage.formats.image import Image
from cytopipe.storage.formats.ome_zarrs import OME_ZARRS
from cytopipe.storage.formats.table import PARQUET
from cytopipe.storage.formats.tiff import TIFF
from cytopipe_tests.storage.test_formats_ome_zarr import assert_valid

SETTINGS = MontageSettings(crop_px=16, n_cells=4, most_perturbations=2)
BY_GENE = AggregateSettings(perturbation_column="gene_0")
CELLS = pd.DataFrame({"gene_0": ["a"] * 9 + ["b"] * 5 + ["c"] * 3 + [None], "cell": range(18)})


def stored(path: Path, table: pd.DataFrame) -> Stored:
    PARQUET.write(path, table)
    return Stored(PARQUET, path)


def part(key: str) -> DataSet:
    return DataSet("screen", key, ScreenPart(None, "s", "1"), Path(), Path())


def test_the_choice_of_cells_is_drawn_by_the_seed_for_each_perturbation_alone() -> None:
    chosen = choose_cells(CELLS, "gene_0", SETTINGS)
    assert chosen["gene_0"].tolist() == ["a"] * 4 + ["b"] * 4
    assert chosen["cell"].tolist() == choose_cells(CELLS, "gene_0", SETTINGS)["cell"].tolist()
    without = choose_cells(CELLS[CELLS["gene_0"] != "b"], "gene_0", SETTINGS)
    assert without[without["gene_0"] == "a"]["cell"].tolist() == chosen["cell"].tolist()[:4]
    other = choose_cells(CELLS, "gene_0", SETTINGS.model_copy(update={"seed": 1}))
    assert other["cell"].tolist() != chosen["cell"].tolist()
    assert len(choose_cells(CELLS[:0], "gene_0", SETTINGS)) == 0


def test_each_channel_of_a_picture_runs_from_its_minimum_to_its_maximum() -> None:
    montage = np.stack([np.linspace(5, 9, 64).reshape(8, 8), np.linspace(0, 60_000, 64).reshape(8, 8)])
    rgb = montage_picture(montage, ["DAPI", "b"])
    assert rgb.dtype == np.uint8 and rgb.shape == (8 + 18 + 2, 2 * (8 + 2), 3)
    for left in (1, 11):
        assert (rgb[19:27, left : left + 8].min(), rgb[19:27, left : left + 8].max()) == (0, 255)


@pytest.fixture
def plate(tmp_path: Path) -> dict[str, object]:
    """Two wells of one tile; the cell at the edge of the image is number 2 of well A1."""
    rng = np.random.default_rng(0)
    given: dict[str, dict[str, Stored]] = {"cells": {}, "barcodes": {}, "aligned": {}}
    for well in ("A1", "A2"):
        pixels = rng.integers(0, 60_000, (2, 64, 80), np.uint16)
        TIFF.write(
            tmp_path / f"{well}.tiff", Image(pixels, "CYX", ("DAPI", "ACTIN"), pixel_size_um=(0.5, 0.5))
        )
        given["aligned"][f"s.1-{well}|3"] = Stored(TIFF, tmp_path / f"{well}.tiff")
        where = {"plate": "1", "well": well, "tile": 3, "site": 0}
        matched = pd.DataFrame(
            {**where, "cell_0": [1, 2], "cell_1": [7, 8], "i_0": [30.4, 2.0], "j_0": [40.0, 79.0]}
        )
        called = pd.DataFrame({"tile": 0, "cell": [7, 8, 9], "gene_0": ["a/b", "a/b", "c"]})
        given["cells"][f"s.1-{well}"] = stored(tmp_path / f"{well}_m.parquet", matched)
        given["barcodes"][f"s.1-{well}"] = stored(tmp_path / f"{well}_c.parquet", called)
    return given


def test_a_montage_has_the_pixels_of_its_cells_and_0_beyond_the_image(plate) -> None:
    made = montages(part("s.1"), **plate, aggregate_settings=BY_GENE, montage_settings=SETTINGS)
    assert made.counts == {"n_perturbations": 1, "n_cells": 4}
    (name,) = [one for one in made.value if one.endswith(".tiff")]
    assert "/" not in name
    montage = tifffile.imread(io.BytesIO(made.value[name]))
    assert montage.shape == (2, 32, 32) and montage.dtype == np.uint16
    pixels = plate["aligned"]["s.1-A1|3"].load().load()
    np.testing.assert_array_equal(montage[:, :16, :16], pixels[:, 22:38, 32:48])
    assert not montage[:, :6, 16:].any() and not montage[:, :16, 25:].any()
    table = made.value["cells.tsv"]
    assert table["gene_0"].tolist() == ["a/b"] * 4 and table["cell_0"].tolist() == [1, 2, 1, 2]
    again = montages(part("s.1"), **plate, aggregate_settings=BY_GENE, montage_settings=SETTINGS)
    assert again.value[name] == made.value[name]


def test_montages_are_exported_with_their_pixels_where_the_project_file_asks(plate, tmp_path: Path) -> None:
    made = montages(part("s.1"), **plate, aggregate_settings=BY_GENE, montage_settings=SETTINGS)
    (name,) = [one for one in made.value if one.endswith(".tiff")]
    files = ResultFiles(made.value, tmp_path)
    exported = montages_exported(part("s.1"), files)
    OME_ZARRS.write(tmp_path / "m.ome.zarrs", exported.value)
    OME_ZARRS.validate(tmp_path / "m.ome.zarrs")
    read = OME_ZARRS.read(tmp_path / "m.ome.zarrs")
    assert list(read) == [name.removesuffix(".tiff")]
    image = read[name.removesuffix(".tiff")]
    assert image.channel_names == ("DAPI", "ACTIN") and image.pixel_size_um == (0.5, 0.5)
    np.testing.assert_array_equal(image.load(), tifffile.imread(io.BytesIO(made.value[name])))
    assert_valid(tmp_path / f"m.ome.zarrs/{name.removesuffix('.tiff')}.ome.zarr")


def test_a_tile_without_an_image_is_left_out_of_a_montage(plate) -> None:
    del plate["aligned"]["s.1-A2|3"]
    made = montages(part("s.1"), **plate, aggregate_settings=BY_GENE, montage_settings=SETTINGS)
    assert made.counts["n_cells"] == 2


def test_profiles_of_a_screen_name_the_wells_that_cannot_be_used(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    genes = ["nontargeting_1"] * 60 + ["strong"] * 20 + ["weak"] * 20
    table = pd.DataFrame({"plate": "1", "well": "A1", "gene_0": genes, "cell_barcode_0": genes})
    table["cell_area"] = rng.normal(0, 1, 100) + 6 * (table["gene_0"] == "strong")
    wells = {
        "s.1-A1": stored(tmp_path / "a.parquet", table),
        "s.1-A2": stored(tmp_path / "b.parquet", table[60:].assign(well="A2")),
    }
    made = aggregate(part("s"), wells, BY_GENE.model_copy(update={"bootstraps": 200}))
    found = made["screen/aggregate/perturbations"]
    strength = found.value.set_index("perturbation")["strength"]
    assert strength["strong"] > 4 > 1 > strength["weak"]
    assert found.picture.startswith(b"\x89PNG")
    skipped = made["screen/aggregate/skipped"].value
    assert skipped["well"].tolist() == ["A2"] and "control" in skipped["reason"][0]
