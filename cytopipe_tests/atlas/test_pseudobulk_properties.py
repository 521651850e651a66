"""What must hold for any cells: counts are conserved, logs are exact, every label tuple has its place."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cytopipe.atlas import Level
from cytopipe.atlas.kernels import accumulate_rows, fixed_point_bits
from cytopipe.atlas.labels import Labels, join_labels, joint_units, label_codes
from cytopipe.atlas.logarithm import log1p_cpm
from cytopipe.atlas.profiles import atlas_statistics
from cytopipe_tests.twins import plain_pseudobulk as plain

_COUNTS = arrays(np.int64, st.tuples(st.integers(2, 12), st.integers(1, 9)), elements=st.integers(0, 40))


def _accumulate(X: np.ndarray, unit: np.ndarray):
    n_genes, n_units = X.shape[1], int(unit.max()) + 1
    rows, columns = np.nonzero(X)
    indptr = np.searchsorted(rows, np.arange(len(X) + 1))
    sums, logs = np.zeros((n_units, n_genes), np.int64), np.zeros((n_genes, 2), np.int64)
    expressing, none = np.zeros((n_units, n_genes), np.int32), np.zeros((0, n_genes), np.int64)
    accumulate_rows(
        np.arange(len(X)), indptr, columns.astype(np.int32), X[rows, columns],
        np.arange(n_genes, dtype=np.int32), unit, *[np.arange(n_units, dtype=np.int32)] * 2,
        fixed_point_bits(len(X)), np.zeros(n_units, np.int64),
        sums, expressing, logs, none, none, np.zeros(0, np.int64), False,
    )  # fmt: skip
    return sums, expressing, logs


@given(_COUNTS, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_counts_are_conserved_and_statistics_equal_the_plain_ones(X, random):
    """Every count lands in exactly one unit; means and deviations to 10^-9."""
    unit = np.array([random.randrange(3) for _ in X], np.int32)
    sums, expressing, logs = _accumulate(X, unit)
    assert np.array_equal(sums.sum(axis=0), X.sum(axis=0))
    assert np.array_equal(expressing.sum(axis=0), (X > 0).sum(axis=0))
    mean, std = plain.atlas_statistics(X)
    found = atlas_statistics(logs, len(X))
    np.testing.assert_allclose(found.mean, mean, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(found.std, std, rtol=1e-7, atol=1e-5)


@given(st.lists(st.floats(0, 1e15, allow_subnormal=False), min_size=1, max_size=50))
@settings(deadline=None)
def test_the_logarithm_is_that_of_the_mathematics(values):
    """log1p to 10^-15 of itself beside 3 * 10^-16; exactly 0 at 0."""
    out = np.empty((1, len(values)))
    log1p_cpm(np.array([values]), np.array([1e6]), out)
    for value, found in zip(values, out[0], strict=True):
        assert abs(found - math.log1p(value)) <= 1e-15 * math.log1p(value) + 3e-16, value
    assert found >= 0


@given(st.integers(1, 2**40))
@settings(deadline=None)
def test_squared_logs_of_all_cells_fit_their_integers(n_cells):
    """The largest possible y^2 in every cell stays below 2^63; 10^7 cells keep 30 bits."""
    bits = fixed_point_bits(n_cells)
    assert n_cells * math.log1p(1e6) ** 2 * 2.0**bits < 2**63
    assert n_cells > 10**7 or bits >= 30


_LABELS = st.lists(st.sampled_from(["a", "b", "c_d", "é"]) | st.none(), min_size=6, max_size=6)


def _labels(values) -> Labels:
    names = sorted({value for value in values if value is not None})
    return Labels(np.array([names.index(v) if v is not None else -1 for v in values], np.int32), tuple(names))


@given(st.lists(_LABELS, min_size=1, max_size=4), _LABELS)
@settings(deadline=None)
def test_units_are_the_label_tuples_that_occur_whatever_the_order_of_cells(columns, samples):
    """Units and their groups equal those of the tuples themselves; reversing the cells renumbers nothing."""
    levels = [(Level(f"l{n}", (f"c{n}",)), _labels(column)) for n, column in enumerate(columns)]
    units = joint_units(levels, _labels(samples))
    tuples = list(zip(*columns, samples, strict=True))
    assert units.n_units == len(set(tuples))
    for cell, one in enumerate(tuples):
        unit = units.of_cell[cell]
        for (_, labels), grouping, label in zip(levels, units.groupings, one, strict=False):
            group = grouping.group_of_unit[unit]
            assert (labels.names[group] if group >= 0 else None) == label
        sample = units.sample_of_unit[unit]
        assert (units.samples[sample] if sample >= 0 else None) == one[-1]
    backwards = [(level, Labels(labels.codes[::-1], labels.names)) for level, labels in levels]
    mirrored = joint_units(backwards, _labels(samples[::-1]))
    assert np.array_equal(mirrored.of_cell[::-1], units.of_cell)
    assert np.array_equal(mirrored.n_cells, units.n_cells)


@given(_LABELS, _LABELS)
@settings(deadline=None)
def test_joined_labels_are_missing_where_a_part_is(one, two):
    """'a' + 'é' is 'a_é'; with a gap it is a gap."""
    joined = join_labels([_labels(one), _labels(two)], "test", separator="|")
    found = [joined.names[code] if code >= 0 else None for code in joined.codes]
    assert found == [None if None in pair else "|".join(pair) for pair in zip(one, two, strict=True)]


@given(st.lists(st.integers(-1, 3), max_size=20))
@settings(deadline=None)
def test_names_are_sorted_used_and_merged_where_equal(codes):
    """Categories may come in any order, unused, or twice under one name."""
    names = ["z", "a", "z", ""]
    labels = label_codes(np.array(codes, np.int8), names)
    found = [labels.names[code] if code >= 0 else None for code in labels.codes]
    assert found == [names[code] or None if code >= 0 else None for code in codes]
    assert list(labels.names) == sorted({name for name in found if name})
