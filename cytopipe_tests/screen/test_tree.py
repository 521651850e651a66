"""The output folder of the reference pipeline, read as it lies and exported; a hostile one harms nothing."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cytopipe.errors import InputError
from cytopipe.screen.tree import read_tree
from cytopipe.screen.tree_export import export_tree
from cytopipe.storage.formats.ome_zarr import OmeZarr, read_ome_zarr
from cytopipe_tests.cli.conftest import cytopipe
from cytopipe_tests.storage.test_formats_ome_zarr import assert_valid

SMALL = OmeZarr(chunk_shape=(1, 64, 64))


def tiff(path: Path, pixels: np.ndarray) -> Path:
    """A TIFF as the reference pipeline writes it: pixels alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels, photometric="minisblack")
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """One tile of each acquisition through all stages that leave images."""
    rng, folder = np.random.default_rng(3), tmp_path / "brieflow_output"

    def noise(*shape: int) -> np.ndarray:
        return rng.integers(0, 4000, shape, dtype=np.uint16)

    labels = np.zeros((70, 90), np.int32)
    labels[10:30, 10:30], labels[40:60, 50:80] = 1, 501
    for cycle, channels in ((1, 5), (2, 4)):
        tiff(folder / f"preprocess/images/sbs/P-1_W-A1_T-2_C-{cycle}__image.tiff", noise(channels, 70, 90))
        tiff(folder / f"preprocess/ic_fields/sbs/P-1_W-A1_C-{cycle}__ic_field.tiff", np.ones((5, 70, 90)))
    tiff(folder / "sbs/images/P-1_W-A1_T-2__aligned.tiff", noise(2, 5, 70, 90))
    tiff(folder / "sbs/images/P-1_W-A1_T-2__standard_deviation.tiff", rng.random((70, 90)))
    for name in ("nuclei", "cells"):
        tiff(folder / f"sbs/images/P-1_W-A1_T-2__{name}.tiff", labels)
        tiff(folder / f"phenotype/images/P-1_W-A1_T-0__{name}.tiff", labels)
    tiff(folder / "phenotype/images/P-1_W-A1_T-0__identified_cytoplasms.tiff", labels)
    tiff(folder / "phenotype/images/P-1_W-A1_T-0__aligned.tiff", noise(4, 70, 90))
    (folder / "sbs/images/notes.txt").write_text("not an image")
    return folder


def test_every_stage_of_a_tree_becomes_ome_zarr_with_its_pixels(tree: Path, tmp_path: Path) -> None:
    found = read_tree(tree)
    assert found.findings == []
    channels = {"sbs": ("DAPI", "G", "T", "A", "C"), "phenotype": ("DAPI", "A", "B", "C")}
    done = list(export_tree(found, tmp_path / "out", SMALL, channels=channels, pixel_size_um={"sbs": 1.3}))
    assert [(one.group.stage.name, one.outcome, one.findings) for one in done] == [
        (name, "written", ())
        for name in (
            "convert_sbs",
            "calculate_ic_sbs",
            "align_sbs",
            "compute_standard_deviation",
            "segment_sbs",
            "align_phenotype",
            "segment_phenotype",
            "identify_cytoplasm",
        )
    ]
    for one in done:
        assert_valid(tmp_path / "out" / one.group.place)
    aligned = read_ome_zarr(tmp_path / "out/sbs/omezarr/aligned/P-1_W-A1_T-2__aligned.ome.zarr")
    assert (aligned.axes, aligned.channel_names) == ("TCYX", channels["sbs"])
    assert aligned.pixel_size_um == (1.3, 1.3)
    source = tifffile.imread(tree / "sbs/images/P-1_W-A1_T-2__aligned.tiff")
    assert np.array_equal(aligned.load(), source)
    masks = read_ome_zarr(tmp_path / "out/sbs/omezarr/segmentation/P-1_W-A1_T-2__segmentation.ome.zarr")
    assert set(masks.labels) == {"nuclei", "cells"} and masks.axes == "CYX"
    assert np.unique(masks.labels["cells"].load()).tolist() == [0, 1, 501]
    assert np.array_equal(masks.load(), source[0]), "on the first cycle, where the corrected image is gone"
    cycles = read_ome_zarr(tmp_path / "out/preprocess/omezarr/sbs/P-1_W-A1_T-2__image.ome.zarr")
    assert cycles.shape == (9, 70, 90) and cycles.channel_names[5] == "cycle 2 G"


