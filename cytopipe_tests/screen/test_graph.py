"""The graph of a screen: made end to end, and stale exactly where something changed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from cytopipe.storage.formats.tiff import read_tiff
from cytopipe_tests.graph.examples.lab import Lab
from cytopipe_tests.screen.lab import TILES, WELLS, edit, fresh_lab, wanted

FIRST = [tile for tile in TILES if tile.startswith("s.1-A1")]
OF_TILE = ["images", "aligned", "log_filtered", "standard_deviation", "peaks", "max_filtered"]
OF_WELLS_TILES = ["corrected", "nuclei", "cells", "segmentation", "bases", "reads", "cell_barcodes"]
OF_WELL = ["ic_fields", "well_reads", "positions", "well_info", "well_cells"]
MERGED = [f"merge/{asset}" for asset in ("cells", "tiles", "transform", "features")]
QUALITY = {"qc/cells": WELLS, "qc/plate": ["s.1"]}
OF_SCREEN = {f"aggregate/{asset}": ["s"] for asset in ("perturbations", "profiles", "skipped")}
OF_SCREEN["montage/perturbations"] = ["s.1"]
FROM_CELLS = {
    "sbs/cell_barcodes": TILES,
    "sbs/well_cells": WELLS,
    **dict.fromkeys(MERGED, WELLS),
    **QUALITY,
    **OF_SCREEN,
}
FROM_READS = {"sbs/reads": TILES, "sbs/well_reads": WELLS, "qc/reads": WELLS, **FROM_CELLS}

FROM_BASES = {"sbs/bases": TILES, **FROM_READS}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Iterator[Lab]:
    """A screen of which everything is made; a test leaves it as it found it."""
    with fresh_lab(tmp_path_factory.mktemp("screen")) as one:
        one.make_all()
        yield one


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Lab]:
    """A screen of which nothing is made."""
    with fresh_lab(tmp_path) as one:
        yield one


def place(one: Lab, asset: str, key: str) -> Path:
    ledger = one.ledger()
    return one.project.output / ledger.places.place(f"screen/{asset}", key).path


def test_a_screen_is_made_end_to_end_at_the_places_of_the_reference(made: Lab) -> None:
    assert wanted(made) == {}
    assert made.stale() == {}
    output = made.project.output / "screen/s"
    for path in (
        "preprocess/images/sbs/P-1_W-A1_T-0__image.tiffs/P-1_W-A1_T-0_C-3__image.tiff",
        "preprocess/ic_fields/sbs/P-1_W-A2__ic_field.tiffs/P-1_W-A2_C-1__ic_field.tiff",
        "sbs/images/P-1_W-A1_T-1__aligned.tiff",
        "sbs/images/P-1_W-A1_T-1__illumination_corrected.tiff",
        "sbs/images/P-1_W-A1_T-1__nuclei.tiff",
        "sbs/tsvs/P-1_W-A2_T-0__segmentation_stats.tsv",
        "sbs/parquets/P-1_W-A2_T-0__bases.parquet",
        "sbs/parquets/P-1_W-A2__reads.parquet",
    ):
        assert (output / path).is_file(), path
    aligned = read_tiff(output / "sbs/images/P-1_W-A1_T-0__aligned.tiff")
    assert (aligned.axes, aligned.shape, aligned.dtype) == ("TCYX", (3, 5, 160, 160), np.uint16)
    assert aligned.channel_names == ("DAPI", "G", "T", "A", "C")
    assert aligned.pixel_size_um == (1.3, 1.3)


def test_cells_get_the_barcodes_that_they_carry(made: Lab) -> None:
    truth = pd.read_csv(made.directory / "truth/cells_of_tiles.tsv", sep="\t")
    right = total = 0
    for well in WELLS:
        table = pd.read_parquet(place(made, "sbs/well_cells", well))
        assert {"well_i", "well_j", "mapped_0", "gene_0"} <= set(table)
        table = table[table["cell_barcode_0"].notna()]
        total += len(table)
        for tile, cells in table.groupby("tile"):
            labels = read_tiff(place(made, "sbs/cells", f"{well}|{tile}")).load()
            there = truth[(truth["well"] == well[-2:]) & (truth["tile"] == tile)]
            own = labels[there["i"].round().astype(int), there["j"].round().astype(int)]
            carried = dict(zip(own, there["barcode_0"], strict=True))
            right += sum(
                carried.get(cell) == read for cell, read in cells[["cell", "cell_barcode_0"]].to_numpy()
            )
    assert total > 10
    assert right / total > 0.8


def test_every_image_and_every_table_of_a_well_shows_a_picture(made: Lab) -> None:
    for asset in ("images", "aligned", "log_filtered", "peaks", "corrected", "nuclei", "cells", "reads"):
        path = made.project.output / "pictures/screen/sbs" / asset
        pictures = list(path.glob("*.png"))
        assert len(pictures) == 4, asset
        assert all(100 < one.stat().st_size <= 100_000 for one in pictures)


def test_one_changed_image_makes_stale_its_tile_then_its_well_and_no_other_well(made: Lab) -> None:
    path = made.directory / "sbs/P-1_W-A1_T-1_C-2__image.tiff"
    before = path.read_bytes()
    pixels = tifffile.imread(path)
    pixels[2, 80, 80] += 1
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata={"axes": "CYX"})
    stale = wanted(made)
    assert stale == {
        **{f"sbs/{asset}": ["s.1-A1|1"] for asset in OF_TILE},
        **{f"sbs/{asset}": FIRST for asset in OF_WELLS_TILES},
        **{f"sbs/{asset}": ["s.1-A1"] for asset in (*OF_WELL, "metadata")},
        **{asset: ["s.1-A1"] for asset in MERGED},
        **{f"qc/{asset}": ["s.1-A1|1"] for asset in ("sbs_planes", "sbs_alignment")},
        **{f"qc/{asset}": ["s.1-A1"] for asset in ("sbs_images", "reads", "cells")},
        "qc/plate": ["s.1"],
        **OF_SCREEN,
    }
    # Dagster itself marks what is made from another version now, edge by edge.
    assert made.stale() == {
        "screen/sbs/images": ["s.1-A1|1"],
        "screen/sbs/metadata": ["s.1-A1"],
    }
    assert made.make("screen/sbs/images", keys=["s.1-A1|1"]).success
    assert made.stale() == {
        "screen/sbs/aligned": ["s.1-A1|1"],
        "screen/sbs/ic_fields": ["s.1-A1"],
        "screen/sbs/metadata": ["s.1-A1"],
        "screen/qc/sbs_planes": ["s.1-A1|1"],
        "screen/qc/sbs_alignment": ["s.1-A1|1"],
    }
    path.write_bytes(before)
    assert made.make("screen/sbs/images", keys=["s.1-A1|1"]).success
    assert wanted(made) == {}  # the same bytes again: nothing after them is made again


def test_a_parameter_makes_stale_what_uses_its_stage_and_nothing_else(made: Lab) -> None:
    stages = {
        "sbs/reads": FROM_READS,
        "sbs/bases": FROM_BASES,
        "sbs/peaks": {"sbs/peaks": TILES, **FROM_BASES},
    }
    for asset, before, after in (
        ("sbs/reads", "{method: median}", "{method: median, normalize_bases_first: false}"),
        ("sbs/bases", "{method: median}", "{method: median, threshold_peaks: 300}"),
        ("sbs/peaks", "      reads:", "      filter: {peak_width: 7}\n      reads:"),
        ("sbs/cell_barcodes", "      reads:", "      cell_calls: {q_min: 0.3}\n      reads:"),
    ):
        edit(made, (before, after))
        assert wanted(made) == stages.get(asset, FROM_CELLS), after
        (reason,) = made.reasons(f"screen/{asset}", TILES[0])
        assert "->" in reason and "_settings changed: " in reason
        edit(made, (after, before))
        assert wanted(made) == {}


def test_a_method_that_learns_from_the_well_is_made_over_tiles_wells_and_tiles_again(made: Lab) -> None:
    before = {key: made.events("screen/sbs/cell_barcodes", key)[-1].version for key in TILES}
    edit(made, ("{method: median}", "{method: model}"))
    assert made.make("screen/sbs/read_model", keys=["s.1-A1"]).success
    assert made.make("screen/sbs/reads", "screen/sbs/cell_barcodes", keys=FIRST).success
    table = pd.read_parquet(place(made, "sbs/cell_barcodes", TILES[0]))
    assert {"cell_barcode_0", "cell_barcode_probability_0", "call"} <= set(table)
    edit(made, ("{method: model}", "{method: median}"))
    made.make_wanted()
    assert wanted(made) == {}
    assert {key: made.events("screen/sbs/cell_barcodes", key)[-1].version for key in TILES} == before


def test_a_damaged_image_fails_its_tile_alone_and_its_well_names_the_tile(fresh: Lab) -> None:
    path = fresh.directory / "sbs/P-1_W-A2_T-0_C-3__image.tiff"
    before = path.read_bytes()
    path.write_bytes(before[: len(before) // 2])
    assert not fresh.make("screen/sbs/images", "screen/sbs/aligned", keys=TILES).success
    for asset, state in (("images", "failed"), ("aligned", "missing")):
        states = fresh.states(f"screen/sbs/{asset}")
        assert states == {one: state if one == TILES[2] else "done" for one in TILES}
    assert path.name in fresh.reasons("screen/sbs/images", TILES[2])[0]
    assert not fresh.make("screen/sbs/ic_fields", keys=WELLS).success
    assert fresh.states("screen/sbs/ic_fields") == {"s.1-A1": "done", "s.1-A2": "failed"}
    (reason,) = fresh.reasons("screen/sbs/ic_fields", "s.1-A2")
    assert "1 of 2 tiles are missing: 0" in reason and "missing_tiles: report" in reason
    path.write_bytes(before)
    assert fresh.make("screen/sbs/images", "screen/sbs/aligned", keys=TILES).success
    assert fresh.make("screen/sbs/ic_fields", keys=WELLS).success


def test_a_well_is_made_without_its_missing_tiles_where_the_project_says_so(made: Lab, tmp_path) -> None:
    gone = list((made.directory / "sbs").glob("P-1_W-A2_T-1_C-*"))
    for path in gone:
        shutil.move(path, tmp_path / path.name)
    assert TILES[3] not in made.project.data_sets["sbs_tiles"]
    made.make("screen/sbs/well_reads", keys=["s.1-A2"])
    assert "1 of 2 tiles are missing: 1 (no image)" in made.reasons("screen/sbs/well_reads", "s.1-A2")[0]
    edit(made, ("missing_tiles: refuse", "missing_tiles: report"))
    assert made.make("screen/sbs/well_reads", keys=["s.1-A2"]).success
    told = made.events("screen/sbs/well_reads", "s.1-A2")[-1].metadata
    assert told["missing_tiles"] == [1] and told["n_tiles"] == 1
    for path in gone:
        shutil.move(tmp_path / path.name, path)
    edit(made, ("missing_tiles: report", "missing_tiles: refuse"))
    made.make_wanted()
    assert wanted(made) == {}


FILTERED = ["log_filtered", "standard_deviation", "peaks", "max_filtered", "bases"]


def test_the_read_model_plans_no_filtered_image_and_peaks_plan_no_model(fresh: Lab) -> None:
    by_peaks = wanted(fresh)
    edit(fresh, ("method: median", "method: model"))
    by_model = wanted(fresh)
    assert {f"sbs/{one}" for one in FILTERED} == set(by_peaks) - set(by_model)
    assert set(by_model) - set(by_peaks) == {"sbs/read_model"}


def test_an_exported_stage_plans_the_images_it_is_made_from_and_makes_no_reads_stale(tmp_path: Path) -> None:
    size = "pixel_size_um: 1.3"
    with fresh_lab(tmp_path, wells=("A1",)) as one:
        edit(one, ("method: median", "method: model"))
        one.make_wanted()
        assert wanted(one) == {}
        assert [asset for asset in FILTERED if one.events(f"screen/sbs/{asset}")] == []
        edit(one, (size, f"{size}\n      omezarr_export: true\n      omezarr_stages: [find_peaks]"))
        expected = ("log_filtered", "standard_deviation", "peaks", "omezarr/peaks")
        assert wanted(one) == {f"sbs/{asset}": FIRST for asset in expected}
        one.make_wanted()
        assert wanted(one) == {}


def test_of_two_screens_each_has_the_images_that_its_own_method_needs(fresh: Lab) -> None:
    file = fresh.directory / "cytopipe.yaml"
    head, _, entry = file.read_text().partition("  s:\n")
    other = entry.replace("method: median", "method: model")
    file.write_text(f"{head}  s:\n{entry}  other:\n{other}")
    found = wanted(fresh)
    others = [f"other{tile.removeprefix('s')}" for tile in TILES]
    assert {tuple(found[f"sbs/{one}"]) for one in FILTERED} == {tuple(TILES)}
    assert found["sbs/read_model"] == ["other.1-A1", "other.1-A2"]
    assert found["sbs/reads"] == [*TILES, *others]
    assert fresh.make(
        "screen/sbs/images", "screen/sbs/aligned", "screen/sbs/log_filtered", keys=TILES
    ).success
    assert "sbs/log_filtered" not in wanted(fresh)
