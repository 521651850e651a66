"""The statistics of validation against SciPy, R's formulae and slow plain twins."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import stats

from cytopipe.atlas.meta import fisher_z, meta_analyse, meta_analyse_correlations
from cytopipe.atlas.statistics import (
    benjamini_hochberg,
    kendall_w,
    pearson,
    percentile_interval,
    spearman,
    spearman_rows,
)
from cytopipe.errors import InputError

small = st.integers(-5, 5).map(float)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(3, 25).flatmap(
        lambda n: st.tuples(npst.arrays(float, n, elements=small), npst.arrays(float, n, elements=small))
    )
)
def test_spearman_equals_scipys_with_ties(pair):
    a, b = pair
    rho, pvalue, n = spearman(a, b)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        assert np.isnan(rho) and np.isnan(pvalue)
        return
    expected = stats.spearmanr(a, b)
    assert rho == pytest.approx(expected.statistic, abs=1e-12)
    assert pvalue == pytest.approx(expected.pvalue, abs=1e-9)
    assert n == a.size
    assert spearman_rows(a[None], b[None])[0] == pytest.approx(rho, abs=1e-12)


@given(npst.arrays(float, st.integers(3, 20), elements=st.floats(-100, 100)))
def test_a_ranking_agrees_fully_with_itself_and_not_with_its_reverse(values):
    if np.ptp(values) == 0:
        return
    assert spearman(values, values)[:2] == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-6))
    assert spearman(values, -values)[0] == pytest.approx(-1.0)


def test_pairs_with_a_missing_side_do_not_count():
    a = np.array([1.0, 2, np.nan, 4, 5, 6])
    b = np.array([2.0, 1, 9, np.nan, 5, 7])
    assert spearman(a, b)[2] == 4
    assert spearman(a, b)[0] == pytest.approx(stats.spearmanr([1, 2, 5, 6], [2, 1, 5, 7])[0])
    assert np.isnan(spearman(a[:3], b[:3])[0])


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_pearson_keeps_its_value_at_any_scale(scale):
    x, y = np.array([1.0, 2, 4, 3]), np.array([2.0, 1, 5, 4])
    assert pearson(x * scale, y / scale) == pytest.approx(stats.pearsonr(x, y)[0])


@settings(max_examples=100)
@given(npst.arrays(float, st.integers(1, 30), elements=st.floats(0, 1)))
def test_false_discovery_rates_equal_scipys_and_the_definition(pvalues):
    adjusted = benjamini_hochberg(pvalues)
    np.testing.assert_allclose(adjusted, stats.false_discovery_control(pvalues), atol=1e-12)
    m = len(pvalues)
    plain = [min(1.0, min(q * m / (np.sum(pvalues <= q)) for q in pvalues if q >= p)) for p in pvalues]
    np.testing.assert_allclose(adjusted, plain, atol=1e-12)


def test_missing_p_values_do_not_count_as_tests():
    found = benjamini_hochberg(np.array([0.01, np.nan, 0.04]))
    np.testing.assert_allclose(found, [0.02, np.nan, 0.04])
    stacked = benjamini_hochberg(np.array([[0.01, 0.5], [np.nan, 0.01], [0.04, 0.02]]), axis=0)
    np.testing.assert_allclose(stacked, [[0.02, 0.5], [np.nan, 0.03], [0.04, 0.03]])


def test_kendalls_w_of_three_judges_is_twelve_s_over_its_largest():
    """Rank sums 8, 14, 11, 9, 13, 8 lie 33.5 squared around 10.5; W = 12 * 33.5 / (3^2 (6^3 - 6))."""
    ratings = np.array([[1, 6, 3, 2, 5, 4], [1, 5, 6, 2, 4, 3], [6, 3, 2, 5, 4, 1]], dtype=float)
    assert kendall_w(ratings) == pytest.approx(402 / 1890)


@settings(max_examples=60, deadline=None)
@given(npst.arrays(float, st.tuples(st.integers(3, 6), st.integers(3, 8)), elements=small))
def test_kendalls_w_is_friedmans_chi_square_over_its_largest_value(ratings):
    found = kendall_w(ratings)
    if all(np.ptp(row) == 0 for row in ratings):
        assert np.isnan(found)
        return
    statistic = stats.friedmanchisquare(*ratings.T)[0]
    assert found == pytest.approx(statistic / (ratings.shape[0] * (ratings.shape[1] - 1)), abs=1e-9)
    assert 0 <= found <= 1


def test_w_needs_two_raters_and_three_items():
    assert np.isnan(kendall_w(np.ones((1, 5)))) and np.isnan(kendall_w(np.array([[1.0, 2], [1, 2]])))
    assert kendall_w(np.array([[1.0, 2, 3], [10, 20, 30]])) == 1.0


def test_a_percentile_interval_leaves_missing_values_out():
    assert percentile_interval(np.r_[np.arange(101.0), np.nan]) == (2.5, 97.5)
    assert all(np.isnan(percentile_interval(np.array([np.nan]))))


# --------------------------------------------------------------------------- meta-analysis


def plain_random_effects(y: list[float], v: list[float]) -> dict[str, float]:
    """DerSimonian and Laird as printed, one sum at a time."""
    w = [1 / one for one in v]
    fixed = sum(a * b for a, b in zip(w, y, strict=True)) / sum(w)
    q = sum(a * (b - fixed) ** 2 for a, b in zip(w, y, strict=True))
    c = sum(w) - sum(a * a for a in w) / sum(w)
    tau2 = max(0.0, (q - (len(y) - 1)) / c) if len(y) > 1 else 0.0
    star = [1 / (one + tau2) for one in v]
    effect = sum(a * b for a, b in zip(star, y, strict=True)) / sum(star)
    return {"effect": effect, "se": sum(star) ** -0.5, "q": q, "tau_squared": tau2}


@settings(max_examples=100)
@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(0.01, 5)), min_size=1, max_size=8))
def test_pooling_equals_the_printed_formulae(studies):
    y, v = [list(column) for column in zip(*studies, strict=True)]
    found = meta_analyse(y, v)
    for name, value in plain_random_effects(y, v).items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-9), name
    assert sum(found.weights) == pytest.approx(1.0)
    assert min(y) - 1e-9 <= found.effect <= max(y) + 1e-9
    assert 0 <= found.i_squared < 1
    assert found.ci_low < found.effect < found.ci_high


def test_a_published_meta_analysis_is_reproduced():
    """BCG vaccine trials (Colditz 1994), log risk ratios: metafor's `rma(method="DL")` says
    -0.7141 (se 0.1787), tau^2 0.3088, I^2 92.12 %, Q 152.23."""
    tuberculosis = [4, 6, 3, 62, 33, 180, 8, 505, 29, 17, 186, 5, 27]
    healthy = [119, 300, 228, 13536, 5036, 1361, 2537, 87886, 7470, 1699, 50448, 2493, 16886]
    control_ill = [11, 29, 11, 248, 47, 372, 10, 499, 45, 65, 141, 3, 29]
    control_well = [128, 274, 209, 12619, 5761, 1079, 619, 87892, 7232, 1600, 27197, 2338, 17825]
    y, v = [], []
    for a, b, c, d in zip(tuberculosis, healthy, control_ill, control_well, strict=True):
        y.append(np.log((a / (a + b)) / (c / (c + d))))
        v.append(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d))
    found = meta_analyse(y, v)
    assert found.effect == pytest.approx(-0.7141, abs=5e-5)
    assert found.se == pytest.approx(0.1787, abs=5e-5)
    assert found.tau_squared == pytest.approx(0.3088, abs=5e-5)
    assert found.i_squared == pytest.approx(0.9212, abs=5e-5)
    assert found.q == pytest.approx(152.2330, abs=5e-4)


def test_pooled_and_error_stand_on_the_same_random_weights():
    """With large disagreement a big atlas does not drown the small ones."""
    found = meta_analyse([0.0, 1.0, 1.0], [0.001, 0.1, 0.1])
    assert found.effect > 0.4
    assert found.weights[0] < 0.5
    by_hand = 1 / (np.array([0.001, 0.1, 0.1]) + found.tau_squared)
    assert found.se == pytest.approx(by_hand.sum() ** -0.5)
    np.testing.assert_allclose(found.weights, by_hand / by_hand.sum())


def test_order_of_atlases_changes_only_the_order_of_weights():
    y, v = [0.2, 0.9, -0.1], [0.01, 0.02, 0.05]
    first = meta_analyse(y, v)
    for order in itertools.permutations(range(3)):
        other = meta_analyse([y[i] for i in order], [v[i] for i in order])
        assert other.effect == pytest.approx(first.effect, rel=1e-12)
        assert other.weights == pytest.approx([first.weights[i] for i in order])


def test_correlations_pool_on_fishers_scale_and_return_as_r():
    found = meta_analyse_correlations([0.5, 0.6], [50, 80])
    z = np.arctanh([0.5, 0.6])
    assert found.effect == pytest.approx(np.tanh((47 * z[0] + 77 * z[1]) / 124))
    assert -1 < found.ci_low < found.effect < found.ci_high < 1
    assert fisher_z(0.5, 28) == (pytest.approx(0.549306, abs=1e-6), 1 / 25)


def test_a_perfect_correlation_stays_finite():
    found = meta_analyse_correlations([1.0, -1.0], [10, 10])
    assert np.isfinite([found.effect, found.se, found.q]).all()


@pytest.mark.parametrize(
    ("effects", "variances"),
    [([], []), ([1.0], [0.0]), ([1.0], [-1.0]), ([np.nan], [1.0]), ([1.0, 2.0], [1.0]), ([np.inf], [1.0])],
)
def test_what_cannot_be_pooled_is_refused(effects, variances):
    with pytest.raises(InputError):
        meta_analyse(effects, variances)


@pytest.mark.parametrize(("r", "n"), [(1.1, 10), (0.5, 3), (float("nan"), 10)])
def test_what_has_no_fisher_z_is_refused(r, n):
    with pytest.raises(InputError, match="no Fisher z"):
        fisher_z(r, n)
