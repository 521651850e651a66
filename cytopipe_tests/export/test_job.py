"""Jobs: planned, run, gone on with, cancelled; each picture succeeds or fails alone."""

from __future__ import annotations

import csv
import io
import os
import shutil
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cytopipe.errors import BudgetError, InputError, ParameterError, StorageError
from cytopipe.export import ChannelStyle, MarkerSet, MaskStyle, render_crop_to_array
from cytopipe.export.job import Job
from cytopipe.export.job_file import read_job
from cytopipe.export.sources import open_source
from cytopipe_tests.export.layout import CELLS, write_images, write_job


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "a b ü"
    root.mkdir()
    write_images(root)
    return root


def states(results) -> Counter:
    return Counter(one.state for one in results)


def manifest(root: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((root / "pictures/manifest.csv").read_text())))


def test_fields_are_files_of_their_names_with_resolution_and_pixel_size(root: Path) -> None:
    results = Job(read_job(write_job(root, "dpi: 600\n"))).run()
    assert [one.file for one in results] == ["fov1.png", "fov2.png"]
    with Image.open(root / "pictures/fov1.png") as image:
        assert image.size == (120, 120)
        assert round(image.info["dpi"][0]) == 600
        assert '"pixel_size_um": 0.5' in image.info["Description"]
    assert [row["state"] for row in manifest(root)] == ["exported", "exported"]


def test_a_cell_is_the_same_picture_as_one_that_is_read_alone(root: Path) -> None:
    Job(read_job(write_job(root, CELLS + "scale_bar: false\n"))).run()
    shown = MarkerSet(
        "immune", (ChannelStyle("DNA", (0, 0, 1), 0, 900), ChannelStyle("CD3", (1, 0, 0), 0, 800))
    )
    alone = render_crop_to_array(
        open_source(root / "data").field("fov2"),
        shown,
        (50, 50),
        32,
        overlays=[MaskStyle("whole_cell", (1, 1, 1))],
        padding=(0, 0, 0),
    )
    with Image.open(root / "pictures/fov2/cell_5.png") as image:
        np.testing.assert_array_equal(np.asarray(image), alone)


def test_cells_are_chosen_by_a_condition_and_around_their_mask(root: Path) -> None:
    chosen = "{table: cells.csv, where: \"phenotype == 'T cell'\", around: mask, padding_px: 4}"
    more = f"mode: cells\ncells: {chosen}\n"
    results = Job(read_job(write_job(root, more))).run()
    assert [one.name for one in results if one.fov == "fov1"] == [f"cell {n}" for n in (1, 3, 5, 7, 9)]
    with Image.open(root / "pictures/fov1/cell_5.png") as image:
        assert image.size == (24, 24)  # a cell of 15 px, 4 px on each side, an even number


def test_a_second_run_keeps_all_and_a_lost_picture_is_made_again(root: Path) -> None:
    job = write_job(root, CELLS)
    assert states(Job(read_job(job)).run()) == {"exported": 18}
    before = {one: one.read_bytes() for one in (root / "pictures").glob("fov*/*.png")}
    assert states(Job(read_job(job)).run()) == {"kept": 18}
    (root / "pictures/fov1/cell_3.png").unlink()
    results = Job(read_job(job)).run()
    assert [one.file for one in results if one.state == "exported"] == ["fov1/cell_3.png"]
    assert {one: one.read_bytes() for one in (root / "pictures").glob("fov*/*.png")} == before


def test_a_changed_channel_makes_stale_the_field_that_shows_it(root: Path) -> None:
    import tifffile

    job = write_job(root)
    Job(read_job(job)).run()
    tifffile.imwrite(root / "data/image_data/fov1/CD20.tiff", np.zeros((120, 120), np.uint16))  # not shown
    assert states(Job(read_job(job)).dry_run()) == {"kept": 2}
    tifffile.imwrite(root / "data/image_data/fov1/CD3.tiff", np.zeros((120, 120), np.uint16))
    found = {one.fov: one.state for one in Job(read_job(job)).dry_run()}
    assert found == {"fov1": "planned", "fov2": "kept"}


def test_workers_give_the_same_bytes_as_one_process(root: Path) -> None:
    job = write_job(root, CELLS)
    Job(read_job(job)).run()
    Job(read_job(job, engine="local:2", output="other")).run()
    one, two = (
        {path.relative_to(root / name).as_posix(): path.read_bytes() for path in (root / name).glob("fov*/*")}
        for name in ("pictures", "other")
    )
    assert len(one) == 18
    assert one == two


def test_a_damaged_channel_fails_its_field_alone_and_is_listed(root: Path) -> None:
    (root / "data/image_data/fov1/CD3.tiff").write_bytes(b"II*\0nothing")
    results = Job(read_job(write_job(root))).run()
    assert [one.state for one in results] == ["failed", "exported"]
    assert "CD3" in results[0].error
    assert [row["state"] for row in manifest(root)] == ["failed", "exported"]
    assert not (root / "pictures/fov1.png").exists()


