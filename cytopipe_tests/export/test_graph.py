"""The asset graph of exports: one partition per field of view, stale where what it shows has changed."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from dagster import DagsterInstance

from cytopipe.defs.export import EXPORT
from cytopipe.export.job import Job
from cytopipe.export.job_file import read_job
from cytopipe.project import Project, read_project
from cytopipe.testing.tissue import make_tissue, write_tissue
from cytopipe_tests.export.layout import CELLS, write_images, write_job
from cytopipe_tests.graph.examples.lab import Lab

COMMON = {
    "source": "data",
    "pixel_size_um": 0.5,
    "marker_sets": {"immune": {"DNA": {"color": "blue", "high": 900}, "CD3": {"color": "red", "high": 800}}},
    "overlays": [{"mask": "whole_cell"}],
}
T_CELLS = {"table": "cells.csv", "where": "phenotype == 'T cell'", "size_px": 32}
JOBS = {
    "whole": COMMON,
    "cells": COMMON | {"mode": "cells", "cells": T_CELLS},
    "regions": COMMON | {"mode": "rois", "rois": {"file": "rois.csv"}},
}
ROIS = "roi_id,fov,name,x_min,x_max,y_min,y_max,marker_set\nr1,fov1,a,1,59,1,49,immune\nr2,fov2,b,1,9,1,9,\n"


def declared(directory: Path) -> Project:
    return read_project(directory / "cytopipe.yaml")


def write_project(directory: Path, jobs: dict = JOBS) -> None:
    (directory / "cytopipe.yaml").write_text(json.dumps({"engine": "serial", "export": jobs}))


def write_inputs(directory: Path) -> None:
    directory.mkdir()
    write_images(directory)
    (directory / "rois.csv").write_text(ROIS)
    write_project(directory)


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Lab]:
    """The project in a folder, with its history."""
    (folder / "history").mkdir(exist_ok=True)
    with DagsterInstance.local_temp(str(folder / "history")) as instance:
        yield Lab(folder / "p ü", EXPORT, declared, instance)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Three jobs over two fields of view, of which nothing is made."""
    write_inputs(tmp_path / "p ü")
    with opened(tmp_path) as lab:
        yield lab


@pytest.fixture(scope="module")
def made_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, all of it made; not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    write_inputs(folder / "p ü")
    with opened(folder) as lab:
        lab.make_wanted()
    return folder


@pytest.fixture
def made(made_folder: Path, tmp_path: Path) -> Iterator[Lab]:
    """A copy of it, to change."""
    shutil.copytree(made_folder, tmp_path / "copy", symlinks=True)
    with opened(tmp_path / "copy") as made:
        made.ledger()  # copies have other inodes; their bytes are looked at once
        yield made


def wanted(lab: Lab) -> dict[str, list[str]]:
    """What would be made of pictures, by asset."""
    found: dict[str, list[str]] = {}
    for one in lab.ledger().statuses(["export/images", "export/cells", "export/rois"]):
        if one.state != "done":
            found.setdefault(one.asset.removeprefix("export/"), []).append(one.key)
    return found


def files(lab: Lab, job: str) -> list[str]:
    folder = lab.directory / "outputs/export" / job
    return sorted(str(one.relative_to(folder)) for one in folder.glob("[!.]*/*.png"))


def test_every_mode_makes_its_pictures_and_a_gallery(lab):
    lab.make_wanted()
    assert wanted(lab) == {}
    assert files(lab, "whole") == ["fov1/fov1.png", "fov2/fov2.png"]
    assert files(lab, "cells") == [
        f"fov{fov}/cell_{label}.png" for fov in (1, 2) for label in (1, 3, 5, 7, 9)
    ]
    assert files(lab, "regions") == ["fov1/a.png", "fov2/b.png"]
    for job in JOBS:
        folder = lab.directory / "outputs/export" / job
        assert (folder / "gallery.pdf").read_bytes().startswith(b"%PDF-")
        page = (folder / "index.html").read_text()
        assert re.findall(r'<a href="([^"]+)">', page) == files(lab, job)
    event = lab.events("export/cells", "cells.fov1")[-1]
    assert event.metadata["n_pictures"] == 5


def test_a_partition_holds_the_same_bytes_as_the_job_on_the_command_line(made):
    where = "cells: {table: cells.csv, where: \"phenotype == 'T cell'\", size_px: 32}\n"
    job = write_job(made.directory, CELLS.replace(CELLS.splitlines(keepends=True)[1], where))
    Job(read_job(job)).run()
    for name in files(made, "cells"):
        theirs = (made.directory / "pictures" / name).read_bytes()
        assert (made.directory / "outputs/export/cells" / name).read_bytes() == theirs


def test_a_changed_channel_makes_stale_only_the_fields_that_show_it(made):
    image = made.directory / "data/image_data/fov2/CD3.tiff"
    tifffile.imwrite(image, tifffile.imread(image) + np.uint16(3))
    not_shown = made.directory / "data/image_data/fov1/CD20.tiff"
    tifffile.imwrite(not_shown, tifffile.imread(not_shown) + np.uint16(3))
    assert wanted(made) == {"images": ["whole.fov2"], "cells": ["cells.fov2"], "rois": ["regions.fov2"]}


