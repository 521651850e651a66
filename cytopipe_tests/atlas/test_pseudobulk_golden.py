"""Pseudobulk against the reference implementation's own outputs, and its parity bootstrap."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from cytopipe.atlas import Level, Settings, aggregate
from cytopipe.errors import InputError

CASES = {
    "g1_default": {f"L{number}": f"cell_type_l{number}" for number in range(1, 5)},
    "g3_composite": {"celltype": "cellType1", "organ_celltype": "tissue+cellType1", "organ": "tissue"},
}


@pytest.fixture(scope="module", params=CASES)
def case(request, golden, tmp_path_factory):
    """One golden case run with the parity bootstrap: its folder, its arrays, its levels."""
    folder = tmp_path_factory.mktemp(request.param)
    levels = [Level.parse(f"{name}={columns}") for name, columns in CASES[request.param].items()]
    settings = Settings(bootstrap="parity")
    aggregate(
        golden / "atlas/input.h5ad", levels, folder, atlas="synth", sample="sample", settings=settings,
        use_gpu=False,
    )  # fmt: skip
    with np.load(golden / f"atlas/{request.param}.npz", allow_pickle=False) as arrays:
        expected = {name: arrays[name] for name in arrays}
    return folder, expected, [level.file_part for level in levels]


def test_groups_sums_profiles_and_statistics_agree_with_the_reference(case):
    """Groups and cells equal; X, counts, z-scores, means and deviations to 1e-4."""
    folder, expected, levels = case
    for level in levels:
        made = ad.read_h5ad(folder / f"synth_pseudobulk_{level}.h5ad")
        assert list(made.obs["cell_type"]) == list(expected[f"{level}/cell_type"])
        assert list(made.obs["n_cells"]) == list(expected[f"{level}/n_cells"])
        assert list(made.var_names) == list(expected["var_names"])
        found = {"X": made.X, "counts": made.layers["counts"], "zscore": made.layers["zscore"]}
        found |= {name: made.uns["atlas_stats"][name] for name in ("gene_mean", "gene_std")}
        for name, values in found.items():
            np.testing.assert_allclose(
                values, expected[f"{level}/{name}"], 1e-4, 1e-4, err_msg=f"{level} {name}"
            )


def test_the_parity_bootstrap_repeats_the_resamples_of_the_reference(case):
    """Same generator, same draws, same averaging of CPM: resamples agree to 1e-4."""
    folder, expected, levels = case
    for level in levels:
        made = ad.read_h5ad(folder / f"synth_pseudobulk_{level}_resampled.h5ad")
        names = expected[f"{level}_resampled/cell_type"]
        resamples = made.X.reshape(len(names), 100, -1)
        assert list(made.obs["cell_type"].iloc[::100]) == list(names)
        assert list(made.obs["bootstrap_idx"]) == list(range(100)) * len(names)
        first = resamples[:, :3].reshape(3 * len(names), -1)
        np.testing.assert_allclose(first, expected[f"{level}_resampled/first3"], 1e-4, 1e-4)
        np.testing.assert_allclose(resamples.mean(1), expected[f"{level}_resampled/mean"], 1e-4, 1e-4)


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