def test_an_absent_channel_names_those_that_exist(root: Path) -> None:
    more = "    CD99: {color: green, high: 9}\n"
    (one, *_) = Job(read_job(write_job(root, more))).dry_run()
    assert one.state == "failed"
    assert "no channel 'CD99'; expected one of CD3, CD20, DNA" in one.error


def test_a_dry_run_writes_nothing(root: Path) -> None:
    assert states(Job(read_job(write_job(root, CELLS))).dry_run()) == {"planned": 18}
    assert not (root / "pictures").exists()


def test_cancel_keeps_what_was_made_and_the_next_job_goes_on(root: Path) -> None:
    job = Job(read_job(write_job(root)))
    job.observe(lambda event: job.cancel())
    job.run()
    assert job.status().phase == "cancelled"
    assert states(job.results()) == {"exported": 1, "cancelled": 1}
    job.close()
    job.close()
    assert states(Job(read_job(root / "job.yaml")).run()) == {"kept": 1, "exported": 1}


def test_a_job_runs_beside_and_tells_how_far_it_is(root: Path) -> None:
    held, seen = threading.Event(), []
    job = Job(read_job(write_job(root)))

    def observer(event) -> None:
        seen.append((event.result.file, event.done, event.total))
        held.wait(20)

    job.observe(observer)
    job.start()
    assert job.status().phase == "running"
    assert not job.wait(0.01)
    held.set()
    assert job.wait()
    assert seen == [("fov1.png", 1, 2), ("fov2.png", 2, 2)]
    assert job.status().states == {"exported": 2}
    with pytest.raises(ParameterError, match="starts once"):
        job.start()


def test_a_read_that_fails_once_is_tried_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cytopipe.export.sources import SourceField

    whole, calls = SourceField.read_channels, []

    def flaky(self, *given):
        calls.append(1)
        if len(calls) < 3:
            raise OSError(5, "Input/output error")
        return whole(self, *given)

    monkeypatch.setattr(SourceField, "read_channels", flaky)
    results = Job(read_job(write_job(root, "backoff: 0.01\nretries: 2\nfovs: [fov1]\n"))).run()
    assert results[0].state == "exported"
    assert results[0].facts["tries"] == 3
    calls.clear()
    results = Job(read_job(root / "job.yaml", retries=0, output="other")).run()
    assert (results[0].state, results[0].error_type) == ("failed", "OSError")


def test_two_cells_of_one_file_are_refused_before_anything_is_written(root: Path) -> None:
    with (root / "cells.csv").open("a") as file:
        file.write("fov1,3,10,10,T cell,9\n")
    with pytest.raises(InputError, match="two items would be written to one file"):
        Job(read_job(write_job(root, CELLS))).start()
    assert not (root / "pictures").exists()


def test_a_scale_bar_without_a_pixel_size_is_an_error_and_no_guess(root: Path) -> None:
    job = write_job(root)
    job.write_text(job.read_text().replace("pixel_size_um: 0.5\n", ""))
    with pytest.raises(InputError, match="State pixel_size_um"):
        Job(read_job(job)).start()


def test_a_centre_outside_of_the_field_fails_alone(root: Path) -> None:
    with (root / "cells.csv").open("a") as file:
        file.write("fov2,77,4000,10,T cell,9\n")
    results = Job(read_job(write_job(root, CELLS))).run()
    assert [one.name for one in results if not one.ok] == ["cell 77"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told_before_work_begins(root: Path) -> None:
    (root / "pictures").mkdir(mode=0o500)
    with pytest.raises(StorageError, match="cannot be written"):
        Job(read_job(write_job(root))).start()


def test_too_little_space_is_told_before_work_begins(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(BudgetError, match="1 bytes free"):
        Job(read_job(write_job(root))).start()
    assert not (root / "pictures").exists()


def test_all_faults_of_a_job_are_told_with_their_lines(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("source: data\noutptu: x\ndpi: many\nmarker_sets:\n  a:\n    CD3: {color: blu, high: 3}\n")
    with pytest.raises(ParameterError) as error:
        read_job(job)
    assert sorted(one.where.rpartition(":")[2] for one in error.value.findings) == ["2", "3", "6"]


@pytest.mark.parametrize("kind", ["jpeg", "tiff", "pdf", "ome-tiff"])
def test_every_format_is_whole_and_the_same_each_time(root: Path, kind: str) -> None:
    job = write_job(root, f"file_format: {kind}\nfovs: [fov1]\n")
    (one,) = Job(read_job(job)).run()
    (two,) = Job(read_job(job, output="other")).run()
    assert one.ok, one.error
    assert Path(one.path).read_bytes() == Path(two.path).read_bytes()
