"""Standardised planes, spots and the nearest barcode of the library, as the definitions have them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cytopipe.errors import InputError
from cytopipe.screen.parameters import CellCallSettings, ReadSettings
from cytopipe.screen.zscore import match_cells, standardised, zscore_reads

PLACE = {"well": "A1", "tile": 2, "plate": 1}
ZSCORE = ReadSettings(method="zscore")


def spots(barcodes, seed=0, gains=(1.0, 1.0, 1.0, 1.0), size=24):
    """A row of spots in noise, 24 px apart, each in a cell of its own; channels G, T, A, C."""
    random = np.random.default_rng(seed)
    shape = (2 * size, size * (len(barcodes) + 1))
    images = random.normal(500, 10, (len(barcodes[0]), 4, *shape))
    y, x = np.indices(shape)
    for k, barcode in enumerate(barcodes):
        spot = 900 * np.exp(-((y - size) ** 2 + (x - size * (k + 1)) ** 2) / 4.5)
        for cycle, base in enumerate(barcode):
            channel = "GTAC".index(base)
            images[cycle, channel] += spot * gains[channel] * 0.9**cycle
    cells = np.zeros(shape, dtype=np.uint16)
    for k in range(len(barcodes)):
        cells[size - 8 : size + 8, size * (k + 1) - 8 : size * (k + 1) + 8] = k + 1
    return images.clip(0).astype(np.uint16), cells


BARCODES = ["GTACGT", "TTAACC", "CAGTCA", "AGCTAG", "GGTTAC", "CATGTC"]


def test_spots_are_read_in_spite_of_decay_and_unequal_gains():
    images, cells = spots(BARCODES, gains=(1.0, 0.5, 2.0, 1.3))
    reads = zscore_reads(images, cells, ZSCORE, PLACE)
    inside = reads[reads["cell"] > 0]
    assert inside["cell"].tolist() == [1, 2, 3, 4, 5, 6]
    assert inside["barcode"].tolist() == BARCODES
    assert (inside["quality"] > 5).all() and inside["Q_min"].between(0, 1).all()
    assert reads["read"].is_unique and reads["cell"].is_monotonic_increasing


def test_planes_have_mean_0_and_deviation_1_and_flat_ones_stay_0():
    images, _ = spots(BARCODES[:2])
    images[0, 0] = 7
    planes = standardised(images)
    assert not planes[0, 0].any()
    assert np.allclose(planes[1:].mean(axis=(2, 3)), 0, atol=1e-5)
    assert np.allclose(planes[1:].std(axis=(2, 3)), 1, atol=1e-4)


def test_static_debris_is_far_fainter_than_a_spot():
    images, cells = spots(BARCODES)
    debris = images.astype(np.int64)
    debris[:, :, 5:8, 5:8] += 3000
    reads = zscore_reads(debris.astype(np.uint16), cells, ZSCORE, PLACE)
    static = reads["j"] < 10
    assert reads["peak"][static].max() < 0.1 * reads["peak"][~static].min()


def test_an_empty_tile_gives_the_same_columns_without_rows():
    images, cells = spots(BARCODES)
    none, some = (zscore_reads(one, cells, ZSCORE, PLACE) for one in (images * 0, images))
    assert len(none) == 0 and none.columns.tolist() == some.columns.tolist()
    library = pd.DataFrame({"sgRNA": BARCODES, "gene_symbol": list("abcdef")})
    assert match_cells(none, library).columns.tolist() == match_cells(some, library).columns.tolist()


def test_images_that_do_not_fit_are_told_at_once():
    images, cells = spots(BARCODES[:2])
    with pytest.raises(InputError) as caught:
        zscore_reads(images[:, :3], cells[:5], ZSCORE, PLACE)
    assert len(caught.value.findings) == 2


def reads_of(cells: dict[int, list[str]]) -> pd.DataFrame:
    rows = [(cell, barcode) for cell, own in cells.items() for barcode in own]
    table = pd.DataFrame(rows, columns=["cell", "barcode"])
    return table.assign(plate=1, well="A1", tile=2, read=np.arange(len(rows)), Q_min=1.0)


def plainly_matched(own: list[str], library: list[str], limit: int) -> str | None:
    counts = pd.Series(own).value_counts().sort_index().sort_values(ascending=False, kind="stable").head(4)
    distances = []
    for name in library:
        each = [(sum(a != b for a, b in zip(read, name, strict=True)), n) for read, n in counts.items()]
        distances.append(min((differ + 1 / (n + 1), differ) for differ, n in each))
    best = min(one for one, _ in distances)
    alone = [one for one, _ in distances].count(best) == 1
    at = [one for one, _ in distances].index(best)
    return library[at] if alone and distances[at][1] <= limit else None


def test_the_smallest_unique_distance_wins_within_the_limit():
    random = np.random.default_rng(3)
    library = sorted({"".join(one) for one in random.choice(list("ACGT"), (12, 4))})
    for limit in (0, 1, 2):
        cells = {
            cell: ["".join(one) for one in random.choice(list("ACGT"), (random.integers(1, 9), 4))]
            for cell in range(1, 60)
        }
        made = match_cells(
            reads_of(cells), pd.DataFrame({"sgRNA": library}), CellCallSettings(max_distance=limit)
        )
        expected = [plainly_matched(own, library, limit) for own in cells.values()]
        assert [None if pd.isna(one) else one for one in made["cell_barcode_0"]] == expected
        assert made["barcode_count"].tolist() == [len(own) for own in cells.values()]


def test_a_far_read_is_not_forced_onto_the_library_and_genes_follow_the_match():
    library = pd.DataFrame({"sgRNA": ["AAAA", "CCCC"], "gene_symbol": ["a", "c"], "gene_id": [1, 2]})
    made = match_cells(reads_of({1: ["GGGG"], 2: ["CCCT", "CCCT", "GGGG"]}), library)
    assert made["gene_symbol_0"].fillna("").tolist() == ["", "c"]
    assert made["bases_differ_0"].tolist() == [4, 1]
    assert made["pre_correction_cell_barcode_0"].tolist() == ["GGGG", "CCCT"]
    assert made["cell_barcode_count_0"].tolist() == [1, 2]
