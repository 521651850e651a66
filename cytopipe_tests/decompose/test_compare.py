"""Agreement of two partitions equals what scikit-learn computes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, homogeneity_completeness_v_measure

from cytopipe.decompose.compare import compare_partitions

LABELS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40)


@settings(max_examples=200, deadline=None)
@given(LABELS)
def test_agreement_equals_scikit_learn(labels):
    ours, theirs = ([str(one[side]) for one in labels] for side in (0, 1))
    found = compare_partitions(dict(enumerate(ours)), dict(enumerate(theirs)))
    assert found.adjusted_rand_index == pytest.approx(adjusted_rand_score(theirs, ours))
    homogeneity, completeness, v_measure = homogeneity_completeness_v_measure(theirs, ours)
    assert found.homogeneity == pytest.approx(homogeneity)
    assert found.completeness == pytest.approx(completeness)
    assert found.v_measure == pytest.approx(v_measure, abs=1e-12)
