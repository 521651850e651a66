"""OME-Zarr of the stages of a screen: the TIFFs' pixels, labels as labels, a plate that opens as one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cytopipe.defs.definitions import definitions_of
from cytopipe.defs.history import asset_key
from cytopipe.defs.instance import open_instance
from cytopipe.defs.relations import Relations
from cytopipe.defs.screen import SCREEN
from cytopipe.project import read_project
from cytopipe.storage.formats.ome_zarr import read_ome_zarr, read_plate_fields
from cytopipe.storage.formats.tiff import read_tiff
from cytopipe_tests.graph.examples.lab import Lab
from cytopipe_tests.screen.lab import declared, edit, fresh_lab, lab, wanted, written
from cytopipe_tests.storage.test_formats_ome_zarr import assert_valid, assert_valid_group

STAGES = "[convert_sbs, calculate_ic_sbs, align_sbs, find_peaks, segment_sbs]"
TILES = ["s.1-A1|0", "s.1-A2|0"]
EXPORTED = f"omezarr_export: true\n      omezarr_chunk_shape: [1, 64, 64]\n      omezarr_stages: {STAGES}"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Iterator[Lab]:
    """A screen whose sequencing images are exported; a test leaves it as it found it."""
    with fresh_lab(tmp_path_factory.mktemp("screen"), tile_grid=(1, 1), cycles=3, tile_size=128) as one:
        edit(one, ("pixel_size_um: 1.3", f"pixel_size_um: 1.3\n      {EXPORTED}"))
        one.make_all()
        yield one


def at(one: Lab, path: str) -> Path:
    return one.project.output / "screen/s" / path


def test_every_listed_stage_is_exported_with_the_pixels_of_its_tiff(made):
    assert wanted(made) == {}
    for well in ("A1", "A2"):
        name = f"P-1_W-{well}_T-0"
        for info in ("aligned", "peaks"):
            exported = at(made, f"sbs/omezarr/{info}/{name}__{info}.ome.zarr")
            tiff = read_tiff(at(made, f"sbs/images/{name}__{info}.tiff"))
            image = read_ome_zarr(exported)
            assert np.array_equal(np.squeeze(image.load()), np.squeeze(tiff.load()))
            assert image.pixel_size_um == (1.3, 1.3)
            assert_valid(exported)
    aligned = read_ome_zarr(at(made, "sbs/omezarr/aligned/P-1_W-A1_T-0__aligned.ome.zarr"))
    assert (aligned.axes, aligned.channel_names) == ("TCYX", ("DAPI", "G", "T", "A", "C"))


def test_cycles_of_the_microscope_and_illumination_fields_lie_over_each_other(made):
    raw = read_ome_zarr(at(made, "preprocess/omezarr/sbs/P-1_W-A1_T-0__image.ome.zarr"))
    assert (raw.axes, raw.shape) == ("TCYX", (3, 5, 128, 128))
    third = read_tiff(
        at(made, "preprocess/images/sbs/P-1_W-A1_T-0__image.tiffs/P-1_W-A1_T-0_C-3__image.tiff")
    )
    assert np.array_equal(raw.load()[2], third.load())
    fields = read_ome_zarr(at(made, "preprocess/omezarr/sbs/P-1_W-A1__ic_field.ome.zarr"))
    assert fields.channel_names[:2] == ("IC field DAPI", "IC field G") and fields.dtype == np.float64


def test_masks_are_labels_below_the_image_they_were_found_on(made):
    exported = at(made, "sbs/omezarr/segmentation/P-1_W-A1_T-0__segmentation.ome.zarr")
    image = read_ome_zarr(exported)
    corrected = read_tiff(at(made, "sbs/images/P-1_W-A1_T-0__illumination_corrected.tiff"))
    assert np.array_equal(image.load(), corrected.load())
    for name in ("nuclei", "cells"):
        tiff = read_tiff(at(made, f"sbs/images/P-1_W-A1_T-0__{name}.tiff"))
        assert np.array_equal(image.labels[name].load(), tiff.load()) and tiff.load().max() > 0
    assert_valid(exported)


def test_a_plate_opens_as_a_plate_and_shares_the_files_of_its_tiles(made):
    plate = at(made, "sbs/omezarr/plate/P-1.ome.zarr")
    assert read_plate_fields(plate) == ["A/1/0", "A/2/0"]
    assert_valid_group(plate, "0.5")
    assert set(read_ome_zarr(plate / "A/2/0").labels) == {"nuclei", "cells"}
    tile = at(made, "sbs/omezarr/segmentation/P-1_W-A2_T-0__segmentation.ome.zarr")
    (chunk,) = (plate / "A/2/0/labels/cells/0").rglob("0/0")
    assert chunk.samefile(tile / chunk.relative_to(plate / "A/2/0"))


def test_of_stages_that_are_not_listed_nothing_is_made(made):
    assert not at(made, "sbs/omezarr/log_filtered").exists()
    assert made.states("screen/sbs/omezarr/log_filtered") == {}
    assert made.events("screen/sbs/omezarr/log_filtered") == []


def test_another_chunk_shape_makes_the_exports_stale_and_no_tiff(made):
    edit(made, ("[1, 64, 64]", "[1, 32, 32]"))
    stale = wanted(made)
    edit(made, ("[1, 32, 32]", "[1, 64, 64]"))
    assert set(stale) == {one for one in stale if "omezarr" in one} and stale["sbs/omezarr/aligned"] == TILES
    assert wanted(made) == {}


def test_dagster_gives_an_export_the_partitions_of_its_tiffs(made):
    graph = made.definitions().resolve_asset_graph()
    export, tiff = (graph.get(asset_key(f"screen/sbs/{one}")) for one in ("omezarr/aligned", "aligned"))
    assert export.partitions_def == tiff.partitions_def and tiff.key in export.parent_keys


def test_dagster_shows_no_asset_that_the_settings_of_no_screen_use(made):
    """What is never made would stay "missing" in a project of which everything is done."""
    graph = made.definitions().resolve_asset_graph()
    relations = made.ledger().relations
    shown, unused = graph.get_all_asset_keys(), set()
    for step in relations.graph.artifacts:
        for asset in step.makes:
            assert (asset_key(asset) in shown) == relations.is_used(step), asset
            unused |= set() if relations.is_used(step) else {asset_key(asset)}
    assert asset_key("screen/sbs/omezarr/log_filtered") in unused
    assert not unused & {parent for key in shown for parent in graph.get(key).parent_keys}
    read = {parent for key in shown for parent in graph.get(key).parent_keys}
    assert {asset_key(source) for source in relations.graph.sources} & shown <= read, "none stands alone"
    assert set(made.instance.all_asset_keys()) <= shown, "nor among the assets of which there are events"


def test_one_job_makes_all_exports_of_an_acquisition_and_what_they_are_made_from(tmp_path):
    directory = written(tmp_path, tile_grid=(1, 1), cycles=3, n_barcodes=8, tile_size=96)
    file = directory / "cytopipe.yaml"
    stages = "omezarr_export: true\n      omezarr_stages: [calculate_ic_sbs, align_sbs]"
    file.write_text(file.read_text().replace("pixel_size_um: 1.3", f"pixel_size_um: 1.3\n      {stages}"))
    project = declared(directory)
    with open_instance(project) as instance:
        definitions = definitions_of(project, file=str(file))
        assert (
            definitions.resolve_job_def("all_phenotype_omezarr").execute_in_process(instance=instance).success
        )
        job = definitions.resolve_job_def("all_sbs_omezarr")
        assert job.execute_in_process(instance=instance).success
        one = lab(directory, instance)
        for asset in ("omezarr/aligned", "omezarr/ic_field", "omezarr/plate", "aligned", "ic_fields"):
            assert set(one.states(f"screen/sbs/{asset}").values()) == {"done"}, asset
        assert set(one.states("screen/sbs/reads").values()) == {"missing"}
        n_runs = instance.get_runs_count()
        assert job.execute_in_process(instance=instance).success
        assert instance.get_runs_count() == n_runs + 1, "nothing is to be made, so no run follows"


def test_a_job_of_exports_fails_in_words_where_a_tile_cannot_be_exported(tmp_path):
    directory = written(tmp_path, tile_grid=(1, 1), cycles=3, n_barcodes=8, tile_size=96)
    file = directory / "cytopipe.yaml"
    stages = "omezarr_export: true\n      omezarr_stages: [align_sbs]"
    file.write_text(file.read_text().replace("pixel_size_um: 1.3", f"pixel_size_um: 1.3\n      {stages}"))
    broken = directory / "sbs/P-1_W-A2_T-0_C-2__image.tiff"
    broken.write_bytes(broken.read_bytes()[:1000])
    project = declared(directory)
    with open_instance(project) as instance:
        job = definitions_of(project, file=str(file)).resolve_job_def("all_sbs_omezarr")
        done = job.execute_in_process(instance=instance, raise_on_error=False)
        assert not done.success
        (failure,) = (one for one in done.all_events if one.is_step_failure)
        assert broken.name in failure.step_failure_data.user_failure_data.description
        assert lab(directory, instance).states("screen/sbs/omezarr/aligned")[TILES[0]] == "done"


def test_a_screen_that_exports_nothing_has_no_partitions_of_exports(tmp_path):
    relations = Relations(declared(written(tmp_path)), SCREEN)
    exports = [one for one in SCREEN.artifacts if "/omezarr/" in one.asset]
    assert len(exports) > 15
    assert {one.asset: relations.made_keys(one) for one in exports} == {one.asset: () for one in exports}


def test_a_stage_that_does_not_exist_is_named_with_the_nearest_one(tmp_path):
    directory = written(tmp_path)
    file = directory / "cytopipe.yaml"
    changed = "pixel_size_um: 1.3\n      omezarr_stages: [align_sb]"
    file.write_text(file.read_text().replace("pixel_size_um: 1.3", changed))
    words = str(read_project(file).broken)
    assert "align_sb" in words and "align_sbs" in words
