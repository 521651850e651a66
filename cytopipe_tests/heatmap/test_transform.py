"""Transforms of intensities, against their definitions and FlowUtils."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from cytopipe.errors import ParameterError
from cytopipe.heatmap import TransformSettings
from cytopipe.heatmap.cells import transform

VALUES = npst.arrays(
    np.float64, npst.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(-1e5, 2.6e5)
)


@given(VALUES, st.floats(0.5, 1000))
def test_arcsinh_divides_by_the_cofactor(values, cofactor):
    found = transform(values, TransformSettings(cofactor=cofactor))
    assert np.array_equal(found, np.arcsinh(values / cofactor))


@given(VALUES)
def test_log_takes_what_is_below_0_as_0(values):
    found = transform(values, TransformSettings(method="log"))
    assert np.array_equal(found, np.log10(1 + np.clip(values, 0, None)))


@given(VALUES)
def test_logicle_is_the_inverse_of_its_biexponential(values):
    """Moore & Parks: intensity = a e^(b x) - c e^(-d x) + f; FlowUtils computes it from x."""
    import flowutils.transforms

    scale = transform(values, TransformSettings(method="logicle"))
    back = flowutils.transforms.logicle_inverse(scale, None, t=262144, m=4.5, w=0.5, a=0)
    assert np.allclose(back, values, rtol=1e-6, atol=1e-6)


def test_logicle_puts_the_top_of_the_scale_at_1_and_0_where_its_linear_part_ends():
    found = transform(np.array([[262144.0], [0.0]]), TransformSettings(method="logicle", logicle_w=0.5))
    assert np.allclose(found[:, 0], [1, 0.5 / 4.5])


@pytest.mark.parametrize("method", ["arcsinh", "logicle", "log", "none"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_type_of_the_values_stays_and_they_are_not_changed(method, dtype):
    values = np.linspace(-100, 1e5, 30, dtype=dtype).reshape(10, 3)
    before = values.copy()
    found = transform(values, TransformSettings(method=method))
    assert found.dtype == dtype and found is not values
    assert np.array_equal(values, before)
    assert (np.diff(found[:, 0]) >= 0).all()


def test_zscore_and_quantile_bring_markers_onto_one_scale():
    values = np.random.default_rng(0).lognormal(size=(5_000, 3)) * [1, 100, 0]
    scaled = transform(values, TransformSettings(method="none", scale="zscore"))
    assert np.allclose(scaled.mean(axis=0), 0) and np.allclose(scaled.std(axis=0), [1, 1, 0])
    scaled = transform(values, TransformSettings(method="none", scale="quantile"))
    assert np.allclose(np.quantile(scaled, 0.999, axis=0), [1, 1, 0])


@pytest.mark.parametrize("wrong", [{"logicle_w": 3.0}, {"logicle_w": 2.0, "logicle_a": 1.0}])
def test_a_logicle_scale_that_cannot_be_is_refused(wrong):
    with pytest.raises(ParameterError, match="logicle"):
        TransformSettings(method="logicle", **wrong)
