"""Regions of interest as pictures: own and shared settings, names that are hostile or stand twice, shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cytopipe.cli import run
from cytopipe.export.job import Job
from cytopipe.export.job_file import read_job
from cytopipe.export.rois import Roi, format_rois, read_rois
from cytopipe_tests.export.layout import write_images, write_job

SETS = "  red:\n    CD3: {color: red, high: 800}\n  green:\n    CD20: {color: lime, high: 800}\n"
ROIS = "mode: rois\nscale_bar: false\nrois: {file: rois.csv%s}\n"


def view(name: str, identifier: str, x: int = 10, **more) -> Roi:
    return Roi(identifier, name, "fov1", x_min=x, x_max=x + 40, y_min=10, y_max=40, **more)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_images(tmp_path)
    return tmp_path


def made(root: Path, rois: list[Roi], more: str = "", settings: str = "") -> list:
    (root / "rois.csv").write_bytes(format_rois(rois))
    return Job(read_job(write_job(root, SETS + (ROIS % settings) + more))).run()


def pixels(path: str | Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_each_region_has_its_own_marker_set_or_all_have_one(root: Path) -> None:
    rois = [view("a", "1", marker_set="red"), view("b", "2", marker_set="green")]
    red, green = (pixels(one.path) for one in made(root, rois))
    assert red.shape == (30, 40, 3)
    assert red[..., 1].max() == 0 < red[..., 0].max()
    assert green[..., 0].max() == 0 < green[..., 1].max()
    one, two = made(root, rois, "marker_set: green\n", ", settings: shared")
    np.testing.assert_array_equal(pixels(one.path), pixels(two.path))


def test_a_marker_set_that_is_not_there_fails_its_region_alone(root: Path) -> None:
    one, two = made(root, [view("a", "1", marker_set="blue"), view("b", "2", marker_set="red")])
    assert (one.state, two.state) == ("failed", "exported")
    assert "'blue'; expected one of immune, red, green" in one.error


def test_a_changed_marker_set_makes_stale_only_what_shows_it(root: Path) -> None:
    made(root, [view("a", "1", marker_set="red"), view("b", "2", marker_set="green")])
    job = root / "job.yaml"
    job.write_text(job.read_text().replace("color: lime", "color: cyan"))
    assert [one.state for one in Job(read_job(job)).run()] == ["kept", "exported"]


def test_regions_of_one_name_are_two_files(root: Path) -> None:
    results = made(root, [view("a", "one1"), view("A", "two2", x=50), view("b", "3")], "marker_set: red\n")
    assert [one.file for one in results] == ["fov1/a_one1.png", "fov1/A_two2.png", "fov1/b.png"]


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/abs", "a\x00b\n", "..", "CON", "x" * 900, ".hidden", "я µ"]
)
def test_a_hostile_name_stays_inside_the_folder(root: Path, name: str) -> None:
    before = set(root.iterdir())
    (one,) = made(root, [view(name, "1")], "marker_set: red\n")
    assert one.ok, one.error
    folder = (root / "pictures/fov1").resolve()
    assert Path(one.path).resolve().parent == folder
    assert {path.name for path in set(root.iterdir()) - before} <= {"pictures", "rois.csv", "job.yaml"}


def test_a_polygon_is_drawn_into_its_box(root: Path) -> None:
    corners = ((20.0, 20.0), (60.0, 20.0), (60.0, 60.0), (20.0, 60.0))
    shape = Roi("1", "p", "fov1", roi_kind="line", geometry=corners, closed=True)
    drawn = pixels(made(root, [shape], "marker_set: red\n")[0].path)
    plain = pixels(made(root, [shape], "marker_set: red\n", ", draw_shape: false")[0].path)
    assert drawn.shape == plain.shape == (48, 48, 3)
    assert drawn[4, 24].min() > 200
    np.testing.assert_array_equal(drawn[10:38, 10:38], plain[10:38, 10:38])


def test_large_regions_are_downsampled_to_the_size_that_is_asked_for(root: Path) -> None:
    whole = Roi("1", "w", "fov1", x_min=0, x_max=120, y_min=0, y_max=120)
    (one,) = made(root, [whole], "marker_set: red\n", ", size_px: 60")
    assert pixels(one.path).shape == (60, 60, 3)


def test_regions_of_the_reference_are_listed_imported_and_exported(root: Path, capfd) -> None:
    (root / "old.csv").write_text(
        "fov,name,x_min,x_max,y_min,y_max,tags\nfov1,edge,1,9,1,9,fig1\nfov2,b,,,,,\n"
    )
    assert run(["export", "rois", "import", str(root / "old.csv"), "-o", str(root / "rois.csv")]) == 0
    assert run(["export", "rois", "list", str(root / "rois.csv")]) == 0
    assert "x 1 to 9, y 1 to 9" in capfd.readouterr().out
    arguments = ["export", "rois", "export", str(root / "rois.csv"), "--tag", "fig1"]
    assert run([*arguments, "-o", str(root / "fig.csv")]) == 0
    assert [one.name for one in read_rois(root / "fig.csv")] == ["edge"]
    assert run(["export", "rois", "import", str(root / "old.csv"), "-o", str(root / "rois.csv")]) == 0
    assert len(read_rois(root / "rois.csv")) == 2  # those that were there already stay
