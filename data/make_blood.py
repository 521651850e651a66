"""Makes the atlases of the example project: 700 real blood cells, from a file that scanpy carries.

    python data/make_blood.py SOURCE [DIRECTORY] [SIGNATURE]
        SOURCE: scanpy-*.whl, or 10x_pbmc68k_reduced.h5ad; SIGNATURE: CytoSig.tsv.gz of a secactpy wheel

Writes atlas/blood.h5ad, and its two halves (every other cell), blood_1.h5ad and blood_2.h5ad, so that there
are two atlases to compare. With SIGNATURE also atlas/cytosig.tsv: the rows of CytoSig (Jiang et al. 2021,
Nature Methods 18:1181; as secactpy distributes it, MIT) for genes that these cells have.

The cells are a sample of the 68,000 peripheral blood cells of Zheng et al. 2017 (Nature Communications
8:14049; 10x Genomics, CC BY 4.0), 765 variable genes, as scanpy distributes them (BSD 3-clause) for its
tutorials: by then normalised and scaled. Whole counts come back as round(expm1(raw) * n_counts / 10^4); cell
types, clusters, cell cycle and quality stay. `pip download --no-deps scanpy==1.11.5` fetches the wheel.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

NAME = "10x_pbmc68k_reduced.h5ad"


def main() -> None:
    source = Path(sys.argv[1])
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent
    (folder / "atlas").mkdir(parents=True, exist_ok=True)
    target = folder / "atlas" / "blood.h5ad"
    cells = counts_of(published(source))
    for path, some in ((target, cells), *halves_of(cells, target)):
        some.write_h5ad(path, compression="gzip")
        print(f"{path}: {some.n_obs} cells, {some.n_vars} genes, {int(some.X.sum()):,} counts")
    if len(sys.argv) > 3:
        weights = pd.read_csv(sys.argv[3], sep="\t", index_col=0)
        weights = weights.loc[weights.index.isin(cells.var_names)].round(5)
        weights.to_csv(target.with_name("cytosig.tsv"), sep="\t", lineterminator="\n")
        print(f"{target.with_name('cytosig.tsv')}: {len(weights)} genes, {weights.shape[1]} cytokines")


def halves_of(cells: ad.AnnData, target: Path) -> list[tuple[Path, ad.AnnData]]:
    """Every other cell, and the rest."""
    return [(target.with_name(f"blood_{1 + i}.h5ad"), cells[i::2].copy()) for i in range(2)]


def published(source: Path) -> ad.AnnData:
    """The file as scanpy distributes it."""
    warnings.filterwarnings("ignore")  # its form is older than anndata 0.7
    if source.suffix != ".whl":
        return ad.read_h5ad(source)
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(source) as wheel:
        (member,) = [one for one in wheel.namelist() if one.endswith(NAME)]
        return ad.read_h5ad(wheel.extract(member, folder))


def counts_of(cells: ad.AnnData) -> ad.AnnData:
    """The cells with whole counts."""
    counts = np.expm1(cells.raw.X.toarray()) * cells.obs["n_counts"].to_numpy()[:, None] / 1e4
    obs = cells.obs[["bulk_labels", "louvain", "phase", "n_genes", "percent_mito"]].copy()
    obs = obs.rename(columns={"bulk_labels": "cell_type", "louvain": "cluster"})
    var = cells.raw.var[[]].copy()
    return ad.AnnData(sp.csr_matrix(np.round(counts).astype(np.float32)), obs, var)


if __name__ == "__main__":
    main()
