"""Intensities become bases and qualities, in any order of rows, as a row-wise computation has them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from cytopipe.errors import InputError
from cytopipe.screen.bases import extract_bases
from cytopipe.screen.reads import call_reads, transform_medians, transform_percentiles

PLACE = {"well": "A1", "tile": 2, "plate": 1}


def bases_of(seed=0, reads=60, cycles=4, dark=0.0, in_cells=0.7):
    """Bases of a tile with known barcodes and crosstalk, and the barcodes."""
    random = np.random.default_rng(seed)
    shape = (40, 50)
    places = np.sort(random.choice(shape[0] * shape[1], reads, replace=False))
    peaks = np.zeros(shape)
    peaks.flat[places] = random.uniform(100, 900, reads)
    true = random.integers(0, 4, (reads, cycles))
    mixing = np.eye(4) + 0.35 * random.random((4, 4))
    bright = (
        np.eye(4)[true]
        * random.uniform(300, 2000, (reads, cycles, 1))
        @ mixing
        * (random.random(reads) >= dark)[:, None, None]
    )
    maxed = np.zeros((cycles, 4, *shape), dtype=np.uint16)
    maxed.reshape(cycles, 4, -1)[:, :, places] = (bright + random.uniform(0, 20, bright.shape)).transpose(
        1, 2, 0
    )
    cells = np.zeros(shape, dtype=np.uint16)
    cells.flat[places] = np.where(random.random(reads) < in_cells, random.integers(1, 9, reads), 0)
    barcodes = ["".join("GTAC"[base] for base in read) for read in true]
    return extract_bases(peaks, maxed, cells, 0, PLACE), peaks, barcodes


def row_wise(bases: pd.DataFrame, method: str, normalize: bool, only_cells: bool) -> pd.DataFrame:
    """One intensity, one read, one cycle after the other."""
    rows = [dict(row) for _, row in bases.sort_values(["cell", "read", "cycle", "channel"]).iterrows()]
    if method == "median" and normalize:
        medians = {one: np.median([r["intensity"] for r in rows if r["channel"] == one]) for one in "ACGT"}
        for row in rows:
            row["intensity"] = row["intensity"] / medians[row["channel"]]
    spots: dict = {}
    for row in rows:
        spots.setdefault((row["cell"], row["read"], row["cycle"]), []).append(float(row["intensity"]))
    used = [value for key, value in spots.items() if key[0] > 0 or not only_cells]
    columns = []
    for channel in range(4):
        if method == "median":
            own = [one for one in used if one.index(max(one)) == channel]
        else:
            share = [one[channel] / sum(one) for one in used]
            own = [one for one, part in zip(used, share, strict=True) if part >= np.percentile(share, 95)]
        column = [np.median([one[k] for one in own]) for k in range(4)]
        columns.append([one / sum(column) for one in column])
    weights = np.linalg.inv(np.array(columns).T)
    found: dict = {}
    for (cell, read, _), value in spots.items():
        signal = [int(one) for one in weights @ np.array(value)]
        second, first = (abs(one) for one in sorted(signal)[-2:])
        q = min(1.0, max(0.0, 2 * (1 - math.log(2 + second) / math.log(2 + first))))
        barcode, qualities = found.setdefault((cell, read), ([], []))
        barcode.append("ACGT"[signal.index(max(signal))])
        qualities.append(q)
    out = [(read, cell, "".join(barcode), *q, min(q)) for (cell, read), (barcode, q) in found.items()]
    names = [f"Q_{cycle}" for cycle in range(bases["cycle"].nunique())]
    return pd.DataFrame(out, columns=["read", "cell", "barcode", *names, "Q_min"])


@pytest.mark.parametrize("only_cells", [True, False])
@pytest.mark.parametrize(("method", "normalize"), [("median", True), ("median", False), ("percentile", True)])
def test_reads_are_those_of_a_row_wise_computation(method, normalize, only_cells):
    for seed in range(4):
        bases, peaks, _ = bases_of(seed)
        made = call_reads(bases, peaks, only_cells, normalize, method)
        expected = row_wise(bases, method, normalize, only_cells)
        pd.testing.assert_frame_equal(made[expected.columns], expected, check_dtype=False, atol=1e-12)
        assert (made["peak"].to_numpy() == peaks[made["i"], made["j"]]).all()


def test_barcodes_are_found_through_crosstalk():
    bases, peaks, barcodes = bases_of(5, reads=200)
    made = call_reads(bases, peaks)
    assert (made["barcode"].to_numpy() == np.array(barcodes)[made["read"]]).mean() > 0.99


def test_the_order_of_rows_is_of_no_importance():
    bases, peaks, _ = bases_of(1)
    shuffled = bases.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(call_reads(bases, peaks), call_reads(shuffled, peaks))


def test_tiles_of_a_table_keep_their_reads_apart():
    bases, _, _ = bases_of(1)
    both = pd.concat([bases, bases.assign(tile=5)])
    made = call_reads(both)
    assert made["tile"].value_counts().to_dict() == {2: 60, 5: 60}


def test_without_a_read_in_a_cell_all_reads_tell_the_crosstalk():
    bases, peaks, _ = bases_of(2, in_cells=0)
    pd.testing.assert_frame_equal(
        call_reads(bases, peaks), call_reads(bases, peaks, correction_only_in_cells=False)
    )


def test_dark_channels_divide_by_nothing():
    bases, peaks, _ = bases_of(3, dark=0.9)
    dim = bases.assign(intensity=np.where(bases["channel"] == "G", 0, bases["intensity"]).astype(np.uint16))
    for method in ("median", "percentile"):
        made = call_reads(dim, peaks, method=method)
        assert np.isfinite(made["Q_min"]).all() and not made["barcode"].str.contains("G").any()


def test_no_reads_give_the_same_columns():
    bases, peaks, _ = bases_of()
    none, some = call_reads(bases[:0], peaks, cycles=4), call_reads(bases, peaks)
    assert len(none) == 0 and none.columns.tolist() == some.columns.tolist()


def test_a_missing_base_and_missing_columns_are_told():
    bases, _, _ = bases_of()
    with pytest.raises(InputError, match="lacks a base of a cycle"):
        call_reads(bases.drop(index=7))
    with pytest.raises(InputError, match="lacks a base of a cycle"):
        call_reads(pd.concat([bases, bases[:4]]))
    with pytest.raises(InputError) as caught:
        call_reads(bases.drop(columns=["cycle", "i"]))
    assert len(caught.value.findings) == 2


def test_channels_that_always_shine_together_are_told():
    same = np.tile(np.array([[5.0, 5.0, 1.0, 1.0], [5.0, 5.0, 9.0, 1.0], [1.0, 1.0, 1.0, 9.0]]), (10, 1))
    with pytest.raises(InputError, match="cannot be told apart"):
        transform_percentiles(np.vstack([same[::3], same[::3]]))
    assert np.isfinite(transform_medians(same)[1]).all()