def test_a_changed_marker_set_makes_stale_only_the_job_that_shows_it(made):
    other = {"immune": COMMON["marker_sets"]["immune"] | {"CD3": {"color": "green", "high": 800}}}
    write_project(made.directory, JOBS | {"whole": COMMON | {"marker_sets": other}})
    assert wanted(made) == {"images": ["whole.fov1", "whole.fov2"]}


def test_of_a_file_of_marker_sets_only_the_one_that_is_shown_counts(lab):
    def write(high: float, other: float) -> None:
        sets = {
            name: {
                "selected_channels": ["DNA"],
                "channel_settings": {"DNA": {"color": "Blue", "contrast_min": 0, "contrast_max": most}},
            }
            for name, most in (("nuclei", high), ("other", other))
        }
        (lab.directory / "sets.json").write_text(json.dumps(sets))

    write(900, 900)
    from_file = COMMON | {"marker_sets": {}, "marker_set_file": "sets.json", "marker_set": "nuclei"}
    write_project(lab.directory, {"whole": from_file})
    lab.make_wanted()
    write(900, 500)
    assert wanted(lab) == {}
    write(800, 500)
    assert wanted(lab) == {"images": ["whole.fov1", "whole.fov2"]}


def test_another_layout_of_pages_draws_no_picture_anew(made):
    write_project(made.directory, JOBS | {"whole": COMMON | {"gallery": {"rows": 1, "columns": 1}}})
    assert wanted(made) == {}
    assert made.states("export/gallery")["whole"] == "stale"


def test_a_region_that_was_added_makes_stale_its_field_alone(made):
    (made.directory / "rois.csv").write_text(ROIS + "r3,fov2,c,5,20,5,20,\n")
    assert wanted(made) == {"rois": ["regions.fov2"]}
    made.make_wanted()
    assert files(made, "regions") == ["fov1/a.png", "fov2/b.png", "fov2/c.png"]


def test_a_cell_that_changed_makes_stale_its_field_alone(lab):
    coloured = COMMON | {"overlays": [{"mask": "whole_cell", "color_by": "phenotype"}], "cells": T_CELLS}
    write_project(lab.directory, JOBS | {"coloured": coloured})
    lab.make_wanted()
    table = lab.directory / "cells.csv"
    table.write_text(table.read_text().replace("fov2,1,20,20,T cell", "fov2,1,21,20,T cell"))
    assert wanted(lab) == {"images": ["coloured.fov2"], "cells": ["cells.fov2"]}
    lab.make_wanted()
    table.write_text(table.read_text().replace("fov2,2,50,20,B cell", "fov2,2,50,20,A cell"))
    assert wanted(lab)["images"] == ["coloured.fov1", "coloured.fov2"]  # a new group moves the colours of all
    assert wanted(lab)["cells"] == ["cells.fov2"]


def test_a_table_is_read_once_for_all_fields(lab, monkeypatch):
    from cytopipe.defs import export_reading
    from cytopipe.export import cells, sources

    read, opened = [], []
    real_read, real_open, real_plan = cells.read_cell_table, sources.open_source, export_reading._plan
    monkeypatch.setattr(cells, "read_cell_table", lambda *given: read.append(given) or real_read(*given))
    monkeypatch.setattr(sources, "open_source", lambda *given: opened.append(given) or real_open(*given))
    write_project(lab.directory, {"cells": JOBS["cells"]})
    declared(lab.directory)
    assert len(opened) == 1
    before = real_plan.cache_info().misses
    assert lab.make("export/cells", keys=["cells.fov1", "cells.fov2"]).success
    assert len(read) == 1
    assert real_plan.cache_info().misses == before + 2  # the check looks at the plan that was drawn


def test_of_a_file_of_marker_sets_the_channels_that_are_shown_are_watched(lab):
    def write(*channels: str) -> None:
        settings = {one: {"color": "Blue", "contrast_min": 0, "contrast_max": 900} for one in channels}
        sets = {"shown": {"selected_channels": channels, "channel_settings": settings}}
        (lab.directory / "sets.json").write_text(json.dumps(sets))

    def change(channel: str) -> None:
        image = lab.directory / f"data/image_data/fov1/{channel}.tiff"
        tifffile.imwrite(image, tifffile.imread(image) + np.uint16(3))

    write("DNA")
    from_file = COMMON | {"marker_sets": {}, "marker_set_file": "sets.json"}
    write_project(lab.directory, {"whole": from_file, "regions": from_file | JOBS["regions"] | from_file})
    (lab.directory / "rois.csv").write_text(ROIS.replace("immune", "current:DNA"))
    lab.make_wanted()
    change("CD20")
    assert wanted(lab) == {}
    change("DNA")
    assert wanted(lab) == {"images": ["whole.fov1"], "rois": ["regions.fov1"]}
    write("DNA", "CD20")
    lab.make_wanted()
    change("CD20")
    assert wanted(lab) == {"images": ["whole.fov1"]}


