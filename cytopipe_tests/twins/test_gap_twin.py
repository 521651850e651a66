"""The compiled gap core gives what the definition gives, on any small matrix, ties and all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytopipe.decompose.gap import gap_core, without_triangle_violations
from cytopipe_tests.twins.plain_gap import plain_gap_core, plain_triangle_filter

# Few distinct values make ties, which is where two orders of merging part.
distances = st.sampled_from([0.0, 0.002, 0.004, 0.0049, 0.008, 0.012, 0.02, 0.021, 0.03, 0.08, 0.1, 0.25])


@st.composite
def matrices(draw) -> np.ndarray:
    n = draw(st.integers(1, 9))
    values = draw(st.lists(distances | st.floats(0, 0.25), min_size=n * n, max_size=n * n))
    half = np.triu(np.reshape(np.array(values, float), (n, n)), 1)
    return half + half.T


@pytest.mark.parametrize(
    ("method", "triangle_filter", "alpha"),
    [("global", False, 0.0), ("global", True, 0.0), ("local", False, 0.0), ("local", False, 0.5)],
)
@settings(max_examples=150, deadline=None)
@given(matrices(), st.sampled_from([(0.005, 0.02, 95.0), (0.003, 0.012, 90.0), (0.01, 0.04, 100.0)]))
def test_partition_and_gap_are_those_of_the_definition(method, triangle_filter, alpha, D, numbers):
    min_split, max_lump, percentile = numbers
    given_to_both = {
        "min_split": min_split,
        "max_lump": max_lump,
        "percentile": percentile,
        "method": method,
        "triangle_filter": triangle_filter,
        "alpha": alpha,
    }
    ours = gap_core(D, **given_to_both)
    clusters, gap = plain_gap_core(D, **given_to_both)
    assert ours.gap == pytest.approx(gap, abs=1e-12)
    if {frozenset(c) for c in ours.clusters} != clusters:
        # Sums in another order differ in the last bit: then two partitions are equally good, and no other.
        assert abs(ours.gap - gap) < 1e-12


@settings(max_examples=150, deadline=None)
@given(matrices())
def test_the_triangle_filter_ignores_what_its_definition_ignores(D):
    np.testing.assert_array_equal(without_triangle_violations(D), plain_triangle_filter(D))


@settings(max_examples=50, deadline=None)
@given(matrices(), st.sampled_from(["global", "local"]))
def test_every_sequence_is_in_exactly_one_cluster(D, method):
    result = gap_core(D, method=method)
    assert sorted(k for cluster in result.clusters for k in cluster) == list(range(len(D)))
