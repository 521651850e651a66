"""Cells get their barcodes as a plain walk over their reads gives them, ties included."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytopipe.errors import InputError, ParameterError
from cytopipe.screen.cells import call_cells, cells_of, debris_like, error_correct_reads, trusted_corrections
from cytopipe.screen.parameters import CellCallSettings, LibrarySettings

LIBRARY = pd.DataFrame(
    {"sgRNA": ["AACC", "ACGT", "TTTT", "GATC"], "gene_symbol": ["a", "b", "c", "d"], "gene_id": [1, 2, 3, 4]}
)

BARCODES = st.sampled_from(["AACC", "ACGT", "TTTT", "AAAA", "CCCC", "AACG"])
READS = st.lists(
    st.tuples(
        st.integers(0, 3), BARCODES, st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([1.0, 2.0, 3.0])
    ),
    min_size=1,
    max_size=25,
)


def table(rows) -> pd.DataFrame:
    """Reads whose quality in the first cycle tells them apart."""
    n = len(rows)
    cell, barcode, q_min, peak = zip(*rows, strict=True)
    return pd.DataFrame(
        {
            "read": np.arange(n),
            "cell": np.array(cell, dtype=np.uint16),
            "i": np.arange(n),
            "j": np.arange(n),
            "plate": 1,
            "tile": 2,
            "well": "A1",
            "barcode": list(barcode),
            "Q_0": np.arange(n) / 100,
            "Q_min": list(q_min),
            "peak": list(peak),
        }
    )


def walked(reads: pd.DataFrame, sort_calls: str, q_min: float) -> dict[int, list]:
    """Barcode, deciding read and count or peak of the two best barcodes of each cell."""
    known = set(LIBRARY["sgRNA"])
    rows = [row for row in reads.to_dict("records") if row["Q_min"] >= q_min and row["cell"] > 0]
    found = {}
    for cell in {row["cell"] for row in rows}:
        own = [row for row in rows if row["cell"] == cell]
        if sort_calls == "peak":
            own.sort(key=lambda row: (row["barcode"] not in known, -row["peak"], row["read"]))
            found[cell] = [(row["barcode"], row["read"], row["peak"]) for row in own[:2]]
            continue
        counted = []
        for barcode in {row["barcode"] for row in own}:
            same = [row for row in own if row["barcode"] == barcode]
            best = min(same, key=lambda row: (-row["Q_min"], row["read"]))
            counted.append((barcode not in known, -len(same), barcode, best["read"]))
        found[cell] = [(barcode, read, -count) for _, count, barcode, read in sorted(counted)[:2]]
    return found


@settings(max_examples=60, deadline=None)
@given(READS, st.sampled_from(["peak", "count"]), st.sampled_from([0.0, 0.5]))
def test_the_best_two_barcodes_are_those_of_a_plain_walk(rows, sort_calls, q_min):
    reads = table(rows)
    made = call_cells(reads, LIBRARY, q_min=q_min, sort_calls=sort_calls)
    expected = walked(reads, sort_calls, q_min)
    assert sorted(made["cell"]) == sorted(expected)
    genes = dict(zip(LIBRARY["sgRNA"], LIBRARY["gene_symbol"], strict=True))
    for row in made.to_dict("records"):
        for rank in range(2):
            best = expected[row["cell"]][rank : rank + 1]
            if not best:
                assert row[f"cell_barcode_{rank}"] is None or pd.isna(row[f"cell_barcode_{rank}"])
                continue
            barcode, read, value = best[0]
            assert row[f"cell_barcode_{rank}"] == barcode
            assert row[f"Q_0_{rank}"] == reads["Q_0"][read]
            assert row[f"cell_barcode_{sort_calls}_{rank}"] == value
            gene = row[f"gene_symbol_{rank}"]
            assert gene == genes[barcode] if barcode in genes else pd.isna(gene)


@settings(max_examples=20, deadline=None)
@given(READS)
def test_cells_come_in_the_order_of_the_reads_that_stand_for_them(rows):
    by_peak = call_cells(table(rows), LIBRARY)
    mapped = by_peak["gene_symbol_0"].notna().to_numpy()
    keys = list(zip(~mapped, -by_peak["cell_barcode_peak_0"], strict=True))
    assert keys == sorted(keys)
    by_count = call_cells(table(rows), LIBRARY, sort_calls="count")
    assert by_count["Q_min_0"].is_monotonic_decreasing


def plain_hamming(left: str, right: str) -> int:
    return sum(a != b for a, b in zip(left, right, strict=False)) + abs(len(left) - len(right))


def plain_levenshtein(left: str, right: str) -> int:
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        above, row = row, [i]
        for k, b in enumerate(right, 1):
            row.append(min(above[k - 1] + (a != b), above[k] + 1, row[k - 1] + 1))
    return row[-1]


SEQUENCES = st.text("ACGTN", min_size=1, max_size=6)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(SEQUENCES, min_size=1, max_size=6),
    st.lists(SEQUENCES, min_size=1, max_size=5),
    st.integers(0, 3),
    st.sampled_from(["hamming", "levenshtein"]),
)
def test_a_read_is_corrected_to_the_only_nearest_barcode(reads, library, max_distance, metric):
    distance = plain_hamming if metric == "hamming" else plain_levenshtein
    expected = []
    for read in reads:
        distances = [distance(read, one) for one in library]
        nearest = min(distances)
        alone = distances.count(nearest) == 1 and nearest <= max_distance
        expected.append(library[distances.index(nearest)] if alone else read)
    index = np.arange(len(reads)) * 3 + 1
    made = error_correct_reads(pd.Series(reads, index=index), pd.Series(library), max_distance, metric)
    assert made.tolist() == expected and made.index.tolist() == index.tolist()


def test_long_barcodes_of_many_letters_are_compared_whole():
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    read = alphabet * 2
    assert error_correct_reads(pd.Series(["x" + read[1:]]), pd.Series([read]), 1)[0] == read
    assert error_correct_reads(pd.Series(["xx" + read[2:]]), pd.Series([read]), 1)[0] == "xx" + read[2:]


def test_the_uncorrected_read_is_kept_beside_the_corrected_one():
    reads = table([(1, "AACG", 1.0, 3.0), (1, "TTTT", 1.0, 2.0)])
    made = call_cells(reads, LIBRARY, error_correct=True, max_distance=1)
    assert made["cell_barcode_0"].tolist() == ["AACC"]
    assert made["pre_correction_cell_barcode_0"].tolist() == ["AACG"]
    assert reads["barcode"].tolist() == ["AACG", "TTTT"]  # the caller's table stays


def test_the_distance_of_a_correction_and_its_margin_are_kept():
    reads = table([(1, "AACG", 1.0, 3.0), (2, "TTTT", 1.0, 2.0)])
    for metric in ("hamming", "levenshtein"):
        chosen = CellCallSettings(
            error_correct=True, max_distance=1, distance_metric=metric, max_false_corrections=None
        )
        made = cells_of(reads, LIBRARY, chosen).sort_values("cell")
        distance = plain_hamming if metric == "hamming" else plain_levenshtein
        for row in made.to_dict("records"):
            read = row["pre_correction_cell_barcode_0"]
            first, second, *_ = sorted(distance(read, one) for one in LIBRARY["sgRNA"])
            assert (row["bases_differ_0"], row["margin_0"]) == (first, second - first)
    alone = cells_of(reads, LIBRARY[:1], CellCallSettings(error_correct=True))
    assert alone["margin_0"].isna().all()


def library_and_misreads():
    """A library, reads that are right but for the worst base, and noise of worse bases that seems near."""
    random = np.random.default_rng(0)
    library = pd.Series(["".join(one) for one in random.choice(list("ACGT"), (200, 10))]).drop_duplicates()
    noise = ["".join(one) for one in random.choice(list("ACGT"), (4000, 10))]
    missed = [one[:4] + ("A" if one[4] != "A" else "C") + one[5:] for one in random.choice(library, 400)]
    true = [None] * len(noise) + [
        next(name for name in library if plain_hamming(name, one) <= 1) for one in missed
    ]
    quality = np.vstack([random.uniform(0.1, 0.7, (4000, 10)), random.uniform(0.5, 1, (400, 10))])
    quality[4000:, 4] = 0.05
    return library, pd.Series(noise + missed), true, quality


@pytest.mark.parametrize("limit", [0.02, 0.05, 0.2])
def test_few_corrections_are_wrong_where_decoys_hold_them(limit):
    library, reads, true, quality = library_and_misreads()
    every = np.ones(len(reads), dtype=bool)
    trusted = trusted_corrections(reads, quality, every, library, 2, limit)
    corrected = error_correct_reads(reads, library, 2)
    right = corrected.to_numpy(object) == np.array(true, object)
    assert (right & trusted).sum() >= 250 and (~right & trusted).sum() <= 1.5 * limit * trusted.sum()
    free = ~reads.isin(set(library)) & corrected.isin(set(library))
    assert (~right & free).sum() > 0.4 * free.sum()


def test_nothing_is_corrected_where_all_reads_are_noise_or_none_counts():
    library, reads, _, quality = library_and_misreads()
    noise, every = reads[:4000], np.ones(4000, dtype=bool)
    assert trusted_corrections(noise, quality[:4000], every, library, 2, 0.1).sum() <= 4
    assert not trusted_corrections(reads, quality, np.zeros(len(reads), bool), library, 2, 0.5).any()


def test_which_reads_are_corrected_does_not_depend_on_their_order():
    library, reads, _, quality = library_and_misreads()
    quality = quality.round(1)  # many are equally good
    every = np.ones(len(reads), dtype=bool)
    order = np.random.default_rng(1).permutation(len(reads))
    one = trusted_corrections(reads, quality, every, library, 2, 0.05)
    other = trusted_corrections(
        reads.iloc[order].reset_index(drop=True), quality[order], every, library, 2, 0.05
    )
    assert one.any() and (one[order] == other).all()


def test_settings_correct_what_decoys_allow():
    reads = table([(1, "AACG", 1.0, 3.0), (2, "TTTT", 1.0, 2.0)])
    held = cells_of(reads, LIBRARY, CellCallSettings(error_correct=True, max_false_corrections=0.0))
    chosen = CellCallSettings(error_correct=True, max_distance=1, max_false_corrections=None)
    free = cells_of(reads, LIBRARY, chosen)
    assert held.sort_values("cell")["cell_barcode_0"].tolist() == ["AACG", "TTTT"]
    assert free.sort_values("cell")["mapped_0"].tolist() == [True, True]
    assert free["mapped_1"].tolist() == [False, False]


def test_barcodes_of_one_base_are_refused_where_debris_shows_them_in_many_cells():
    names = ["GGGG", "AACC", "ACGT", "TTCA", "CATG"]
    library = pd.DataFrame({"sgRNA": names, "gene_symbol": list("vwxyz")})
    clean = [(k, names[k % 5], 1.0, 1.0) for k in range(1, 101)]
    debris = [(k, "GGGG", 1.0, 9.0) for k in range(1, 101)]
    for rows, refused in ((clean, False), (clean + debris, True)):
        reads = table(rows)
        assert bool(debris_like(reads["barcode"], reads["cell"].to_numpy(), library["sgRNA"])) == refused
        made = cells_of(reads, library).sort_values("cell")
        called = np.where(made["mapped_0"], made["cell_barcode_0"], None)
        expected = [row[1] if row[1] != "GGGG" or not refused else None for row in clean]
        assert called.tolist() == expected
        assert made["gene_symbol_0"].notna().tolist() == [one is not None for one in expected]
    kept = cells_of(reads, library, CellCallSettings(refuse_debris=False))
    assert (kept["cell_barcode_0"] == "GGGG").all()


def test_one_cell_with_many_spots_of_one_base_is_no_debris():
    names = pd.Series(["GGGG", "AACC", "ACGT", "TTCA"])
    reads = pd.Series(["GGGG"] * 50 + ["AACC", "ACGT", "TTCA"])
    assert debris_like(reads, np.array([1] * 50 + [2, 3, 4]), names) == []
    assert debris_like(reads, np.arange(53), names) == ["GGGG"]
    assert debris_like(reads[:1], np.array([1]), names) == []  # one read says nothing
    assert debris_like(reads, np.arange(53), names[:1]) == []  # nothing to compare it with


def test_two_barcodes_of_a_read_tell_recombination():
    library = pd.DataFrame(
        {"prefix_map": ["AA", "TT"], "prefix_recomb": ["CC", "GG"], "gene_symbol": ["a", "b"]}
    )
    reads = table([(1, "AACC", 1.0, 3.0), (2, "AAGG", 1.0, 2.0), (3, "CCGG", 1.0, 1.0)])
    reads = reads.assign(Q_1=1.0, Q_2=[1.0, 0.05, 1.0], Q_3=1.0)
    two = CellCallSettings(map_start=1, map_end=2, recomb_start=3, recomb_end=4)
    told = LibrarySettings(gene_columns=("gene_symbol",))
    made = cells_of(reads, library, two, told).sort_values("cell")
    assert made["cell_barcode_0"].tolist() == ["AA", "AA", "CC"]
    assert made["no_recomb_0"].tolist() == [True, False, pd.NA]
    sure = cells_of(reads, library, two.replace(recomb_q_thresh=0.1), told).sort_values("cell")
    assert sure["no_recomb_0"].tolist() == [True, pd.NA, pd.NA]
    with pytest.raises(ParameterError, match="not within the reads"):
        call_cells(reads, library, map_start=1, map_end=9)


def test_tables_without_reads_have_the_same_columns():
    reads = table([(1, "AACC", 1.0, 1.0), (1, "TTTT", 1.0, 1.0)])
    for sort_calls in ("peak", "count"):
        for library in (LIBRARY, None):
            some = call_cells(reads, library, sort_calls=sort_calls)
            none = call_cells(reads[:0], library, sort_calls=sort_calls)
            few = call_cells(reads[:1], library, sort_calls=sort_calls)
            outside = call_cells(reads.assign(cell=0), library, sort_calls=sort_calls)
            assert len(none) == len(outside) == 0
            assert some.columns.tolist() == none.columns.tolist() == few.columns.tolist()
            assert some.columns.tolist() == outside.columns.tolist()


def test_plates_of_one_table_keep_their_cells_apart():
    reads = table([(1, "AACC", 1.0, 1.0), (1, "TTTT", 1.0, 2.0)])
    made = call_cells(
        pd.concat([reads, reads.assign(plate=2)], ignore_index=True), LIBRARY, sort_calls="count"
    )
    assert made[["plate", "cell_barcode_count_0"]].values.tolist() == [[1, 1], [2, 1]]


def test_bad_input_is_told_at_once():
    reads = table([(1, "AACC", 1.0, 1.0)])
    with pytest.raises(InputError) as caught:
        call_cells(reads.drop(columns=["peak", "well"]), LIBRARY)
    assert len(caught.value.findings) == 2
    with pytest.raises(InputError, match="not unique in their first 4"):
        call_cells(reads, pd.DataFrame({"sgRNA": ["AACCA", "AACCT"]}))
    with pytest.raises(ParameterError) as wrong:
        call_cells(reads, LIBRARY, sort_calls="size", distance_metric="euclid", n_barcodes=1)
    assert len(wrong.value.findings) == 3
