"""Bootstrap weights: what they depend on, how they are distributed, and that their spread is the true one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytopipe.atlas import resample_weights
from cytopipe.atlas.bootstrap import assign_slots, name_keys, parity_indices, poisson_weights
from cytopipe.errors import ParameterError
from cytopipe_tests.twins import plain_pseudobulk as plain


@given(st.lists(st.text(max_size=8), min_size=1, max_size=5, unique=True), st.integers(0, 2**63 - 1))
@settings(max_examples=40, deadline=None)
def test_weights_equal_the_plain_ones(names, seed):
    """Hash, streams and inversion in Python's own integers."""
    found = resample_weights(names, 3, seed)
    assert found.tolist() == [[plain.weight(name, b, seed) for name in names] for b in range(3)]


@given(st.permutations(range(6)), st.integers(1, 6))
@settings(deadline=None)
def test_a_weight_depends_on_its_name_alone(order, kept):
    """Other names, their order and the number of resamples change nothing."""
    names = [f"s{number}" for number in range(6)]
    all_of_them = resample_weights(names, 5)
    some = resample_weights([names[number] for number in order[:kept]], 4)
    assert np.array_equal(some, all_of_them[:4, order[:kept]])


def test_weights_are_poisson_and_uncorrelated():
    """Mean and variance 1, the right share of each value, no correlation of resamples, names or seeds."""
    names = [f"cell{number}" for number in range(4000)]
    weights = resample_weights(names, 100)
    assert weights.mean() == pytest.approx(1, abs=0.006)
    assert weights.var() == pytest.approx(1, abs=0.01)
    shares = np.bincount(weights.ravel(), minlength=6)[:6] / weights.size
    np.testing.assert_allclose(shares, np.exp(-1) / np.array([1, 1, 2, 6, 24, 120]), atol=0.002)
    assert np.abs(np.corrcoef(weights[:20]) - np.eye(20)).max() < 0.08
    other = resample_weights(names, 100, seed=1)
    assert abs(np.corrcoef(weights.ravel(), other.ravel())[0, 1]) < 0.006


def test_the_spread_of_resampled_means_is_the_standard_error_of_the_mean():
    """At 5, 12 and 40 samples: ratio of bootstrap to true standard error within 7%, where multinomial
    draws would be 11% too small at 5."""
    rng = np.random.default_rng(0)
    for n in (5, 12, 40):
        ratios = []
        for trial in range(300):
            values = rng.normal(10, 1, n)
            names = [f"{trial}-{number}" for number in range(n)]
            weights = resample_weights(names, 200)
            weights = weights[weights.sum(axis=1) > 0]
            means = weights @ values / weights.sum(axis=1)
            ratios.append(means.var())
        assert np.sqrt(np.mean(ratios) * n) == pytest.approx(1, abs=0.07), n


def test_a_group_whose_samples_all_drew_zero_draws_again():
    """With one sample per group a third of the resamples need it; none ends empty, others keep theirs."""
    keys = name_keys([f"s{number}" for number in range(4)])
    groups = [np.array([number]) for number in range(3)] + [np.arange(4)]
    slots = assign_slots([groups], keys, 60, 0)
    weights = poisson_weights(keys, 0, slots.resample, slots.attempt)
    redrawn = 0
    for group, members in enumerate(groups):
        taken = slots.of_group[0][group]
        assert (weights[members][:, taken].sum(axis=0) > 0).all()
        assert np.array_equal(slots.resample[taken], np.arange(60))
        first = weights[members][:, :60].sum(axis=0)
        assert np.array_equal(taken < 60, first > 0)
        redrawn += np.count_nonzero(taken >= 60)
    assert 30 < redrawn < 100


def test_parity_draws_are_those_of_one_generator_per_level():
    """The reference draws groups in order of name from default_rng(42)."""
    generator = np.random.default_rng(42)
    for drawn, n in zip(parity_indices([5, 8], 10), [5, 8], strict=True):
        assert np.array_equal(drawn, generator.choice(n, (10, n)))


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_told(seed):
    """Seeds are 63 bits."""
    with pytest.raises(ParameterError, match="seed"):
        resample_weights(["a"], 1, seed)


def test_the_draws_of_the_reference_follow_the_seed():
    """Left at 0 they are the reference's own, of seed 42; any other seed gives draws of its own."""
    own = parity_indices([5, 8], 20)
    generator = np.random.default_rng(42)
    assert all(
        np.array_equal(drawn, generator.choice(n, size=(20, n))) for n, drawn in zip((5, 8), own, strict=True)
    )
    other = parity_indices([5, 8], 20, seed=7)
    assert not np.array_equal(own[0], other[0])
    assert np.array_equal(other[0], np.random.default_rng(7).choice(5, size=(20, 5)))
