"""An output folder of Brieflow as assets: used as it lies, never written; what follows is made from it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from dagster import DagsterInstance

from cytopipe.defs.lineage import lineage
from cytopipe.defs.removal import survey
from cytopipe.storage.formats.ome_zarr import read_ome_zarr
from cytopipe.testing.screens import make_screen, write_screen
from cytopipe_tests.cli.conftest import cytopipe
from cytopipe_tests.graph.examples.lab import Lab
from cytopipe_tests.screen.brieflow_tree import TEMPORARY, write_tree
from cytopipe_tests.screen.lab import declared, edit, lab

ENTRY = """\
engine: serial
screen:
  s:
    library: library.tsv
    library_columns: {barcode_column: barcode, gene_columns: [gene]}
    aggregate: {min_cells: 1, min_control_cells: 3, control_prefix: GENE0000}
    sbs:
      images: sbs/P-{plate}_W-{well}_T-{tile}_C-{cycle}__image.tiff
      channels: [DAPI, G, T, A, C]
      pixel_size_um: 1.3
      positions: sbs_metadata.tsv
      alignment: {model: translation}
      segmentation: {threshold_dapi: 2500}
      reads: {method: median}
    phenotype:
      images: phenotype/P-{plate}_W-{well}_T-{tile}__image.tiff
      channels: [DAPI, TUBULIN, GH2AX, PHALLOIDIN]
      pixel_size_um: 0.65
      positions: phenotype_metadata.tsv
      segmentation: {threshold_dapi: 2500, threshold_cell: 900, radius_px: 30,
                     nucleus_area_min_px: 180, nucleus_area_max_px: 1800}
      stitching: {same_cell_px: 20, cell_radius_px: 28}
"""
IN_TREE = ("    sbs:\n", "    brieflow: tree\n    sbs:\n")
TILES = ["s.1-A1|0", "s.1-A1|1"]


def without(text: str, *names: str) -> str:
    """The project file without the lines that name these fields."""
    return "".join(
        line for line in text.splitlines(keepends=True) if line.strip().partition(":")[0] not in names
    )


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Iterator[Lab]:
    """A screen of which everything was computed here."""
    directory = tmp_path_factory.mktemp("original")
    (directory / "history").mkdir()
    screen = make_screen("easy", 5, wells=("A1",), tile_grid=(1, 2), tile_size=256, cycles=3, n_barcodes=8)
    write_screen(directory / "project", screen)
    (directory / "project/cytopipe.yaml").write_text(ENTRY)
    with DagsterInstance.local_temp(str(directory / "history")) as instance:
        one = lab(directory / "project", instance)
        one.make_all()
        yield one


@pytest.fixture
def beside(original: Lab, tmp_path: Path) -> Iterator[Lab]:
    """A project that has nothing but the tree of what the other one made."""
    project = tmp_path / "project"
    project.mkdir()
    shutil.copyfile(original.directory / "library.tsv", project / "library.tsv")
    write_tree(original.directory, original.project.output / "screen/s", project / "tree", ("A1",))
    (project / "cytopipe.yaml").write_text(without(ENTRY, "images", "positions").replace(*IN_TREE))
    (tmp_path / "history").mkdir()
    with DagsterInstance.local_temp(str(tmp_path / "history")) as instance:
        yield lab(project, instance)


def states(one: Lab) -> dict[str, set[str]]:
    """The assets of which any partition is in a state, by state."""
    found: dict[str, set[str]] = {}
    for status in one.ledger().statuses(one.graph.makers):
        found.setdefault(status.state, set()).add(status.asset.removeprefix("screen/"))
    return found


def contents(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file of a folder as it lies."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.stat().st_ino, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def table(one: Lab, asset: str, key: str) -> pd.DataFrame:
    ledger = one.ledger()
    return pd.read_parquet(one.project.output / ledger.places.place(asset, key).path)


def test_what_brieflow_left_is_used_and_the_rest_is_made_from_it(beside: Lab, original: Lab) -> None:
    tree = beside.directory / "tree"
    for pattern in TEMPORARY:  # as Brieflow leaves it when it has ended
        for path in tree.glob(pattern):
            path.unlink()
    before = contents(tree)
    assert states(beside)["done"] == {
        "sbs/images", "sbs/ic_fields", "sbs/nuclei", "sbs/cells", "sbs/segmentation", "sbs/reads",
        "sbs/cell_barcodes", "sbs/well_reads", "sbs/well_info", "phenotype/images", "phenotype/ic_fields",
        "phenotype/aligned", "phenotype/nuclei", "phenotype/cells", "phenotype/segmentation",
        "phenotype/features", "phenotype/well_features",
    }  # fmt: skip
    beside.make_all()
    found = states(beside)
    assert set(found) == {"done", "waiting"}
    assert found["waiting"] == {"sbs/metadata", "phenotype/metadata"}, "there are no files of a microscope"
    assert contents(tree) == before
    for asset in ("screen/merge/features", "screen/aggregate/perturbations"):
        key = "s.1-A1" if "merge" in asset else "s"
        pd.testing.assert_frame_equal(table(beside, asset, key), table(original, asset, key))
    assert not list((beside.project.output / "screen/s").rglob("*nuclei*"))
    assert beside.stale() == {}


def small(directory: Path, *, tiles: int = 2) -> Path:
    """A project around a tree of the phenotype alone: aligned images and masks, as Brieflow keeps them."""
    images = directory / "tree/phenotype/images"
    images.mkdir(parents=True)
    rng = np.random.default_rng(5)
    labels = np.zeros((96, 96), np.int32)
    labels[10:30, 10:30], labels[50:80, 40:70] = 3, 7
    for tile in range(tiles):
        head = f"P-1_W-A1_T-{tile}"
        pixels = rng.integers(0, 4000, (4, 96, 96), dtype=np.uint16)
        tifffile.imwrite(images / f"{head}__aligned.tiff", pixels, photometric="minisblack")
        for name in ("nuclei", "cells"):
            tifffile.imwrite(images / f"{head}__{name}.tiff", labels, photometric="minisblack")
    (directory / "cytopipe.yaml").write_text(
        """\
