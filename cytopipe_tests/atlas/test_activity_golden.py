"""The activity of the golden pseudobulk, against the reference's own numbers."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cytopipe.atlas.activity import ActivitySettings, score
from cytopipe.atlas.signatures import Signature, load_signature
from cytopipe.errors import MissingToolError


class _NamesOnly(pickle.Unpickler):
    """Reads an array of names that was saved as objects, and nothing that could act."""

    def find_class(self, module: str, name: str) -> object:
        if (module.replace("numpy.core", "numpy._core"), name) in {
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }:
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed")


def names(archive: Path, member: str) -> list[str]:
    stream = io.BytesIO(zipfile.ZipFile(archive).read(f"{member}.npy"))
    np.lib.format.read_magic(stream)
    np.lib.format.read_array_header_1_0(stream)
    return [str(name) for name in _NamesOnly(stream).load()]


@pytest.fixture(scope="module")
def cytosig() -> Signature:
    try:
        return load_signature("cytosig")
    except MissingToolError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def case(golden):
    """Profiles of level L2 (groups x genes), their genes, and the reference's results."""
    profiles = np.load(golden / "atlas" / "g1_default.npz")
    return (
        profiles["l2/X"],
        profiles["var_names"].tolist(),
        np.load(golden / "atlas" / "activity_cytosig_l2.npz"),
    )


def reference(**changes) -> ActivitySettings:
    return ActivitySettings(
        **{
            "regularization": 5e5,
            "scale_signature": False,
            "moments": "sampled",
            "n_permutations": 1000,
            "seed": 42,
            **changes,
        }
    )


@pytest.mark.parametrize("stream", ["srand", "numpy"])
@pytest.mark.parametrize(
    ("label", "expression"), [("raw", "raw"), ("colscale", "scaled"), ("rowcenter", "row_centred")]
)
def test_reference_settings_give_the_reference_numbers(case, cytosig, label, expression, stream):
    """beta, se and z to rounding, and every p exactly, from either of the reference's generators."""
    values, genes, expected = case
    found = score(values, genes, cytosig, reference(expression=expression, stream=stream))
    assert_equals(found, expected, f"{label}_{stream}")


def test_the_analytical_t_of_the_reference_is_reproduced(case, cytosig):
    values, genes, expected = case
    assert_equals(score(values, genes, cytosig, reference(null="student")), expected, "colscale_ttest")


def test_both_sides_scaled_with_cytosigs_own_penalty_is_reproduced(case, cytosig):
    values, genes, expected = case
    settings = reference(scale_signature=True, regularization=None, stream="srand", seed=0)
    assert_equals(score(values, genes, cytosig, settings), expected, "bothscaled_l1e4")


def test_names_and_order_are_those_of_the_reference(case, cytosig, golden):
    values, genes, expected = case
    found = score(values, genes, cytosig, ActivitySettings(n_permutations=0))
    assert list(found.overlap.common) == expected["genes"].tolist()
    assert list(found.targets) == names(golden / "atlas" / "activity_cytosig_l2.npz", "features")


def test_exact_moments_lie_within_sampling_error_of_the_references(case, cytosig):
    """1000 permutations know the standard error to about 1/sqrt(2000) = 2.2 %; six sigma are 13 %."""
    values, genes, expected = case
    settings = ActivitySettings(regularization=5e5, scale_signature=False, n_permutations=0)
    found = score(values, genes, cytosig, settings)
    np.testing.assert_allclose(found.se.T, expected["colscale_srand_se"], rtol=0.14)
    assert np.abs(found.z.T - expected["colscale_srand_zscore"]).max() < 0.5


def assert_equals(found, expected, label):
    for ours, theirs in (("beta", "beta"), ("se", "se"), ("z", "zscore")):
        wanted = expected[f"{label}_{theirs}"]
        np.testing.assert_allclose(
            getattr(found, ours).T,
            wanted,
            rtol=0,
            atol=1e-9 * np.abs(wanted).max(),
            err_msg=f"{label} {ours}",
        )
    np.testing.assert_allclose(found.pvalue.T, expected[f"{label}_pvalue"], rtol=1e-12, atol=0)
