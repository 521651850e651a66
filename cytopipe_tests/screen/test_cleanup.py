"""Images that were needed only on the way are removed; exports are read in their place, byte for byte."""

from __future__ import annotations

import pickle
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from dagster import DagsterRunStatus

from cytopipe.defs.calls import Stored
from cytopipe.defs.dead_runs import claim_tags
from cytopipe.defs.event import REMOVED
from cytopipe.defs.history import asset_key
from cytopipe.defs.inputs import Inputs
from cytopipe.defs.instance import open_instance
from cytopipe.storage.formats.image import Image
from cytopipe_tests.cli.conftest import Said, cytopipe
from cytopipe_tests.graph.examples.lab import Lab
from cytopipe_tests.screen.lab import declared, edit, lab, wanted, written

TILES = ["s.1-A1|0", "s.1-A2|0"]
STAGES = "convert_sbs, calculate_ic_sbs, align_sbs, log_filter, max_filter, apply_ic_field_sbs, segment_sbs"
EXPORTED = f"omezarr_export: true\n      omezarr_chunk_shape: [1, 64, 64]\n      omezarr_stages: [{STAGES}]"
TEMPORARY = ["log_filtered", "standard_deviation", "peaks", "max_filtered", "corrected"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A screen of which all is made; not to be changed."""
    directory = written(tmp_path_factory.mktemp("screen"), tile_grid=(1, 1), tile_size=128)
    file = directory / "cytopipe.yaml"
    file.write_text(file.read_text().replace("pixel_size_um: 1.3", f"pixel_size_um: 1.3\n      {EXPORTED}"))
    with open_instance(declared(directory)) as instance:
        lab(directory, instance).make_all()
    return directory


@pytest.fixture
def made(finished: Path, tmp_path: Path) -> Iterator[Lab]:
    """A copy of it, to change."""
    directory = tmp_path / "screen"
    subprocess.run(["cp", "-a", str(finished), str(directory)], check=True)  # hard links of plates stay
    with open_instance(declared(directory)) as instance:
        one = lab(directory, instance)
        one.ledger()
        yield one


def clean(one: Lab, *arguments: str) -> Said:
    return cytopipe("screen", "cleanup", *arguments, at=one.directory)


def place(one: Lab, asset: str, key: str) -> Path:
    return one.project.output / one.ledger().places.place(f"screen/{asset}", key).path


def versions(one: Lab) -> dict[tuple[str, str], str]:
    ledger = one.ledger()
    return {
        (asset, key): one.events(asset, key)[-1].version
        for asset in SBS
        for key in ledger.relations.keys(ledger.graph.makers[asset].by)
    }


SBS = [
    f"screen/sbs/{name}"
    for name in (
        "aligned",
        "ic_fields",
        *TEMPORARY,
        "nuclei",
        "cells",
        "reads",
        "cell_barcodes",
        "well_cells",
    )
]


def test_temporary_tiffs_go_and_count_as_made(made: Lab) -> None:
    before = sum(path.stat().st_size for path in made.project.output.rglob("*") if path.is_file())
    dry = clean(made, "--dry-run")
    assert dry.code == 0 and "would remove" in dry.out and "2 of screen/sbs/peaks" in dry.out
    assert wanted(made) == {} and place(made, "sbs/peaks", TILES[0]).is_file()
    done = clean(made, "--yes")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0].partition(":")[2] == dry.out.splitlines()[0].partition(":")[2]
    for asset in TEMPORARY:
        assert made.reasons(f"screen/sbs/{asset}", TILES[0]) == (REMOVED,), asset
        assert not place(made, f"sbs/{asset}", TILES[0]).exists()
    assert place(made, "sbs/aligned", TILES[0]).is_file()
    assert wanted(made) == {}
    freed = int(done.out.partition("files, ")[2].partition(" ")[0].replace(",", ""))
    after = sum(path.stat().st_size for path in made.project.output.rglob("*") if path.is_file())
    assert 0 < freed == before - after
    assert cytopipe("verify", at=made.directory).code == 0
    status = cytopipe("status", "screen/sbs/peaks", at=made.directory)
    assert status.code == 0 and f"done        screen/sbs/peaks [{TILES[0]}]  {REMOVED}" in status.out
    assert "nothing to remove" in clean(made, "--yes").out


def test_what_was_removed_is_made_again_where_a_parameter_needs_it(made: Lab) -> None:
    before = versions(made)
    assert clean(made, "--yes").code == 0
    edit(made, ("{method: median}", "{method: median, normalize_bases_first: false}"))
    plan = cytopipe("materialize", "screen/sbs/reads", "--dry-run", at=made.directory)
    assert (
        f"again   screen/sbs/peaks  [{TILES[0]}]  was {REMOVED}, and screen/sbs/reads is to be made"
        in plan.out
    )
    assert "again   screen/sbs/standard_deviation" in plan.out, "what that one needs is made again, too"
    assert "screen/sbs/log_filtered" not in plan.out, "its export stands, and is read"
    assert "again   screen/sbs/aligned" not in plan.out
    assert cytopipe("materialize", "screen/sbs/reads", "-q", at=made.directory).code == 0
    assert place(made, "sbs/peaks", TILES[0]).is_file()
    same = versions(made)
    assert same["screen/sbs/peaks", TILES[0]] == before["screen/sbs/peaks", TILES[0]]


def test_a_removed_image_that_is_named_is_made_again(made: Lab) -> None:
    assert clean(made, "--yes").code == 0
    asked = ("materialize", "screen/sbs/max_filtered", "-p", TILES[0], "-q")
    assert "nothing to do" in cytopipe(*asked, at=made.directory).out
    assert cytopipe(*asked, "--again", at=made.directory).code == 0
    assert place(made, "sbs/max_filtered", TILES[0]).is_file()
    assert not place(made, "sbs/max_filtered", TILES[1]).exists() and wanted(made) == {}


def test_what_an_export_has_not_consumed_is_refused_and_all_is_told(made: Lab) -> None:
    edit(made, ("max_filter, ", "max_filter, find_peaks, "))
    done = clean(made, "--stage", "find_peaks", "--yes")
    assert done.code == 1
    kept = [line for line in done.out.splitlines() if line.startswith("kept")]
    assert len(kept) == 2, "one line for each tile"
    assert (
        f"screen/sbs/peaks [{TILES[0]}] is still needed: screen/sbs/omezarr/peaks [{TILES[0]}] is missing"
        in kept[0]
    )
    assert "nothing to remove" in done.out
    assert place(made, "sbs/peaks", TILES[0]).is_file()


def test_stages_without_images_and_unknown_ones_are_refused_with_the_nearest(made: Lab) -> None:
    assert "call_reads makes no images" in clean(made, "--stage", "call_reads").err
    assert "log_filter" in clean(made, "--stage", "log_fliter").err


def test_without_yes_a_person_is_asked_and_nothing_goes(made: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda text: "n")
    clean(made)
    assert place(made, "sbs/peaks", TILES[0]).is_file()


def test_exports_give_back_what_the_tiffs_hold(made: Lab) -> None:
    ledger = made.ledger()
    tiffs = {asset: Inputs(ledger) for asset in ledger.graph.twins}
    step = ledger.graph.makers["screen/sbs/well_reads"]
    edit(made, ("pixel_size_um: 1.3", "pixel_size_um: 1.3\n      input_format: omezarr"))
    chosen = Inputs(made.ledger())
    seen = 0
    for asset, inputs in tiffs.items():
        for key in ledger.relations.keys(ledger.graph.makers[asset].by):
            if ledger.twin(asset, key) is None:
                continue
            tiff, zarr = inputs._handle(step, asset, key), chosen._handle(step, asset, key)
            assert (tiff.format.name[:4], zarr.format.name) == ("tiff", "ome_zarr_as_tiff")
            a, b = tiff.load(), pickle.loads(pickle.dumps(Stored(zarr.format, zarr.path))).load()
            pairs = [(a, b)] if isinstance(a, Image) else [(a[name], b[name]) for name in a]
            assert isinstance(a, Image) or list(a) == list(b)
            for one, other in pairs:
                assert (one.axes, one.dtype, one.shape) == (other.axes, other.dtype, other.shape), asset
                assert (one.channel_names, one.channel_colors) == (other.channel_names, other.channel_colors)
                assert (one.pixel_size_um, one.is_labels) == (other.pixel_size_um, other.is_labels)
                assert np.array_equal(one.load(), other.load())
                assert np.array_equal(one.pixels[..., -5:, :], other.pixels[..., -5:, :])
            seen += 1
    assert seen == 16


def test_results_are_the_same_bytes_from_exports_alone(made: Lab) -> None:
    """Every TIFF that has an export is removed; then everything that was made from them is made again."""
    before = versions(made)
    edit(made, ("pixel_size_um: 1.3", "pixel_size_um: 1.3\n      input_format: omezarr"))
    assert wanted(made) == {}, "what computation reads is no parameter of a result"
    named = [f"--stage={one}" for one in ("convert_sbs", "calculate_ic_sbs")]
    assert clean(made, *named, "--yes").code == 0
    assert made.reasons("screen/sbs/images", TILES[0]) == (REMOVED,)
    for path in ("sbs/images", "sbs/parquets", "sbs/tsvs"):
        shutil.rmtree(made.project.output / "screen/s" / path)
    left = wanted(made)
    assert "sbs/images" not in left and "sbs/ic_fields" not in left and left["sbs/aligned"] == TILES
    made.make_wanted()
    assert wanted(made) == {}
    assert versions(made) == before
    assert not place(made, "sbs/images", TILES[0]).exists()


def test_an_export_of_another_version_is_not_read(made: Lab) -> None:
    edit(made, ("pixel_size_um: 1.3", "pixel_size_um: 1.3\n      input_format: omezarr"))
    path = made.directory / "sbs/P-1_W-A1_T-0_C-2__image.tiff"
    pixels = tifffile.imread(path)
    pixels[2, 60, 60] += 1
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata={"axes": "CYX"})
    assert made.make("screen/sbs/images", keys=TILES).success
    ledger = made.ledger()
    assert ledger.twin("screen/sbs/images", TILES[0]) is None
    assert ledger.twin("screen/sbs/images", TILES[1]) is not None
    step, chosen = ledger.graph.makers["screen/sbs/aligned"], Inputs(ledger)
    names = [chosen._handle(step, "screen/sbs/images", key).format.name for key in TILES]
    assert names == ["tiffs", "ome_zarr_as_tiff"]


def test_exports_are_removed_and_a_removed_tiff_without_one_is_needed_again(made: Lab) -> None:
    assert clean(made, "--stage=align_sbs", "--yes").code == 0
    reads = made.project.output / "screen/s/sbs/parquets"
    shutil.rmtree(reads)
    assert "sbs/aligned" not in wanted(made), "its export stands"
    made.make_wanted()
    assert wanted(made) == {}
    assert clean(made, "--stage=align_sbs", "--format=omezarr", "--yes").code == 0
    assert not place(made, "sbs/omezarr/aligned", TILES[0]).exists()
    assert wanted(made) == {}
    shutil.rmtree(reads)
    assert made.reasons("screen/sbs/aligned", TILES[0])[0].startswith(f"was {REMOVED}, and screen/sbs/")
    made.make_wanted()
    assert wanted(made) == {} and place(made, "sbs/aligned", TILES[0]).is_file()


def test_what_a_plate_shares_frees_nothing(made: Lab) -> None:
    export = place(made, "sbs/omezarr/segmentation", TILES[0])
    shared = [path for path in export.resolve().rglob("*") if path.is_file() and path.stat().st_nlink > 1]
    assert len(shared) > 10
    done = clean(made, "--stage=segment_sbs", "--format=omezarr", "--dry-run")
    assert done.code == 0 and "2 of screen/sbs/omezarr/segmentation: " in done.out
    assert int(done.out.partition("segmentation: ")[2].partition(" file")[0].replace(",", "")) < len(shared)


def test_while_a_run_is_live_nothing_is_removed(made: Lab) -> None:
    job = made.definitions().resolve_implicit_global_asset_job_def()
    chosen = job.get_subset(asset_selection={asset_key("screen/sbs/reads")})
    run = made.instance.create_run_for_job(
        chosen,
        tags={"dagster/partition": TILES[0], **claim_tags()},
        asset_selection=frozenset({asset_key("screen/sbs/reads")}),
        status=DagsterRunStatus.STARTED,
    )
    done = clean(made, "--yes")
    assert done.code == 3 and run.run_id[:8] in done.err and "a run is at work" in done.err
    assert place(made, "sbs/peaks", TILES[0]).is_file()
    made.instance.report_run_canceled(run)
    assert clean(made, "--yes").code == 0


def test_exports_that_were_switched_off_are_reached_and_made_again_when_switched_on(made: Lab) -> None:
    exported = place(made, "sbs/omezarr/aligned", TILES[0])
    edit(made, ("align_sbs, ", ""))
    assert wanted(made) == {"sbs/omezarr/plate": ["s.1"]} and exported.is_dir()
    refused = clean(made, "--format", "omezarr", "--stage", "align_sbs", "--yes")
    assert refused.code == 1 and "screen/sbs/omezarr/plate [s.1] is stale" in refused.out
    made.make_wanted()
    dry = clean(made, "--format", "omezarr", "--stage", "align_sbs", "-p", "s.1-A1", "--dry-run")
    assert dry.code == 0 and "1 of screen/sbs/omezarr/aligned" in dry.out
    done = clean(made, "--format", "omezarr", "--stage", "align_sbs", "--yes")
    assert done.code == 0 and "2 of screen/sbs/omezarr/aligned" in done.out
    assert not exported.exists() and place(made, "sbs/aligned", TILES[0]).is_file()
    assert wanted(made) == {}
    edit(made, ("convert_sbs, ", "convert_sbs, align_sbs, "))
    assert wanted(made) == {"sbs/omezarr/aligned": TILES, "sbs/omezarr/plate": ["s.1"]}
    made.make_wanted()
    assert exported.is_dir() and wanted(made) == {}


def test_an_acquisition_that_is_exported_no_more_leaves_nothing_behind(made: Lab) -> None:
    edit(made, ("omezarr_export: true", "omezarr_export: false"))
    assert wanted(made) == {}
    stages = [part for one in STAGES.split(", ") for part in ("--stage", one)]
    done = clean(made, "--format", "omezarr", *stages, "--yes")
    assert (done.code, done.err) == (0, "")
    left = [path for path in made.project.output.rglob("*.ome.zarr") if "plate" not in path.parts]
    assert left == [] and wanted(made) == {}


def test_an_export_that_its_plate_has_not_taken_in_is_refused(made: Lab) -> None:
    path = made.directory / "sbs/P-1_W-A1_T-0_C-1__image.tiff"
    pixels = tifffile.imread(path)
    pixels[2, 60, 60] += 1
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata={"axes": "CYX"})
    refused = clean(made, "--format", "omezarr", "--stage", "segment_sbs", "-p", TILES[1], "--yes")
    assert refused.code == 1 and "screen/sbs/omezarr/plate [s.1] is stale" in refused.out
    assert place(made, "sbs/omezarr/segmentation", TILES[1]).is_dir()


def test_tiffs_of_stages_that_another_method_does_not_use_are_reached(made: Lab) -> None:
    places = [place(made, f"sbs/{asset}", key) for asset in TEMPORARY[:4] for key in TILES]
    edit(made, ("method: median", "method: model"), ("log_filter, max_filter, ", ""))
    made.make_wanted()
    assert wanted(made) == {} and all(one.is_file() for one in places)
    done = clean(made, "--yes")
    assert (done.code, done.err) == (0, "") and "2 of screen/sbs/peaks" in done.out
    assert not any(one.exists() for one in places) and wanted(made) == {}
