"""Cells of both acquisitions are matched, whatever scale, rotation and place; and never by force."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cytopipe.errors import InputError
from cytopipe.screen.merge import find_similarity, merge_cells
from cytopipe.screen.overlaps import count_cells_once
from cytopipe.screen.parameters import MergeSettings, StitchingSettings
from cytopipe.testing.screens import make_screen

COLUMNS = ["plate", "well", "tile", "cell_0", "i_0", "j_0", "site", "cell_1", "i_1", "j_1", "distance"]


def table(points, **more):
    """Cells of one tile, numbered from 1."""
    points = np.asarray(points, float)
    return pd.DataFrame(
        {"plate": 1, "well": "A1", "tile": 0, "cell": np.arange(1, len(points) + 1), "i": points[:, 0],
         "j": points[:, 1], "well_i": points[:, 0], "well_j": points[:, 1], **more}
    )  # fmt: skip


def two_sets(seed, n=600, noise=0.6, lost=0.2, angle=4.0, scale=2.0, mirrored=False):
    """Points apart from each other, seen twice; each set loses a part. Truth: the cell numbers are equal."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 900, (3 * n, 2))
    keep = [0]
    for k in range(1, len(points)):
        if len(keep) < n and np.hypot(*(points[keep] - points[k]).T).min() > 12:
            keep.append(k)
    sbs = points[keep]
    turn = np.deg2rad(angle)
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    phenotype = sbs @ matrix.T + (310, -45)
    if mirrored:
        phenotype[:, 0] *= -1
    one = table(phenotype + rng.normal(0, noise * scale, phenotype.shape))
    two = table(sbs + rng.normal(0, noise, sbs.shape))
    return one[rng.random(len(one)) > lost], two[rng.random(len(two)) > lost]


@pytest.mark.parametrize("known_scale", [True, False])
@pytest.mark.parametrize("angle", [0.7, 120.0])
def test_cells_are_matched_at_any_angle_and_scale(angle, known_scale):
    phenotype, sbs = two_sets(1, angle=angle)
    sizes = {"phenotype_pixel_um": 0.5} if known_scale else {}
    found = merge_cells(phenotype, sbs, sbs_pixel_um=1.0, **sizes)
    both = set(phenotype["cell"]) & set(sbs["cell"])
    right = found.cells["cell_0"] == found.cells["cell_1"]
    assert list(found.cells.columns[:11]) == COLUMNS
    assert right.sum() >= 0.98 * len(both)
    assert (~right).sum() <= 0.01 * len(found.cells)
    assert not found.cells["cell_0"].duplicated().any()
    assert not found.cells["cell_1"].duplicated().any()
    assert found.cells["distance_um"].max() <= 4
    assert (found.cells["second_um"] > found.cells["distance_um"]).mean() > 0.99


def test_a_mirror_image_is_matched_when_it_is_declared():
    phenotype, sbs = two_sets(2, mirrored=True)
    assert not merge_cells(phenotype, sbs, sbs_pixel_um=1.0).found
    found = merge_cells(phenotype, sbs, MergeSettings(mirrored=True), sbs_pixel_um=1.0)
    assert (found.cells["cell_0"] == found.cells["cell_1"]).mean() > 0.99


def test_tiles_that_are_off_are_followed():
    phenotype, sbs = two_sets(3, noise=0.2, lost=0.05)
    bent = phenotype.copy()
    bent["well_i"] += 8 * np.sin(bent["well_j"] / 500)
    straight, local = (
        merge_cells(bent, sbs, MergeSettings(local_fit=fit), sbs_pixel_um=1.0) for fit in (False, True)
    )
    assert local.cells["distance_um"].median() < 0.6 * straight.cells["distance_um"].median()
    assert (local.cells["cell_0"] == local.cells["cell_1"]).all()


def test_cells_of_another_well_are_not_matched():
    phenotype, sbs = two_sets(4)[0], two_sets(5)[1]
    found = merge_cells(phenotype, sbs, sbs_pixel_um=1.0, phenotype_pixel_um=0.5)
    assert not found.found
    assert len(found.cells) == 0
    assert list(found.cells.columns[:11]) == COLUMNS
    assert found.tiles["n_matched"].tolist() == [0, 0]


