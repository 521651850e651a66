"""Small atlases for the tests: one set of cells, written in every form a file can have."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from cytopipe.atlas import Level

LEVELS = (Level("fine", ("fine",)), Level("organ_type", ("tissue", "coarse")), Level("coarse", ("coarse",)))
FORMS = ("csr", "csc", "dense")


def small_cells(n_cells: int = 400, n_genes: int = 60, seed: int = 0) -> ad.AnnData:
    """Cells with an empty one, a silent gene, large counts, missing labels and samples."""
    rng = np.random.default_rng(seed)
    X = rng.poisson(rng.gamma(0.4, 3.0, n_genes), (n_cells, n_genes)).astype(np.float32)
    X[5] = 0
    X[:, 7] = 0
    X[:, 8] = X[:, 8] * 400
    fine = np.array([f"t{number}" for number in range(6)], object)[rng.integers(0, 6, n_cells)]
    coarse = np.array(["B", "T", "NK"], object)[rng.integers(0, 3, n_cells)]
    sample = np.array([f"s{number}" for number in range(8)], object)[rng.integers(0, 8, n_cells)]
    tissue = np.array(["Blood", "Lung"], object)[rng.integers(0, 2, n_cells)]
    fine[rng.random(n_cells) < 0.05] = None
    sample[rng.random(n_cells) < 0.05] = None
    tissue[rng.random(n_cells) < 0.05] = None
    fine[:9] = "rare"  # nine cells: one too few
    donor = np.array([None if s is None else f"d{int(s[1:]) // 2}" for s in sample], object)
    obs = pd.DataFrame(
        {"fine": fine, "coarse": coarse, "sample": sample, "tissue": tissue, "donor": donor},
        index=[f"c{number}" for number in range(n_cells)],
    )
    obs = obs.astype("category")
    return ad.AnnData(X, obs, pd.DataFrame(index=[f"G{number}" for number in range(n_genes)]))


def write(
    cells: ad.AnnData, path: Path, form: str = "csr", dtype: str = "float32", compression: str | None = "gzip"
) -> Path:
    """Write cells in a form; the object itself stays as it is."""
    X = np.asarray(cells.X, dtype)
    made = {"csr": sp.csr_matrix, "csc": sp.csc_matrix, "dense": np.asarray}[form](X)
    twin = ad.AnnData(made, cells.obs.copy(), cells.var.copy())
    if path.suffix == ".zarr":
        twin.write_zarr(path)
    else:
        twin.write_h5ad(path, compression=compression)
    return path


def labels(cells: ad.AnnData, column: str) -> list[str | None]:
    """A column as plain strings and None."""
    return [None if pd.isna(value) else str(value) for value in cells.obs[column]]


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Content of every h5ad of a folder, by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.h5ad"))}