def test_what_a_region_was_seen_with_makes_stale_its_field_alone(lab):
    seen = ROIS.splitlines()
    header = f"{seen[0]},mask_color_set,mask_visibility"
    lines = [header, f'{seen[1]},T cells,"{{""whole_cell"": true}}"', f"{seen[2]},,"]
    (lab.directory / "rois.csv").write_text("\n".join(lines) + "\n")
    write_project(lab.directory, {"regions": JOBS["regions"] | {"cells": {"table": "cells.csv"}}})
    assert not lab.make("export/rois", keys=["regions.fov1"]).success
    saved = {"name": "T cells", "identifier": "phenotype", "colors": {"T cell": "#ff0000"}}
    (lab.directory / "t-cells.maskcolors.json").write_text(json.dumps(saved))
    lab.make_wanted()
    assert wanted(lab) == {}
    saved["colors"]["T cell"] = "#00ff00"
    (lab.directory / "t-cells.maskcolors.json").write_text(json.dumps(saved))
    assert wanted(lab) == {"rois": ["regions.fov1"]}
    saved |= {"color_mode": "continuous", "continuous": {"column": "area", "auto_range": True}}
    (lab.directory / "t-cells.maskcolors.json").write_text(json.dumps(saved))
    lab.make_wanted()
    table = lab.directory / "cells.csv"
    table.write_text(table.read_text().replace("fov2,2,50,20,B cell,197", "fov2,2,50,20,B cell,900"))
    assert "regions.fov1" in wanted(lab)["rois"]  # the limits are those of all cells


def test_a_picture_that_fails_is_told_and_the_others_stand(lab):
    with (lab.directory / "cells.csv").open("a") as table:
        table.write("fov1,99,5000,5000,T cell,197\n")
    lab.make_wanted()
    assert len(files(lab, "cells")) == 10
    event = lab.events("export/cells", "cells.fov1")[-1]
    assert event.metadata["n_failed"] == 1
    assert wanted(lab) == {}


def test_a_field_whose_channel_is_damaged_fails_alone_and_keeps_its_version(made):
    before = (made.directory / "outputs/export/whole/fov2/fov2.png").read_bytes()
    (made.directory / "data/image_data/fov2/CD3.tiff").write_bytes(b"II*\0 no image")
    assert not made.make("export/images", keys=["whole.fov2"]).success
    assert "channel 'CD3' of 'fov2'" in made.events("export/images", "whole.fov2")[-1].words
    assert (made.directory / "outputs/export/whole/fov2/fov2.png").read_bytes() == before
    assert made.states("export/images")["whole.fov1"] == "done"


def test_fields_and_channels_that_are_added_later_are_seen(made):
    write_images(made.directory, ("fov3",))
    shown = COMMON["marker_sets"]["immune"] | {"CD8": {"color": "green", "high": 800}}
    write_project(made.directory, {"whole": COMMON | {"marker_sets": {"immune": shown}}})
    for fov in (1, 2, 3):
        folder = made.directory / f"data/image_data/fov{fov}"
        (folder / "CD8.tiff").write_bytes((folder / "CD3.tiff").read_bytes())
    made.make_wanted()
    assert files(made, "whole") == [f"fov{fov}/fov{fov}.png" for fov in (1, 2, 3)]
    assert wanted(made) == {}
    image = made.directory / "data/image_data/fov3/CD8.tiff"
    tifffile.imwrite(image, tifffile.imread(image) + np.uint16(3))
    assert wanted(made) == {"images": ["whole.fov3"]}


def test_fields_of_a_plate_are_partitions(lab):
    tissue = make_tissue(seed=3, n_fovs=2, shape=(96, 128), channels=("DNA", "CD3"))
    plate = write_tissue(tissue, lab.directory / "plate", "plate").relative_to(lab.directory)
    write_project(lab.directory, {"whole": COMMON | {"source": str(plate)}})
    lab.make_wanted()
    assert set(lab.states("export/images")) == {"whole.A-1-0", "whole.A-2-0"}
    assert len(files(lab, "whole")) == 2
    page = (lab.directory / "outputs/export/whole/index.html").read_text()
    assert re.findall(r'<a href="([^"]+)">', page) == files(lab, "whole")


@pytest.mark.parametrize(
    ("file", "content", "asset", "key"),
    [
        ("rois.csv", "roi_id,fov\nr1\n", "export/rois", "regions.fov1"),
        ("cells.csv", "fov,label\nfov1,one\n", "export/cells", "cells.fov1"),
    ],
)
def test_a_table_that_cannot_be_read_is_named_by_what_it_should_have_made(
    lab: Lab, file: str, content: str, asset: str, key: str
) -> None:
    (lab.directory / file).write_text(content)
    lab.ledger()
    assert not lab.make(asset, keys=[key]).success
    (said,) = lab.reasons(asset, key)
    assert file in said and "never made" not in said
