"""Real cells: the 700 blood cells that travel in scanpy's wheel, their counts recovered."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cytopipe.atlas import Level, Settings, open_cells
from cytopipe.commands.atlas_profiles import aggregate
from cytopipe.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::anndata.OldFormatWarning")

LEVELS = [
    Level("labels", ("bulk_labels",)),
    Level("clusters", ("louvain",)),
    Level("cycle", ("phase", "bulk_labels")),
]


@pytest.fixture(scope="module")
def published() -> Path:
    """The file as published; scanpy itself is not imported."""
    try:
        listed = files("scanpy") or []
    except PackageNotFoundError:
        pytest.skip("scanpy is not installed: its wheel carries the 700 blood cells of this test")
    return next(Path(one.locate()) for one in listed if one.name == "10x_pbmc68k_reduced.h5ad")


@pytest.fixture(scope="module")
def recovered(published, tmp_path_factory) -> ad.AnnData:
    """Whole counts: round(expm1(raw) * n_counts / 10^4)."""
    cells = ad.read_h5ad(published)
    counts = np.round(np.expm1(cells.raw.X.toarray()) * cells.obs["n_counts"].to_numpy()[:, None] / 1e4)
    return ad.AnnData(sp.csr_matrix(counts.astype(np.float32)), cells.obs.copy(), cells.raw.var.copy())


def test_the_published_file_is_refused_and_so_are_its_values(published, tmp_path):
    """Its form is older than AnnData 0.7; written anew, X is scaled and raw log-normalised: all is told."""
    with pytest.raises(InputError, match=r"no obs data frame.*anndata 0\.7 or later"):
        open_cells(published)
    ad.read_h5ad(published).write_h5ad(tmp_path / "pbmc.h5ad")
    with pytest.raises(
        InputError, match=r"X: .*\(looks scaled or centred\); raw/X: .*\(looks log-normalised\)"
    ):
        open_cells(tmp_path / "pbmc.h5ad")
    with pytest.raises(InputError, match="no matrix holds counts"):
        open_cells(tmp_path / "pbmc.h5ad", counts="auto")


def test_sums_of_every_level_equal_those_of_pandas(recovered, tmp_path):
    """Ten labels, eleven clusters and their phases: counts equal those of a group-by."""
    recovered.write_h5ad(tmp_path / "pbmc.h5ad")
    settings = Settings(n_bootstrap=10, min_cells=1, bootstrap="cells")
    done = aggregate(tmp_path / "pbmc.h5ad", LEVELS, tmp_path, settings=settings)
    assert [level.n_groups for level in done.levels][:2] == [10, 11]
    frame = pd.DataFrame(recovered.X.toarray(), columns=recovered.var_names)
    for level in LEVELS:
        parts = [recovered.obs[column].astype(str).to_numpy() for column in level.columns]
        sums = frame.groupby(["_".join(one) for one in zip(*parts, strict=True)]).sum()
        made = ad.read_h5ad(tmp_path / f"pbmc_pseudobulk_{level.file_part}.h5ad")
        assert list(made.obs_names) == list(sums.index)
        assert np.array_equal(made.layers["counts"], sums.to_numpy())


def test_resamples_spread_as_the_standard_error_says(recovered, tmp_path):
    """Well expressed genes of large groups: bootstrap and delta method agree within sampling error."""
    recovered.write_h5ad(tmp_path / "pbmc.h5ad")
    settings = Settings(n_bootstrap=200, bootstrap="cells", min_cells=50)
    aggregate(tmp_path / "pbmc.h5ad", LEVELS[:1], tmp_path, settings=settings)
    main = ad.read_h5ad(tmp_path / "pbmc_pseudobulk_labels.h5ad")
    resampled = ad.read_h5ad(tmp_path / "pbmc_pseudobulk_labels_resampled.h5ad").X.reshape(
        main.n_obs, 200, -1
    )
    spread, expected = resampled.std(axis=1, ddof=1), main.layers["se"]
    well = main.layers["n_expressing"] > 0.5 * main.obs["n_cells"].to_numpy()[:, None]
    assert np.count_nonzero(well) > 300
    ratio = spread[well] / expected[well]
    assert np.median(ratio) == pytest.approx(1, abs=0.03)
    assert np.percentile(ratio, [2.5, 97.5]) == pytest.approx([1, 1], abs=0.25)
