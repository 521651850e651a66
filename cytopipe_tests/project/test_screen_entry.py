"""Screens in the project file: which tiles there are, and everything that is wrong with their files."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from cytopipe.errors import ProjectError
from cytopipe.project import check_project, load_project, start_project
from cytopipe.project.screen.tiles import find_images

PATTERN = "sbs/P-{plate}_W-{well}_T-{tile}_C-{cycle}.tiff"


def written(folder: Path, *, screen: str = "", sbs: str = "", images: str = PATTERN) -> Path:
    (folder / "library.tsv").write_text("barcode\tgene\nACGT\tA\n")
    file = folder / "cytopipe.yaml"
    how = f"images: '{images}'" if images else ""
    file.write_text(
        f"screen:\n  s:\n    library: library.tsv\n{screen}    sbs:\n      {how}\n"
        f"      channels: [DAPI, G, T, A, C]\n      pixel_size_um: 1.3\n{sbs}"
    )
    return file


def touched(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"image")


def tiles(folder: Path, wells=("A1", "A2", "A10"), n: int = 2, cycles: int = 2, plate: str = "1") -> None:
    names = [
        f"sbs/P-{plate}_W-{well}_T-{tile}_C-{cycle}.tiff"
        for well in wells
        for tile in range(n)
        for cycle in range(1, cycles + 1)
    ]
    touched(folder, *names)


def told(file: Path) -> list[str]:
    with pytest.raises(ProjectError) as caught:
        check_project(file)
    return [str(one).replace(f"{file}:", "") for one in caught.value.findings]


def test_plates_wells_and_tiles_are_found_on_disk_in_the_order_in_which_people_count(tmp_path):
    tiles(tmp_path)
    tiles(tmp_path, ("B1",), plate="2")
    project = check_project(written(tmp_path))
    assert {name: list(found) for name, found in project.data_sets.items() if found} == {
        "screens": ["s"],
        "screen_plates": ["s.1", "s.2"],
        "screen_wells": ["s.1-A1", "s.1-A2", "s.1-A10", "s.2-B1"],
        "sbs_tiles": [f"{w}|{t}" for w in ("s.1-A1", "s.1-A2", "s.1-A10", "s.2-B1") for t in (0, 1)],
    }
    part = project.data_set("sbs_tiles", "s.1-A10|1").entry
    assert part.wildcards == {"plate": "1", "well": "A10", "tile": 1}
    assert list(part.files) == [(1, ""), (2, "")]


def test_names_may_lie_in_folders_and_a_channel_may_have_a_file_of_its_own(tmp_path):
    touched(tmp_path, *(f"raw/1/A1/{c}/A1_7_{name}_x.tif" for c in (1, 2) for name in ("DAPI", "G")))
    project = check_project(
        written(tmp_path, images="raw/{plate}/{well}/{cycle}/{well}_{tile}_{channel}_*.tif")
    )
    (part,) = project.data_sets["sbs_tiles"].values()
    assert sorted(part.entry.files) == [(1, "DAPI"), (1, "G"), (2, "DAPI"), (2, "G")]
    assert part.key == "s.1-A1|7"


def test_a_table_lists_the_images_instead(tmp_path):
    tiles(tmp_path, ("A1",))
    rows = [f"sbs/P-1_W-A1_T-{t}_C-{c}.tiff\t1\tA1\t{t}\t{c}" for t in (0, 1) for c in (1, 2)]
    (tmp_path / "samples.tsv").write_text("\n".join(["sample_fp\tplate\twell\ttile\tcycle", *rows]))
    file = written(tmp_path, images="", sbs="      samples: samples.tsv\n")
    assert list(check_project(file).data_sets["sbs_tiles"]) == ["s.1-A1|0", "s.1-A1|1"]
    rows[0] = "gone.tiff\t1\tA1\t0\t1"
    rows += ["sbs/P-1_W-A1_T-1_C-2.tiff\t1\tA1\t1\t2", "x.tiff\t1\tA_1\t1\t2"]
    (tmp_path / "samples.tsv").write_text("\n".join(["sample_fp\tplate\twell\ttile\tcycle", *rows]))
    odd, gone, twice = told(file)
    assert "1 line cannot be read as a tile" in odd and "line 7" in odd
    assert "1 file of the table does not exist" in gone and "gone.tiff" in gone
    assert "1 image has two files" in twice
    (tmp_path / "samples.tsv").write_text("file,plate\nx,1\n")
    (column,) = told(file)
    assert "has no column sample_fp, well, tile, cycle" in column


def test_everything_that_is_wrong_with_the_files_is_told_at_once(tmp_path):
    tiles(tmp_path, ("A1",))
    touched(tmp_path, "sbs/P-1_W-A1_T-01_C-1.tiff", "sbs/P-1_W-A1_T-x_C-1.tiff", "sbs/P-1_W-A_1_T-1_C-1.tiff")
    (tmp_path / "sbs/P-1_W-A1_T-0_C-2.tiff").unlink()
    found = told(written(tmp_path, sbs="      positions: gone.tsv\n"))
    words = " ".join(found)
    assert "2 files of that kind cannot be read as a tile" in words and "sbs/P-1_W-A1_T-x_C-1.tiff" in words
    assert "1 image has two files" in words
    assert "1 tile has not all images of the others" in words and "1-A1|0 lacks cycle 2" in words
    assert "no such file" in words and "gone.tsv" in words


def test_tiles_without_some_cycles_may_be_reported_instead(tmp_path):
    tiles(tmp_path, ("A1",))
    (tmp_path / "sbs/P-1_W-A1_T-0_C-2.tiff").unlink()
    project = check_project(written(tmp_path, screen="    missing_tiles: report\n"))
    assert list(project.data_sets["sbs_tiles"]) == ["s.1-A1|0", "s.1-A1|1"]


def test_a_well_knows_which_tiles_other_wells_have(tmp_path):
    tiles(tmp_path, ("A1", "A2"))
    for path in (tmp_path / "sbs").glob("P-1_W-A2_T-1_*"):
        path.unlink()
    project = check_project(written(tmp_path))
    wells = {key: one.entry.tiles for key, one in project.data_sets["screen_wells"].items()}
    assert wells == {"s.1-A1": {"sbs": {0: True, 1: True}}, "s.1-A2": {"sbs": {0: True, 1: False}}}


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ("sbs/{well}_{tile}.tiff", "expected a pattern with {cycle}"),
        ("sbs/{well}_{tile}_{cycle}_{colour}.tiff", "expected no {colour}"),
        ("**/{well}_{tile}_{cycle}.tiff", "expected no '**'"),
        ("nowhere/{well}_{tile}_{cycle}.tiff", "The folder nowhere does not exist"),
        ("library_{well}_{tile}_{cycle}.tiff", "finds no image"),
        ("", "neither images nor samples is given"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_told(tmp_path, images, words):
    tiles(tmp_path, ("A1",))
    found = told(written(tmp_path, images=images, sbs="" if images else "      dapi_cycle: 1\n"))
    assert any(words.removeprefix("expected ") in one for one in found), found


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ("library: library.tsv", "no sbs, no phenotype"),
        ("sbs:", "sbs is empty, no phenotype"),
        ("phenotype:", "no sbs, phenotype is empty"),
    ],
)
def test_a_screen_without_images_is_told_what_it_has_and_what_it_needs(tmp_path, entry, found):
    tiles(tmp_path, ("A1",))
    file = written(tmp_path)
    file.write_text(f"screen:\n  s:\n    {entry}\n")
    (one,) = told(file)
    assert "the screen has no images" in one and found in one, one
    assert "sbs, phenotype, or both, each with channels, pixel_size_um and images or samples" in one


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("phenotype: {images: 'p/{well}_{tile}.tiff', channels: [A], pixel_size_um: big}", "pixel_size_um"),
        ("phenotype: p/images", "phenotype"),
        ("phenotyp: {images: 'p/{well}_{tile}.tiff'}", "Did you mean 'phenotype'?"),
        ("stop_after: sbs_qc\n    sbs: sbs/images", "sbs"),
    ],
)
def test_of_an_acquisition_that_is_written_wrong_only_what_is_wrong_is_told(tmp_path, entry, words):
    file = tmp_path / "cytopipe.yaml"
    file.write_text(f"screen:\n  s:\n    {entry}\n")
    found = told(file)
    assert any(words in one for one in found), found
    assert not any("has no images" in one or "there is no sbs" in one for one in found), found


@pytest.mark.parametrize("value", ["high", "true", "-1", "[400]"])
def test_a_threshold_that_is_no_number_and_not_auto_is_told_once(tmp_path, value):
    tiles(tmp_path, ("A1",))
    (one,) = told(written(tmp_path, sbs=f"      reads: {{threshold_peaks: {value}}}\n"))
    assert "screen.s.sbs.reads.threshold_peaks is not usable; expected a number from 0, or auto" in one, one


@pytest.mark.parametrize("value", ["auto", "300", "0.5"])
def test_a_threshold_is_a_number_or_auto(tmp_path, value):
    tiles(tmp_path, ("A1",))
    check_project(written(tmp_path, sbs=f"      reads: {{threshold_peaks: {value}}}\n"))


def test_two_ways_to_one_well_are_refused(tmp_path):
    tiles(tmp_path, ("1-A1",), plate="x")
    tiles(tmp_path, ("A1",), plate="x-1")
    (found,) = [one for one in told(written(tmp_path)) if "two data sets" in one][:1]
    assert "screen has two data sets 's.x-1-A1'" in found


def test_ten_thousand_files_are_found_in_a_tenth_of_a_second(tmp_path):
    """So a hundred thousand take a second; several tries, since the machine may be busy."""
    tiles(tmp_path, tuple(f"A{n}" for n in range(10)), n=100, cycles=10)
    took = []
    for _ in range(3):
        begin = time.process_time()
        found = find_images(tmp_path, PATTERN)
        took.append(time.process_time() - begin)
    assert len(found.tiles) == 1000 and not found.problems
    assert min(took) < 0.15


def test_the_commented_example_of_a_new_project_is_valid_when_it_is_taken_up(tmp_path):
    file = start_project(tmp_path)
    head, _, example = file.read_text().partition("\nscreen:\n")
    example, gap, others = example.partition("\n\n")
    file.write_text(head + "\nscreen:\n" + re.sub(r"(?m)^#", "", example) + gap + others)
    (tmp_path / "library.tsv").write_text("barcode\tgene\nACGT\tA\n")
    touched(tmp_path, "raw/sbs/P-1_W-A1_T-0_C-1.tiff", "raw/phenotype/P-1_W-A1_T-3.tiff")
    project = check_project(file)
    assert list(project.data_sets["phenotype_tiles"]) == ["crop.1-A1|3"]


def test_a_broken_screen_takes_no_other_entry_out(tmp_path):
    tiles(tmp_path, ("A1",))
    file = written(tmp_path)
    file.write_text(file.read_text() + "  other:\n    library: gone.tsv\n    missing_tiles: maybe\n")
    project = load_project(file)
    assert list(project.data_sets["screens"]) == ["s"]
    with pytest.raises(ProjectError, match="maybe"):
        project.data_set("screens", "other")