def test_an_export_that_was_stopped_goes_on_and_follows_what_changed(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = export_tree(read_tree(tree), out, SMALL)
    assert [next(run).outcome for _ in range(3)] == ["written"] * 3
    run.close()
    outcomes = [one.outcome for one in export_tree(read_tree(tree), out, SMALL)]
    assert outcomes == ["kept"] * 3 + ["written"] * 5
    tiff(tree / "sbs/images/P-1_W-A1_T-2__cells.tiff", np.ones((70, 90), np.uint16))
    changed = [one for one in export_tree(read_tree(tree), out, SMALL) if one.outcome != "kept"]
    assert [one.group.stage.name for one in changed] == ["segment_sbs"]
    other = list(export_tree(read_tree(tree, ["align_sbs"]), out, OmeZarr(chunk_shape=(1, 32, 32))))
    assert [one.outcome for one in other] == ["written"]


def test_a_hostile_tree_is_told_whole_and_the_rest_is_exported(tree: Path, tmp_path: Path) -> None:
    secret = tiff(tmp_path / "secret.tiff", np.full((70, 90), 7, np.uint16))
    images = tree / "sbs/images"
    (images / "P-1_W-A1_T-3__aligned.tiff").symlink_to(secret)
    (images / "P-1_W-A1_T-4__aligned.tiff").mkdir()
    os.mkfifo(images / "P-1_W-A1_T-5__aligned.tiff")
    (images / "P-1_W-A1_T-6__aligned.tiff").write_bytes(b"II*\0" + bytes(30))
    tiff(images / "P-1_W-A_1_T-7__aligned.tiff", np.zeros((4, 4), np.uint16))
    tiff(images / "P-1_W-A1_T-8__montage.tiff", np.zeros((4, 4), np.uint16))
    tiff(images / "P-1_W-A1__aligned.tiff", np.zeros((4, 4), np.uint16))
    tiff(images / "P-1_W-A1_T-02__aligned.tiff", np.zeros((4, 4), np.uint16))
    tiff(images / "P-1_W-A1_T-9__nuclei.tiff", np.zeros((4, 4), np.uint16))
    (tree / "preprocess/images/phenotype").symlink_to(tmp_path)
    found = read_tree(tree)
    told = sorted(f"{Path(one.where).name}: {one.what}" for one in found.findings)
    assert told == [
        "P-1_W-A1_T-02__aligned.tiff: is a second file of the same image, and is left",
        "P-1_W-A1_T-3__aligned.tiff: leads out of the tree, and is left",
        "P-1_W-A1_T-4__aligned.tiff: is no TIFF",
        "P-1_W-A1_T-5__aligned.tiff: is no TIFF",
        "P-1_W-A1_T-8__montage.tiff: is of no stage that leaves images here: montage",
        "P-1_W-A1_T-9__nuclei.tiff: has no image beside it on which it could lie",
        "P-1_W-A1__aligned.tiff: does not say its tile",
        "P-1_W-A_1_T-7__aligned.tiff: is not the name of a file of a screen",
        "phenotype: leads out of the tree, and is left",
    ]
    done = list(export_tree(found, tmp_path / "out", SMALL))
    failed = [one for one in done if one.outcome == "failed"]
    assert [path.name for one in failed for path in one.group.files] == ["P-1_W-A1_T-6__aligned.tiff"]
    assert len(done) - len(failed) == 8
    assert not list((tmp_path / "out").rglob("*T-3*"))


def test_a_folder_that_is_no_tree_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no output folder of the pipeline"):
        read_tree(tmp_path)


def test_the_command_tells_what_failed_at_the_end_and_goes_on_when_said_again(
    tree: Path, tmp_path: Path
) -> None:
    bad = tree / "phenotype/images/P-1_W-A1_T-1__aligned.tiff"
    bad.write_bytes(b"no image")
    said = cytopipe("screen", "export-tree", "brieflow_output", "zarr", "--dry-run", at=tmp_path)
    assert said.code == 0 and "align_phenotype               2 images" in said.out
    assert not (tmp_path / "zarr").exists()
    said = cytopipe("screen", "export-tree", "brieflow_output", "zarr", at=tmp_path)
    assert said.code == 1 and "8 written, 1 failed: " in said.out and bad.name in said.err
    bad.unlink()
    said = cytopipe("screen", "export-tree", "brieflow_output", "zarr", at=tmp_path)
    assert said.code == 0 and "8 kept: " in said.out
    said = cytopipe("screen", "export-tree", "brieflow_output", "zarr", "--stage", "align_sb", at=tmp_path)
    assert said.code == 2 and "Did you mean align_sbs?" in said.err
