"""``cytopipe export`` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pypdf
import pytest

from cytopipe.cli import run
from cytopipe_tests.export.layout import CELLS, write_images, write_job


@pytest.fixture
def job(tmp_path: Path) -> Path:
    write_images(tmp_path)
    return write_job(tmp_path, CELLS)


def test_a_run_says_what_it_did_and_a_second_one_keeps_it(job: Path, capfd) -> None:
    assert run(["export", "run", str(job)]) == 0
    said = capfd.readouterr()
    assert "18 exported" in said.out
    assert "18 pictures of 2 fields of view" in said.err
    assert run(["export", "run", str(job), "--fov", "fov1", "--json"]) == 0
    assert {one["state"] for one in json.loads(capfd.readouterr().out)} == {"kept"}


def test_failures_have_an_exit_code_and_are_told_by_reason(job: Path, capfd) -> None:
    (job.parent / "data/image_data/fov1/CD3.tiff").unlink()
    assert run(["export", "run", str(job)]) == 1
    said = capfd.readouterr()
    assert "9 exported, 9 failed" in said.out
    assert "and 8 more" in said.err
    assert "no channel 'CD3'" in said.err


def test_a_dry_run_lists_paths(job: Path, capfd) -> None:
    assert run(["export", "run", str(job), "-n"]) == 0
    assert "pictures/fov1/cell_1.png" in capfd.readouterr().out
    assert not (job.parent / "pictures").exists()


def test_a_gallery_can_be_searched_by_name(job: Path, capfd) -> None:
    for kind in ("pdf", "html"):
        assert run(["export", "gallery", str(job), "-o", str(job.parent / f"g.{kind}")]) == 0
    pages = pypdf.PdfReader(job.parent / "g.pdf").pages
    assert len(pages) == 2
    assert "cell 9" in pages[0].extract_text()
    assert "<b>cell 9</b>" in (job.parent / "g.html").read_text()


def test_a_preview_is_one_picture(job: Path, capfd) -> None:
    out = job.parent / "look.png"
    assert run(["export", "preview", str(job), "-o", str(out), "--item", "cell 4"]) == 0
    assert "cell 4 of fov1: 32 x 32 px, bar 1 µm" in capfd.readouterr().out
    assert out.is_file()
    assert run(["export", "preview", str(job), "-o", str(out), "--item", "cell 400"]) == 2


def test_images_are_told_with_their_channels_and_masks(job: Path, capfd) -> None:
    assert run(["export", "images", str(job.parent / "data")]) == 0
    assert "channels: CD3, CD20, DNA" in capfd.readouterr().out


def test_pictures_made_on_dask_have_the_same_bytes_and_are_logged(job: Path, capfd) -> None:
    (job.parent / "data/image_data/fov2/DNA.tiff").write_bytes(b"II*\0 no image")
    log = job.parent / "export.jsonl"
    assert run(["export", "run", str(job), "-o", str(job.parent / "serial")]) == 1
    dask = [
        "export",
        "run",
        str(job),
        "--engine",
        "dask:2",
        "-o",
        str(job.parent / "dask"),
        "--log",
        str(log),
    ]
    assert run(dask) == 1
    names = [f"fov1/cell_{label}.png" for label in range(1, 10)]
    for name in names:
        assert (job.parent / "dask" / name).read_bytes() == (job.parent / "serial" / name).read_bytes()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [one["done"] for one in lines] == list(range(1, 19))
    assert {one["total"] for one in lines} == {18}
    by_state = {state: [one for one in lines if one["state"] == state] for state in ("exported", "failed")}
    assert {Path(one["path"]).stat().st_size for one in by_state["exported"]} == {
        one["facts"]["bytes"] for one in by_state["exported"]
    }
    assert {one["fov"] for one in by_state["failed"]} == {"fov2"}
    assert all("channel 'DNA' of 'fov2'" in one["error"] for one in by_state["failed"])
    assert (
        capfd.readouterr().err.count("channel 'DNA' of 'fov2'") == 2
    )  # once for each run, not for each cell
    assert (
        run(["export", "run", str(job), "-o", str(job.parent / "dask"), "--fov", "fov1", "--log", str(log)])
        == 0
    )
    added = [json.loads(line) for line in log.read_text().splitlines()][18:]
    assert {one["state"] for one in added} == {"kept"}
    assert len(added) == 9


def test_a_log_that_cannot_be_written_is_told_before_anything_is_made(job: Path, capfd) -> None:
    assert run(["export", "run", str(job), "--log", str(job.parent / "no folder/export.jsonl")]) == 3
    said = capfd.readouterr().err
    assert "no folder/export.jsonl" in said
    assert "Traceback" not in said
    assert not (job.parent / "pictures").exists()


def test_what_is_shown_can_be_chosen_on_the_command_line(job: Path, capfd) -> None:
    where = ["--where", "phenotype == 'B cell' and label < 5"]
    assert run(["export", "run", str(job), *where, "-n", "--json"]) == 0
    assert [Path(one["file"]).name for one in json.loads(capfd.readouterr().out)] == [
        "cell_2.png",
        "cell_4.png",
    ] * 2
    assert run(["export", "run", str(job), "--mode", "fov", "-n"]) == 0
    assert "pictures/fov1.png" in capfd.readouterr().out
    assert (
        run(["export", "preview", str(job), "--marker-set", "neurons", "-o", str(job.parent / "a.png")]) == 2
    )
    assert "no marker set 'neurons'; expected one of immune" in capfd.readouterr().err
    assert run(["export", "run", str(job), "--settings", "shared"]) == 2
    assert "rois.file is missing" in capfd.readouterr().err
    assert run(["export", "gallery", str(job), *where, "-o", str(job.parent / "g.html")]) == 0
    assert "4 pictures" in capfd.readouterr().out
