"""A job gives the same pictures whatever layout the images lie in, and draws what a heat map says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cytopipe.errors import InputError
from cytopipe.export.job import Job
from cytopipe.export.job_file import job_settings
from cytopipe.export.sources import open_source
from cytopipe.testing.tissue import LAYOUTS, make_tissue, write_tissue

TISSUE = make_tissue(seed=3, n_fovs=2, shape=(96, 128), channels=("DNA", "CD3", "CD20"))
MARKERS = {"two": {"DNA": {"color": "blue", "high": 600}, "CD3": {"color": "red", "high": 250}}}


def pictures(source: Path, output: Path, **more: object) -> dict[str, np.ndarray]:
    written = {
        "source": str(source),
        "output": str(output),
        "pixel_size_um": 0.5,
        "marker_sets": MARKERS,
        "engine": "serial",
        **more,
    }
    results = Job(job_settings(written)).run()
    assert {one.state for one in results} == {"exported"}, [one.error for one in results]
    found = {}
    for one in results:
        with Image.open(one.path) as image:
            found[one.file] = np.asarray(image)
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_pictures_with_the_cells_outlined(layout, tmp_path):
    shown = {}
    for name in dict.fromkeys(("ark", layout)):
        source = write_tissue(TISSUE, tmp_path / name, name)
        known = open_source(source)
        masks = known.describe(known.fov_names()[0]).masks
        mask = next(one for one in masks if "nuc" not in one)
        made = pictures(source, tmp_path / "out" / name, overlays=[{"mask": mask}])
        assert len(made) == 2
        shown[name] = list(made.values())
    for ours, other in zip(shown["ark"], shown[layout], strict=True):
        np.testing.assert_array_equal(ours, other)


def test_classes_of_an_annotation_are_blended_in_the_colours_of_the_palette(tmp_path):
    source = write_tissue(TISSUE, tmp_path / "data", "ark")
    palette = ["black", *["#00ff00"] * 500]
    overlay = {"annotation": "whole_cell", "palette": palette, "opacity": 1.0}
    made = pictures(source, tmp_path / "out", overlays=[overlay], scale_bar=False)
    inside = TISSUE[0].labels["whole_cell"] > 0
    assert (made["fov1.png"][inside] == (0, 255, 0)).all()
    assert (made["fov1.png"][~inside] == 0).all()


def test_a_bar_of_a_given_length_has_it_at_every_downsampling(tmp_path):
    source = write_tissue(TISSUE, tmp_path / "data", "ark")
    for downsample in (1, 2):
        made = pictures(
            source, tmp_path / f"out{downsample}", bar_um=20.0, downsample=downsample, fovs=["fov1"]
        )
        bare = pictures(
            source, tmp_path / f"bare{downsample}", scale_bar=False, downsample=downsample, fovs=["fov1"]
        )
        white = (made["fov1.png"] == 255).all(axis=2) & (made["fov1.png"] != bare["fov1.png"]).any(axis=2)
        assert white.sum(axis=1).max() == 40 // downsample


def test_cells_of_a_heat_map_are_chosen_and_coloured_by_their_metacluster(tmp_path):
    from cytopipe.heatmap import save_heatmap_state
    from cytopipe.heatmap.state import HeatmapState, cluster_ids, id_of_recipe

    source = write_tissue(TISSUE, tmp_path / "data", "ark")
    cells = tmp_path / "data" / "cells.csv"
    n_cells = sum(len(one.cells) for one in TISSUE)
    cluster = np.arange(n_cells) % 2
    state = HeatmapState(
        cluster_ids(2),
        ["DNA", "CD3"],
        np.array([[1.0, 0.0], [0.0, 1.0]]),
        np.array([0, 1]),
        id=id_of_recipe("two"),
        cell_cluster=cluster,
    )
    checkpoint = save_heatmap_state(state, tmp_path / "step.h5ad")
    table = {"table": str(cells), "checkpoint": str(checkpoint), "size_px": 32}
    by_colour = {"mask": "whole_cell", "color_by": "metacluster", "mode": "fill"}
    name = state.name_of(0)
    made = pictures(
        source,
        tmp_path / "out",
        mode="cells",
        cells=table | {"where": f"metacluster == '{name}'"},
        overlays=[by_colour],
    )
    assert len(made) == int((cluster == 0).sum())
    with pytest.raises(InputError, match="no cell meets the condition"):
        pictures(source, tmp_path / "none", mode="cells", cells=table | {"where": "metacluster == 'nobody'"})
