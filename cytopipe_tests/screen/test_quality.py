"""Quality of a screen: each planted fault is named by tile and cycle, and sound tiles are not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cytopipe.screen.parameters import QualitySettings
from cytopipe.screen.quality import figures
from cytopipe.screen.quality.alignment import measure_alignment
from cytopipe.screen.quality.images import image_findings, measure_planes
from cytopipe.screen.quality.layout import plate_grid, tile_grid
from cytopipe.screen.quality.reads import (
    base_faults,
    base_frequencies,
    base_order,
    cells_of_tiles,
    distances,
    mapping_by_quality,
    mapping_by_threshold,
    mismatches_by_cycle,
    read_findings,
)

RNG = np.random.default_rng(5)
LIBRARY = sorted({"".join(RNG.choice(list("ACGT"), 8)) for _ in range(60)})
SETTINGS = QualitySettings()


def plane(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = rng.normal(500, 8, (96, 120))
    for y, x in rng.uniform(8, 88, (40, 2)):
        yy, xx = np.mgrid[:96, :120]
        image += 900 * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / 5)
    return image.astype(np.uint16)


def measured(changed: dict | None = None, tiles: int = 6, cycles: int = 2) -> pd.DataFrame:
    tables = []
    for tile in range(tiles):
        for cycle in range(1, cycles + 1):
            image = (changed or {}).get((tile, cycle), plane(100 * tile + cycle))
            if image is None:
                continue
            tables.append(measure_planes([image], ["G"], plate="1", well="A1", tile=tile, cycle=cycle))
    return pd.concat(tables, ignore_index=True)


def test_sound_images_have_no_findings():
    assert image_findings(measured(), SETTINGS) == []


def test_each_fault_of_an_image_is_named_by_tile_and_cycle():
    import cv2

    blurred = cv2.GaussianBlur(plane(301), (0, 0), 4)
    saturated = plane(402).copy()
    saturated[:20] = 65535
    changed = {(1, 2): np.full((96, 120), 500, np.uint16), (3, 1): blurred, (4, 2): saturated}
    changed |= {(5, 2): plane(1), (2, 1): None}
    findings = image_findings(measured(changed), SETTINGS)
    for words in (
        "tile 1, cycle 2, G: blank",
        "tile 3, cycle 1, G: out of focus",
        "tile 4, cycle 2, G: 20.8% of the pixels are saturated",
        "tile 5, cycle 2, G: the same pixels as tile 0, cycle 1, G",
        "tile 2: lacks cycle 1",
    ):
        assert sum(words in one for one in findings) == 1, (words, findings)
    assert len(findings) == 5


def test_a_cycle_out_of_place_is_named():
    residuals = pd.DataFrame({"tile": [0, 1], "cycle": [2, 2], "residual_px": [0.1, 3.25]})
    (finding,) = image_findings(measured(), SETTINGS, residuals)
    assert finding.startswith("tile 1, cycle 2: 3.25 px out of place")


def test_what_is_left_of_shifts_is_measured_to_a_part_of_a_pixel():
    import cv2

    rng = np.random.default_rng(3)
    spots = np.zeros((4, 240, 240), np.float32)
    for base, y, x in zip(rng.integers(0, 4, 300), *rng.integers(8, 232, (2, 300)), strict=True):
        spots[base, y, x] = 5000
    spots = np.stack([cv2.GaussianBlur(one, (0, 0), 1.3) for one in spots])

    def moved(planes, dy: float, dx: float) -> np.ndarray:
        matrix = np.array([[1, 0, dx], [0, 1, dy]], float)
        return np.stack([cv2.warpAffine(one, matrix, (240, 240)) for one in planes])

    shifts = [(0, 0), (0.4, -0.3), (0, 0), (-3.2, 1.6)]
    cycles = [moved(np.roll(spots, k, axis=0), *shift) for k, shift in enumerate(shifts)]  # other bases
    stack = rng.poisson(np.stack(cycles) + 400).astype(np.uint16)
    stack[2] = rng.poisson(400, stack[2].shape)  # nothing in common
    table = measure_alignment(stack, [1, 3, 4, 7], reference_cycle=1, plate="1", well="A1", tile=5)
    assert table["cycle"].tolist() == [3, 4, 7] and set(table["tile"]) == {5}
    np.testing.assert_allclose(table["residual_px"], [0.5, np.nan, np.hypot(3.2, 1.6)], atol=0.1)


def test_one_soft_channel_is_a_fault_only_where_it_is_far_softer():
    tables = measured(cycles=1)
    soft = pd.concat([tables.assign(channel=name) for name in "GTA"], ignore_index=True)
    one = (soft["tile"] == 2) & (soft["channel"] == "T")
    usual = soft["focus"].median()
    for share, found in ((0.4, 0), (0.1, 1)):
        soft.loc[one, "focus"] = share * usual
        words = [one for one in image_findings(soft, SETTINGS) if "out of focus" in one]
        assert len(words) == found


def test_reads_are_counted_by_the_distance_to_two_nearest_barcodes():
    table = distances(["AAAA", "AAAA", "AAAC", "CCCC"], ["AAAA", "AACC", "GGGG"])
    counted = {(row.best, row.second): row.n_reads for row in table.itertuples()}
    assert counted == {(0, 2): 2, (1, 1): 1, (2, 4): 1}
    assert distances(["AAAA"], ["AAAA"]).to_numpy().tolist() == [[0, 4, 1]]
    assert len(distances([], LIBRARY)) == 0


def test_few_reads_say_nothing_of_base_frequencies():
    of_one_base = [one for one in LIBRARY if one.startswith("A")]
    order = base_order(LIBRARY, LIBRARY)
    for times, told in ((0, False), (200, True)):
        reads = of_one_base[:3] + of_one_base * times
        faults = base_faults(base_frequencies(reads, LIBRARY), order, SETTINGS)
        assert any(one.words.startswith("cycle 1: A in 100% of the reads") for one in faults) == told


def test_focus_does_not_depend_on_brightness_and_falls_with_blur():
    import cv2

    sharp = plane(1)
    dim = (sharp // 3).astype(np.uint16)
    soft = cv2.GaussianBlur(sharp, (0, 0), 2)
    focus = [
        measure_planes([one], ["G"], plate="1", well="A1", tile=0, cycle=1)["focus"][0]
        for one in (sharp, dim, soft)
    ]
    assert focus[1] == pytest.approx(focus[0], rel=0.05) and focus[2] < 0.5 * focus[0]


def test_bases_are_counted_per_cycle_against_the_library():
    table = base_frequencies(["ACGT", "AAGT", "AANT"], ["ACGTA", "CCGTA"])
    at = table.set_index(["cycle", "base"])
    assert at.loc[(1, "A"), "observed"] == 1 and at.loc[(1, "A"), "expected"] == 0.5
    assert at.loc[(2, "C"), "observed"] == pytest.approx(1 / 3)
    assert at.loc[(3, "G"), "observed"] == 1  # a letter that is no base is not counted


def test_channels_named_in_the_wrong_order_are_found():
    swapped = str.maketrans("ACGT", "GCTA")  # what is an A was named G, ...
    order = base_order([one.translate(swapped) for one in LIBRARY], LIBRARY)
    best = order.iloc[0]
    assert best["mapped"] == 1.0
    renamed = str.maketrans("ACGT", best["order"])
    assert [one.translate(swapped).translate(renamed) for one in LIBRARY] == LIBRARY
    assert base_order(LIBRARY, LIBRARY).iloc[0]["order"] == "ACGT"


def test_mapping_rises_with_the_threshold_where_weak_spots_are_noise():
    reads = pd.DataFrame(
        {
            "barcode": [*LIBRARY[:30], *["A" * 8] * 30],
            "peak": [*range(100, 130), *range(30)],
            "Q_min": 0.5,
            "cell": 1,
        }
    )
    table = mapping_by_threshold(reads, LIBRARY, [0, 50, 110])
    assert table["mapped"].tolist() == [0.5, 1.0, 1.0] and table["n_mapped"].tolist() == [30, 30, 20]
    assert np.isnan(mapping_by_quality(reads, LIBRARY, [0.9])["mapped"][0])


def test_mismatches_are_counted_by_cycle_and_pair():
    true = LIBRARY[0]
    wrong = ("C" if true[0] == "A" else "A") + true[1:]
    table = mismatches_by_cycle([true, wrong, wrong], [true])
    assert table.to_dict("records") == [{"cycle": 1, "expected": true[0], "read": wrong[0], "count": 2}]


def test_a_well_with_few_calls_and_a_tile_without_cells_are_named():
    cells = pd.DataFrame(
        {
            "plate": "1",
            "well": "A1",
            "tile": np.repeat([0, 1, 2], 30),
            "cell_barcode_0": [*LIBRARY[:10], *[None] * 20, *LIBRARY[:8], *[None] * 22, *[None] * 30],
        }
    )
    reads = pd.DataFrame(
        {"plate": "1", "well": "A1", "tile": [0] * 10 + [3], "cell": 1, "barcode": LIBRARY[:11]}
    )
    tiles = cells_of_tiles(cells, reads, LIBRARY)
    assert tiles["n_called"].tolist() == [10, 8, 0, 0] and tiles["n_cells"].tolist() == [30, 30, 30, 0]
    findings = read_findings(
        tiles, base_frequencies(LIBRARY, LIBRARY), base_order(LIBRARY, LIBRARY), SETTINGS
    )
    assert any(one.startswith("20% of 90 cells") for one in findings)
    assert any(one.startswith("tile 2: 0%") for one in findings) and "tile 3: no cells" in findings


def test_no_reads_at_all_give_empty_tables_and_a_finding():
    cells = pd.DataFrame({"plate": "1", "well": "A1", "tile": [0] * 80, "cell_barcode_0": [None] * 80})
    reads = pd.DataFrame({"plate": [], "well": [], "tile": [], "cell": [], "barcode": [], "peak": []})
    tiles = cells_of_tiles(cells, reads, LIBRARY)
    order = base_order([], LIBRARY)
    assert read_findings(tiles, base_frequencies([], LIBRARY), order, SETTINGS)
    assert len(mismatches_by_cycle([], LIBRARY)) == 0
    assert mapping_by_threshold(reads, LIBRARY, [0])["n_reads"].tolist() == [0]


def test_wells_lie_as_on_the_plate():
    grid, rows, columns = plate_grid({"A1": 1, "B10": 2, "A02": 3})
    assert rows == ["A", "B"] and columns == ["1", "2", "10"]
    assert grid[0].tolist()[:2] == [1, 3] and grid[1, 2] == 2 and np.isnan(grid[1, 0])
    assert plate_grid({"left": 1, "right": 2})[0].tolist() == [[1, 2]]


def test_tiles_lie_at_their_positions_whatever_their_numbers():
    positions = pd.DataFrame({"tile": [7, 3, 20], "y": [0.2, 0, 100], "x": [100.4, 0, 0]})
    grid = tile_grid({7: 1.0, 3: 2.0, 20: 3.0}, positions)
    assert grid[0].tolist() == [2, 1] and grid[1, 0] == 3 and np.isnan(grid[1, 1])
    assert tile_grid({4: 1.0, 9: 2.0, 11: 3.0}).shape == (2, 2)


def test_figures_take_empty_tables_and_dollar_signs():
    from cytopipe.storage.formats.figure import figure_bytes

    bases = base_frequencies(LIBRARY, LIBRARY)
    order = mapping_by_threshold(pd.DataFrame({"barcode": [], "peak": [], "cell": []}), LIBRARY, [0, 100])
    for figure in (
        figures.bases_figure(bases, "$a$ $"),
        figures.mapping_figure(order, "none"),
        figures.well_figure({1: 3.0, 2: np.nan}, "well", "cells"),
        figures.plate_figure({"A1": 0.5}, "plate", "called"),
    ):
        assert figure_bytes(figure).startswith(b"\x89PNG")