engine: serial
screen:
  s:
    brieflow: tree
    phenotype:
      channels: [DAPI, TUBULIN, GH2AX, PHALLOIDIN]
      pixel_size_um: 0.65
      stitching: {layout: row}
      omezarr_export: true
      omezarr_chunk_shape: [1, 64, 64]
      omezarr_stages: [align_phenotype, segment_phenotype]
"""
    )
    return directory


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Lab]:
    (tmp_path / "history").mkdir()
    with DagsterInstance.local_temp(str(tmp_path / "history")) as instance:
        yield lab(small(tmp_path / "project"), instance)


def test_images_and_masks_alone_are_exported_and_measured_and_what_lacks_is_named(bare: Lab) -> None:
    bare.make_all()
    found = states(bare)
    assert set(found) == {"done", "waiting"}
    assert {asset for asset in found["waiting"] if "omezarr" not in asset} == {
        "phenotype/images", "phenotype/ic_fields", "phenotype/corrected", "phenotype/segmentation",
        "phenotype/metadata", "qc/phenotype_planes", "qc/phenotype_images",
    }  # fmt: skip
    assert bare.reasons("screen/phenotype/images", "s.1-A1|0") == ("tree does not have it",)
    assert bare.reasons("screen/phenotype/segmentation", "s.1-A1|0") == (
        "is made together with screen/phenotype/nuclei, which lies outside without it",
    )
    assert bare.reasons("screen/phenotype/ic_fields", "s.1-A1") == ("screen/phenotype/images is waiting",)
    output = bare.project.output / "screen/s/phenotype"
    for tile in (0, 1):
        aligned = tifffile.imread(bare.directory / f"tree/phenotype/images/P-1_W-A1_T-{tile}__aligned.tiff")
        image = read_ome_zarr(output / f"omezarr/aligned/P-1_W-A1_T-{tile}__aligned.ome.zarr")
        assert np.array_equal(image.load(), aligned)
        assert image.channel_names[1] == "TUBULIN" and image.pixel_size_um == (0.65, 0.65)
        masks = read_ome_zarr(output / f"omezarr/segmentation/P-1_W-A1_T-{tile}__segmentation.ome.zarr")
        assert np.unique(masks.labels["cells"].load()).tolist() == [0, 3, 7]
    features = pd.read_parquet(output / "parquets/P-1_W-A1__features.parquet")
    assert features["label"].tolist() == [3, 7, 3, 7] and "cell_TUBULIN_mean" in features
    assert not (output / "images/P-1_W-A1_T-0__aligned.tiff").exists()
    assert bare.stale() == {}


def test_a_file_that_changes_or_goes_is_followed(bare: Lab) -> None:
    bare.make("screen/phenotype/cytoplasm", "screen/phenotype/features", keys=TILES)
    path = bare.directory / "tree/phenotype/images/P-1_W-A1_T-1__cells.tiff"
    labels = tifffile.imread(path)
    labels[85:95, 85:95] = 9
    tifffile.imwrite(path, labels, photometric="minisblack")
    assert bare.states("screen/phenotype/features") == {"s.1-A1|0": "done", "s.1-A1|1": "stale"}
    assert bare.changes == ["screen/phenotype/cells [s.1-A1|1] lies outside, and changed"]
    assert bare.stale("screen/phenotype/features") == {"screen/phenotype/features": ["s.1-A1|1"]}
    bare.ledger()
    assert bare.changes == []
    path.unlink()
    assert bare.states("screen/phenotype/cells") == {"s.1-A1|0": "done", "s.1-A1|1": "waiting"}
    assert bare.reasons("screen/phenotype/cells", "s.1-A1|1")[0].startswith("is made together with")


def test_other_settings_make_nothing_stale_that_lies_outside_in_the_browser_neither(bare: Lab) -> None:
    bare.make("screen/phenotype/cytoplasm", keys=TILES)
    edit(bare, ("    phenotype:\n", "    phenotype:\n      segmentation: {threshold_dapi: 2000}\n"))
    assert states(bare)["done"] >= {"phenotype/nuclei", "phenotype/cells", "phenotype/cytoplasm"}
    assert bare.stale("screen/phenotype/nuclei", "screen/phenotype/cytoplasm") == {}
    bare.ledger()
    assert bare.changes == []


def test_what_lies_outside_is_told_as_such_and_never_removed(bare: Lab) -> None:
    bare.make("screen/phenotype/cytoplasm", keys=TILES)
    (event,) = bare.events("screen/phenotype/nuclei", "s.1-A1|0")
    assert event.metadata["outside"] == "tree/phenotype/images/P-1_W-A1_T-0__nuclei.tiff"
    assert event.words == "lies outside, as somebody else made it"
    found = survey(bare.ledger(), [("screen/phenotype/nuclei", key) for key in TILES])
    assert (found.places, found.refused) == ([], [])
    node = lineage(bare.ledger(), "screen/phenotype/cytoplasm", "s.1-A1|0")
    (nuclei,) = (one for one in node.inputs if one.asset == "screen/phenotype/nuclei")
    assert (nuclei.path, nuclei.inputs) == (event.metadata["outside"], ())


def test_a_run_over_what_lies_outside_computes_nothing(bare: Lab) -> None:
    before = contents(bare.directory / "tree")
    result = bare.make("screen/phenotype/nuclei", "screen/phenotype/cells", keys=TILES[:1])
    assert result.success
    assert contents(bare.directory / "tree") == before
    assert bare.events("screen/phenotype/nuclei", TILES[0])[-1].metadata["outside"]
    assert not list(bare.project.output.rglob("*nuclei*"))


def test_a_tree_that_cannot_be_used_is_told_with_its_line(tmp_path: Path) -> None:
    for written, words in (
        ("brieflow: nowhere", "screen.s.brieflow: no such folder"),
        ("brieflow: tree/phenotype", "screen.s.brieflow: is no output folder of Brieflow"),
        ("description: no tree", "screen.s.phenotype.images: neither images nor samples is given"),
    ):
        directory = small(tmp_path / written.partition(" ")[2].replace("/", "_").replace(" ", "_"))
        file = directory / "cytopipe.yaml"
        file.write_text(file.read_text().replace("brieflow: tree", written))
        (finding,) = declared(directory).findings
        assert words in finding.what, finding
    (tmp_path / "empty/tree/sbs").mkdir(parents=True)
    (tmp_path / "empty/cytopipe.yaml").write_text(
        file.read_text().replace("description: no tree", "brieflow: tree")
    )
    (finding,) = declared(tmp_path / "empty").findings
    assert "has no tile of phenotype" in finding.what


def test_a_file_that_is_no_image_fails_its_own_tile_with_the_reason(bare: Lab) -> None:
    path = bare.directory / "tree/phenotype/images/P-1_W-A1_T-1__cells.tiff"
    path.write_bytes(b"II*\0" + bytes(30))
    bare.make("screen/phenotype/cytoplasm", keys=TILES)
    assert bare.states("screen/phenotype/cytoplasm") == {"s.1-A1|0": "done", "s.1-A1|1": "failed"}
    assert path.name in bare.reasons("screen/phenotype/cytoplasm", "s.1-A1|1")[0]


def test_the_command_says_what_a_tree_has_and_lacks(tmp_path: Path) -> None:
    directory = small(tmp_path / "project")
    (directory / "tree/phenotype/images/P-1_W-A1_T-1__cells.tiff").unlink()
    said = cytopipe("screen", "tree", "tree", at=directory)
    assert said.code == 0
    assert "screen/phenotype/aligned" in said.out and "2 of 2 tiles" in said.out
    assert "1 of 2 tiles" in said.out and "lacks 1-A1|1" in said.out
    said = cytopipe("check", at=directory)
    assert said.code == 0, said.err
    said = cytopipe("materialize", "screen/phenotype/well_features", at=directory)
    assert said.code == 1
    said = cytopipe("status", "screen/phenotype/cells", at=directory)
    assert "waiting" in said.out and "which lies outside without it" in said.out
