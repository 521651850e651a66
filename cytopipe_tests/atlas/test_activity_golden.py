"""The exact moments against the sampled ones of the reference; its own numbers are parity cases."""

from __future__ import annotations

import numpy as np
import pytest

from cytopipe.atlas.activity import ActivitySettings, score
from cytopipe.atlas.signatures import load_signature
from cytopipe.errors import MissingToolError


def test_exact_moments_lie_within_sampling_error_of_the_references(golden):
    """1000 permutations know the standard error to about 1/sqrt(2000) = 2.2 %; six sigma are 13 %."""
    try:
        signature = load_signature("cytosig")
    except MissingToolError as error:
        pytest.skip(str(error))
    profiles = np.load(golden / "atlas" / "g1_default.npz")
    expected = np.load(golden / "atlas" / "activity_cytosig_l2.npz")
    settings = ActivitySettings(regularization=5e5, scale_signature=False, n_permutations=0)
    found = score(profiles["l2/X"], profiles["var_names"].tolist(), signature, settings)
    assert list(found.overlap.common) == expected["genes"].tolist()
    np.testing.assert_allclose(found.se.T, expected["colscale_srand_se"], rtol=0.14)
    assert np.abs(found.z.T - expected["colscale_srand_zscore"]).max() < 0.5