def test_a_position_of_the_stage_helps_where_cells_are_few():
    points = np.array([[10, 10], [60, 20], [30, 80.0]])
    found = merge_cells(
        table(points * 2), table(points), sbs_pixel_um=1.0, initial=[[0.5, 0, 1.0], [0, 0.5, -0.5]]
    )
    assert found.cells["cell_0"].tolist() == found.cells["cell_1"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("n", [0, 1, 3, 40])
def test_no_cells_few_cells_and_cells_on_a_line_are_survived(n):
    line = table(np.c_[np.arange(n) * 20.0, np.zeros(n)])
    phenotype, sbs = two_sets(6)
    for one, two in ((line, sbs), (phenotype, line), (line, line)):
        assert len(merge_cells(one, two, sbs_pixel_um=1.0).cells) <= n


def test_unknown_and_repeated_places_are_survived():
    phenotype, sbs = two_sets(7)
    phenotype, sbs = phenotype.reset_index(drop=True), sbs.reset_index(drop=True)
    phenotype.loc[::7, "well_i"] = np.nan
    sbs.loc[:4, ["well_i", "well_j"]] = sbs.loc[5, ["well_i", "well_j"]].to_numpy(float)
    found = merge_cells(phenotype, sbs, sbs_pixel_um=1.0)
    assert (found.cells["cell_0"] == found.cells["cell_1"]).mean() > 0.98
    assert found.cells["well_i_0"].notna().all()


def test_rates_of_every_tile_count_what_both_could_see():
    phenotype, sbs = two_sets(8)
    phenotype = phenotype.assign(tile=np.where(phenotype["well_j"] > 900, 1, 0))
    sbs = sbs[sbs["well_j"] < 450]
    found = merge_cells(phenotype, sbs, sbs_pixel_um=1.0)
    rates = found.tiles.set_index(["acquisition", "tile"])
    assert rates.loc[("phenotype", 0), "rate"] > 0.7
    assert rates["n_matched"].sum() == 2 * len(found.cells)
    assert (rates["n_inside"] <= rates["n_cells"]).all()


def test_all_faults_are_told_at_once():
    phenotype, sbs = two_sets(9)
    with pytest.raises(InputError) as caught:
        merge_cells(phenotype.drop(columns="well_i"), pd.concat([sbs, sbs]), sbs_pixel_um=-1.0)
    assert len(caught.value.findings) == 3


def test_one_similarity_is_found_whatever_the_order_of_the_cells():
    phenotype, sbs = two_sets(10)
    a, b = phenotype[["well_i", "well_j"]].to_numpy(), sbs[["well_i", "well_j"]].to_numpy()
    one, other = find_similarity(a, b)[0], find_similarity(a[::-1], b[::-1])[0]
    assert one.tobytes() == other.tobytes()


def test_cells_of_a_synthetic_screen_are_merged():
    screen = make_screen("mixed", seed=9, tile_grid=(2, 2), tile_size=320)
    sbs = pd.concat([screen.cells_of_tile("A1", tile) for tile in screen.tiles["tile"]], ignore_index=True)
    sbs = sbs.rename(columns={"cell": "truth", "label": "cell"})
    parts = []
    for tile in screen.phenotype_tiles["tile"]:
        labels, names = screen.phenotype_label_tile("A1", tile)[1:]
        area = np.bincount(labels.ravel())[1:]
        centre = [np.bincount(labels.ravel(), one.ravel())[1:] / area for one in np.indices(labels.shape)]
        parts.append(
            pd.DataFrame({"tile": tile, "cell": names["label"], "truth": names["cell"],
                          "i": centre[0], "j": centre[1]})
        )  # fmt: skip
    whole = []
    for cells, tiles, zoom in ((pd.concat(parts), screen.phenotype_tiles, 2), (sbs, screen.tiles, 1)):
        settings = StitchingSettings(cell_radius_px=14.0 * zoom, same_cell_px=10.0 * zoom)
        corners = tiles.rename(columns={"y": "i", "x": "j"})[["tile", "i", "j"]]
        whole.append(count_cells_once(cells.reset_index(drop=True), corners, (320, 320), settings)[0])
    found = merge_cells(*whole, sbs_pixel_um=1.3, phenotype_pixel_um=0.65)
    truths = [
        one.set_index(["tile", "cell"])["truth"].loc[list(zip(*keys, strict=True))].to_numpy()
        for one, keys in zip(
            whole,
            [(found.cells["tile"], found.cells["cell_0"]), (found.cells["site"], found.cells["cell_1"])],
            strict=True,
        )
    ]
    both = set(whole[0]["truth"]) & set(whole[1]["truth"])
    assert (truths[0] == truths[1]).sum() >= 0.98 * len(both)
    assert (truths[0] != truths[1]).sum() <= 0.005 * len(both)


def test_cells_that_a_tile_cuts_do_not_keep_a_small_well_from_being_merged():
    """Their centres are off: in a well of few cells and many small tiles they bend most triangles."""
    random = np.random.default_rng(3)
    centres, cut = random.uniform(0, 240, (40, 2)), random.uniform(0, 240, (30, 2))
    sbs = table(np.concatenate([centres, cut]))
    sbs["bounds"] = [[20, 20, 30, 30]] * 40 + [[0, 20, 6, 30], [20, 50, 30, 60], [50, 20, 60, 30]] * 10
    found = merge_cells(table(centres * 2), sbs, sbs_pixel_um=1.3, phenotype_pixel_um=0.65)
    assert (found.cells["cell_0"] == found.cells["cell_1"]).sum() == len(found.cells) == 40
