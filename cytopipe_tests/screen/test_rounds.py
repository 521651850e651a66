"""Stained cells imaged in rounds, and what the files of a microscope say of the stage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from dagster import DagsterInstance

from cytopipe.storage.formats.tiff import read_tiff
from cytopipe_tests.graph.examples.lab import Lab
from cytopipe_tests.screen.lab import declared, edit, lab

PIXEL_UM, SIDE, STEP = 0.5, 96, 64
ENTRY = """\
engine: serial
screen:
  s:
    phenotype:
      images: raw/P-{plate}_W-{well}_T-{tile}_R-{round}.ome.tiff
      channels: [DAPI, ACTIN, DAPI2, TUBULIN]
      pixel_size_um: 0.5
"""
TILES = ["s.1-A1|0", "s.1-A1|1"]


def written(directory: Path, *, stage: bool = True) -> Path:
    """Two tiles beside each other that share 32 columns, in two rounds of two channels each; their OME-TIFFs
    say where the stage was.
    """
    rng = np.random.default_rng(2)
    well = rng.integers(100, 4000, (4, SIDE, SIDE + STEP), dtype=np.uint16)
    (directory / "raw").mkdir(parents=True)
    for tile in (0, 1):
        own = well[..., tile * STEP : tile * STEP + SIDE]
        for number, channels in ((1, own[:2]), (2, own[2:])):
            plane = {
                "PositionX": [1000 + (tile * STEP + 1) * PIXEL_UM] * 2,
                "PositionY": [-500.0] * 2,
                "PositionXUnit": ["µm"] * 2,
                "PositionYUnit": ["µm"] * 2,
            }
            sizes = {f"PhysicalSize{axis}": PIXEL_UM for axis in "XY"}
            metadata = {"axes": "CYX", **sizes} | ({"Plane": plane} if stage else {})
            path = directory / f"raw/P-1_W-A1_T-{tile}_R-{number}.ome.tiff"
            tifffile.imwrite(path, channels, ome=True, metadata=metadata, photometric="minisblack")
    (directory / "cytopipe.yaml").write_text(ENTRY)
    return directory


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Lab]:
    (tmp_path / "history").mkdir()
    with DagsterInstance.local_temp(str(tmp_path / "history")) as instance:
        yield lab(written(tmp_path / "project"), instance)


def image(of: Lab, tile: int):
    path = f"screen/s/preprocess/images/phenotype/P-1_W-A1_T-{tile}__image.tiff"
    return read_tiff(of.project.output / path)


def test_rounds_are_one_image_their_channels_in_the_order_that_is_declared(one: Lab) -> None:
    raw = [tifffile.imread(one.directory / f"raw/P-1_W-A1_T-1_R-{number}.ome.tiff") for number in (1, 2)]
    assert one.make("screen/phenotype/images", keys=TILES).success
    made = image(one, 1)
    assert made.channel_names == ("DAPI", "ACTIN", "DAPI2", "TUBULIN")
    assert np.array_equal(made.load(), np.concatenate(raw))
    edit(one, ("      pixel_size_um", "      rounds: [2, 1]\n      pixel_size_um"))
    assert one.make("screen/phenotype/images", keys=TILES).success
    assert np.array_equal(image(one, 1).load(), np.concatenate(raw[::-1]))


def test_rounds_that_do_not_fit_are_told_with_their_line(tmp_path: Path) -> None:
    directory = written(tmp_path / "project")
    file, text = directory / "cytopipe.yaml", ENTRY
    for before, after, words in (
        ("      pixel", "      rounds: [1, 3]\n      pixel", "are not the rounds of the images"),
        ("_R-{round}.ome", "_R-{round}_{channel}.ome", "images is not usable"),
        ("_R-{round}", "_R-{cycle}", "images is not usable"),
    ):
        file.write_text(text.replace(before, after))
        assert any(words in one.what for one in declared(directory).findings)
    file.write_text(text)
    (directory / "raw/P-1_W-A1_T-1_R-2.ome.tiff").unlink()
    (finding,) = declared(directory).findings
    assert "s lacks round 2" in str(finding).replace("1-A1|1", "s")


def test_tiles_lie_where_the_files_say_that_the_stage_was(one: Lab) -> None:
    for asset in ("images", "ic_fields", "corrected", "aligned", "metadata", "positions"):
        by = one.graph.makers[f"screen/phenotype/{asset}"].by.name
        keys = TILES if by == "phenotype_tiles" else ["s.1-A1"]
        assert one.make(f"screen/phenotype/{asset}", keys=keys).success, asset
    output = one.project.output / "screen/s"
    table = pd.read_parquet(output / "preprocess/metadata/phenotype/P-1_W-A1__combined_metadata.parquet")
    assert len(table) == 4 and table["stage_x_um"].tolist() == [1000.5, 1000.5, 1032.5, 1032.5]
    assert table["pixel_size_x_um"].tolist() == [PIXEL_UM] * 4
    assert table["file"].tolist()[0] == "P-1_W-A1_T-0_R-1.ome.tiff"
    places = pd.read_parquet(output / "phenotype/parquets/P-1_W-A1__positions.parquet").set_index("tile")
    assert abs(places.loc[1, "j"] - places.loc[0, "j"] - STEP) < 0.2 and places["located"].all()


def test_a_file_that_cannot_be_read_is_noted_and_the_others_are_listed(one: Lab) -> None:
    (one.directory / "raw/P-1_W-A1_T-1_R-2.ome.tiff").write_bytes(b"II*\0" + bytes(20))
    assert one.make("screen/phenotype/metadata", keys=["s.1-A1"]).success
    event = one.events("screen/phenotype/metadata", "s.1-A1")[-1]
    assert event.metadata["n_files"] == 4 and event.metadata["n_with_stage"] == 3
    assert "P-1_W-A1_T-1_R-2.ome.tiff" in event.metadata["warning"]


def test_a_stage_that_nothing_tells_of_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "history").mkdir()
    with DagsterInstance.local_temp(str(tmp_path / "history")) as instance:
        without = lab(written(tmp_path / "project", stage=False), instance)
        for asset in ("images", "ic_fields", "corrected", "aligned", "metadata", "positions"):
            by = without.graph.makers[f"screen/phenotype/{asset}"].by.name
            without.make(f"screen/phenotype/{asset}", keys=TILES if by == "phenotype_tiles" else ["s.1-A1"])
        (reason,) = without.reasons("screen/phenotype/positions", "s.1-A1")
        assert "neither a table nor the files say where the stage was for tiles 0, 1" in reason
