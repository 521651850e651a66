"""Normalised golden input is refused or read from its counts; the reference's numbers are parity cases."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from cytopipe.atlas import Level
from cytopipe.commands.atlas_profiles import aggregate
from cytopipe.errors import InputError


def test_a_normalised_matrix_is_refused_with_what_was_found_and_where_counts_are(golden, tmp_path: Path):
    """X holds fractions, a layer holds the counts: the error says both, nothing is written."""
    path = golden / "atlas/input_lognorm.h5ad"
    with pytest.raises(InputError, match=r"X does not hold counts.*log-normalised.*--counts layers/counts"):
        aggregate(path, [Level("l1", ("cell_type_l1",))], tmp_path, sample="sample")
    assert not list(tmp_path.glob("*.h5ad"))


def test_counts_beside_a_normalised_matrix_can_be_chosen(golden, tmp_path: Path):
    """With counts='auto' the layer is found, and gives what the counts themselves give."""
    level = [Level("l1", ("cell_type_l1",))]
    for name, counts in (("input", "X"), ("input_lognorm", "auto")):
        aggregate(
            golden / f"atlas/{name}.h5ad", level, tmp_path / name, atlas="a", sample="sample", counts=counts
        )
    read = [
        ad.read_h5ad(tmp_path / name / "a_pseudobulk_l1_resampled.h5ad").X
        for name in ("input", "input_lognorm")
    ]
    assert np.array_equal(*read)
