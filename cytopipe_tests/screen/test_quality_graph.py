"""Quality in the graph: checks name planted faults by tile, and the rest of the screen goes on."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from dagster import DagsterInstance

from cytopipe_tests.graph.examples.lab import Lab
from cytopipe_tests.screen.lab import edit, lab, wanted, written

WELL = "s.1-A1"
TILES = [f"{WELL}|{tile}" for tile in range(6)]


def image(directory: Path, tile: int, cycle: int) -> Path:
    return directory / f"sbs/P-1_W-A1_T-{tile}_C-{cycle}__image.tiff"


def change(path: Path, made_of) -> None:
    pixels = made_of(tifffile.imread(path)).astype(np.uint16)
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata={"axes": "CYX"})


def blurred(pixels: np.ndarray) -> np.ndarray:
    import cv2

    return np.stack([cv2.GaussianBlur(plane, (0, 0), 4) for plane in pixels])


def checks(one: Lab, asset: str, key: str) -> dict[str, str]:
    """The checks that failed when a partition was last made, with their words."""
    words = str(one.events(asset, key)[-1].metadata.get("failed_checks", ""))
    kinds = [check.name for check in one.graph.makers[asset].checks[asset]]
    at = sorted((words.find(f"{kind}: "), kind) for kind in kinds if f"{kind}: " in words)
    ends = [*(place for place, _ in at), len(words)][1:]
    return {kind: words[place:end] for (place, kind), end in zip(at, ends, strict=True)}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory) -> Iterator[Lab]:
    """A well of six tiles: 1 is blank in cycle 2, 3 is blurred in cycle 3, 4 is damaged, 5 lacks cycle 3; 0
    and 2 are sound.
    """
    root = tmp_path_factory.mktemp("quality")
    (root / "history").mkdir()
    project = written(root / "project", wells=("A1",), tile_grid=(2, 3), tile_size=200)
    change(image(project, 1, 2), lambda pixels: np.full_like(pixels, 500))
    change(image(project, 3, 3), blurred)
    image(project, 4, 1).write_bytes(image(project, 4, 1).read_bytes()[:1000])
    image(project, 5, 3).unlink()
    with DagsterInstance.local_temp(str(root / "history")) as instance:
        one = lab(project, instance)
        edit(one, ("missing_tiles: refuse", "missing_tiles: report"), ("model: translation", "order: 1"))
        tiles = ("sbs/images", "sbs/aligned", "qc/sbs_planes", "qc/sbs_alignment")
        assert not one.make(*(f"screen/{asset}" for asset in tiles), keys=TILES).success
        assert one.make("screen/qc/sbs_images", keys=[WELL]).success
        assert one.make("screen/qc/plate", keys=["s.1"]).success
        yield one


def test_planted_faults_are_named_by_tile_and_sound_tiles_are_not(faulty: Lab) -> None:
    found = checks(faulty, "screen/qc/sbs_images", WELL)
    assert "tile 1, cycle 2, DAPI: blank" in found["not_blank"]
    assert all(f"tile 3, cycle 3, {channel}: out of focus" in found["in_focus"] for channel in ("DAPI", "G"))
    assert "tile 5: lacks cycle 3" in found["all_cycles"]
    assert "tile 1, cycle 2: shows nothing in common" in found["cycles_in_place"]
    assert found["tiles_present"].startswith("tiles_present: tile 4: could not be made")
    assert set(found) == {"tiles_present", "not_blank", "in_focus", "all_cycles", "cycles_in_place"}
    words = " ".join(found.values())
    assert not any(f"tile {sound}" in words for sound in (0, 2)), words


def test_a_warning_stands_in_the_status_and_the_table_is_published(faulty: Lab) -> None:
    (status,) = [one for one in faulty.ledger().statuses(["screen/qc/sbs_images"]) if one.key == WELL]
    assert status.state == "done" and "tile 5: lacks cycle 3" in status.reasons[0]
    folder = faulty.project.output / "screen/s/qc/sbs_images"
    tiles = pd.read_csv(folder / "P-1_W-A1__tiles.tsv", sep="\t").set_index("tile")
    assert tiles["n_faults"].eq(0).tolist() == [True, False, True, False, False]
    assert tiles.loc[3, "relative_focus"] < 0.3 < tiles.loc[2, "relative_focus"]
    assert tiles.loc[[0, 2], "worst_residual_px"].max() < 0.2
    assert (folder / "P-1_W-A1__focus.png").read_bytes().startswith(b"\x89PNG")


def test_a_plate_names_its_worst_tiles_and_the_file_that_is_absent(faulty: Lab) -> None:
    folder = faulty.project.output / "screen/s/qc/plate"
    files = pd.read_csv(folder / "P-1__files.tsv", sep="\t")
    assert files[["n_expected", "n_present"]].to_numpy().tolist() == [[18, 17]]
    assert "tile 5, cycle 3" in checks(faulty, "screen/qc/plate", "s.1")["files_present"]
    worst = pd.read_csv(folder / "P-1__worst_tiles.tsv", sep="\t")
    assert set(worst["tile"]) == {1, 3, 4, 5} and worst["n_faults"].is_monotonic_decreasing


def test_channels_named_in_the_wrong_order_are_told_and_everything_is_made(tmp_path: Path) -> None:
    (tmp_path / "history").mkdir()
    project = written(tmp_path / "project", wells=("A1",), tile_size=200, cycles=4, n_barcodes=8)
    with DagsterInstance.local_temp(str(tmp_path / "history")) as instance:
        one = lab(project, instance)
        edit(one, ("[DAPI, G, T, A, C]", "[DAPI, T, G, A, C]"))
        one.make_all()
        assert wanted(one) == {}
        words = checks(one, "screen/qc/reads", WELL)["channels_in_order"]
        assert "A, C, G, T are read as A, C, T, G" in words
        order = pd.read_csv(project / "outputs/screen/s/qc/reads/P-1_W-A1__base_order.tsv", sep="\t")
        assert order.loc[0, "order"] == "ACTG" and len(order) == 24


def test_a_well_without_any_read_has_its_quality_reports(tmp_path: Path) -> None:
    directory = written(tmp_path / "project", wells=("A1",), tile_grid=(1, 1), tile_size=96)
    (tmp_path / "history").mkdir()
    for path in directory.glob("sbs/*.tiff"):
        change(path, lambda pixels: np.full_like(pixels, 500))
    history = DagsterInstance.local_temp(str(tmp_path / "history"))
    with history as instance, warnings.catch_warnings():
        warnings.filterwarnings("error", "Mean of empty slice|All-NaN", RuntimeWarning)
        one = lab(directory, instance)
        edit(one, ("method: median", "method: model"))
        one.make_all()
        assert [one.states(f"screen/qc/{asset}") for asset in ("reads", "cells")] == [{WELL: "done"}] * 2
        assert one.states("screen/qc/plate") == {"s.1": "done"}
