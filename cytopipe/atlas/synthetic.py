"""Seeded atlases of any size, written as a stream: for tests, benchmarks and the example project.

An atlas is an h5ad with counts (CSR, CSC or dense), four annotation levels, samples, donors and tissues. Its
numbers of cells, genes and samples are parameters. Cells are drawn in blocks that depend only on the seed and
their own number, so memory stays flat and a larger atlas begins with the cells of a smaller one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata.io import write_elem
from numba import njit

from cytopipe.errors import ParameterError

__all__ = ["SyntheticAtlas", "write_synthetic_atlas"]

_BLOCK = 5_000
_TABLES = 110  # label tuples, as many as an atlas with 144 groups in four levels has
_LEVELS = {"l1": 6, "l2": 27, "l3": 38, "l4": 73}


@dataclass(frozen=True)
class SyntheticAtlas:
    """What to draw.

    Parameters
    ----------
    n_cells, n_genes, n_samples : int
    counts_per_cell : float
        Mean library size; 2,015 over 20,000 genes gives about 1,036 non-zeros per cell.
    missing : float
        Share of cells without a label at level l4, and of cells without a sample.
    sorted_by_sample : bool
        Cells of a sample together, as atlases usually are; else in any order.
    seed : int
    """

    n_cells: int
    n_genes: int = 2_000
    n_samples: int = 24
    counts_per_cell: float = 2_015.0
    missing: float = 0.01
    sorted_by_sample: bool = True
    seed: int = 0


def write_synthetic_atlas(
    path: str | Path,
    atlas: SyntheticAtlas,
    *,
    form: str = "csr",
    dtype: str = "float32",
    compression: str | None = "gzip",
) -> Path:
    """Draw an atlas into an h5ad.

    Parameters
    ----------
    path : str or Path
        Created anew.
    atlas : SyntheticAtlas
    form : {"csr", "dense"}
    dtype : str
        Of the stored counts.
    compression : {"gzip", "lzf", None}

    Returns
    -------
    Path
        `path`.
    """
    if form not in ("csr", "dense"):
        raise ParameterError("unknown form", expected="csr, dense", found=form)
    path = Path(path)
    labels = _labels(atlas)
    tables = _alias_tables(atlas)
    with h5py.File(path, "w") as file:
        file.attrs["encoding-type"], file.attrs["encoding-version"] = "anndata", "0.1.0"
        write_elem(file, "obs", _obs(atlas, labels))
        write_elem(file, "var", pd.DataFrame(index=[f"GENE{gene:05d}" for gene in range(atlas.n_genes)]))
        for empty in ("uns", "layers", "obsm", "obsp", "varm", "varp"):
            write_elem(file, empty, {})
        write = _write_csr if form == "csr" else _write_dense
        write(file, atlas, labels, tables, np.dtype(dtype), compression)
    return path


def _labels(atlas: SyntheticAtlas) -> dict[str, np.ndarray]:
    """Leaf and sample of every cell; types as unequal in size as in tissue."""
    generator = np.random.default_rng([atlas.seed, 1])
    shares = 1.0 / np.arange(1, _TABLES + 1) ** 0.8
    leaf = generator.choice(_TABLES, size=atlas.n_cells, p=shares / shares.sum()).astype(np.int32)
    sample = generator.integers(0, atlas.n_samples, atlas.n_cells).astype(np.int32)
    if atlas.sorted_by_sample:
        sample.sort()
    return {"leaf": leaf, "sample": sample, "gaps": generator.random((2, atlas.n_cells))}


def _obs(atlas: SyntheticAtlas, labels: dict[str, np.ndarray]) -> pd.DataFrame:
    leaf, sample = labels["leaf"], labels["sample"]
    coarse = {"l2": leaf % 27, "l3": leaf % 38, "l4": leaf % 73}
    coarse["l1"] = coarse["l2"] % 6
    columns = {}
    for level, n_types in _LEVELS.items():
        codes = coarse[level].astype(np.int64)
        if level == "l4":
            codes[labels["gaps"][0] < atlas.missing] = -1
        names = [f"{level.upper()}_{number:02d}" for number in range(n_types)]
        columns[f"cell_type_{level}"] = pd.Categorical.from_codes(codes, names)
    codes = np.where(labels["gaps"][1] < atlas.missing, -1, sample)
    columns["sample"] = pd.Categorical.from_codes(
        codes, [f"S{number:03d}" for number in range(atlas.n_samples)]
    )
    n_donors = (atlas.n_samples + 1) // 2
    columns["donor"] = pd.Categorical.from_codes(
        sample // 2, [f"D{number:03d}" for number in range(n_donors)]
    )
    columns["tissue"] = pd.Categorical.from_codes(sample % 3, ["Blood", "Liver", "Lung"])
    return pd.DataFrame(columns, index=[f"cell{number:08d}" for number in range(atlas.n_cells)])


def _alias_tables(atlas: SyntheticAtlas) -> tuple[np.ndarray, np.ndarray]:
    """Alias tables (Walker 1977) of genes: one per leaf, then one per sample."""
    generator = np.random.default_rng([atlas.seed, 2])
    base = generator.normal(0, 2.0, atlas.n_genes)
    n_tables = _TABLES + atlas.n_samples
    accept, alias = np.empty((n_tables, atlas.n_genes)), np.empty((n_tables, atlas.n_genes), np.int32)
    for table in range(n_tables):
        share = np.exp(base + generator.normal(0, 1.0 if table < _TABLES else 0.5, atlas.n_genes))
        _fill_alias(share / share.sum(), accept[table], alias[table])
    return accept, alias


def _blocks(atlas: SyntheticAtlas, labels, tables):
    """Blocks of cells as (indptr, indices, counts)."""
    accept, alias = tables
    for number, start in enumerate(range(0, atlas.n_cells, _BLOCK)):
        stop = min(start + _BLOCK, atlas.n_cells)
        generator = np.random.default_rng([atlas.seed, 3, number])
        sizes = generator.gamma(4.0, atlas.counts_per_cell / 4.0, _BLOCK)[: stop - start].astype(np.int64) + 1
        if start == 0 and atlas.n_cells > 3:
            sizes[3] = 0  # an empty cell, as every unfiltered atlas has
        seed = int(generator.integers(1 << 62))
        indptr = np.zeros(stop - start + 1, np.int64)
        indices, counts = np.empty(sizes.sum(), np.int32), np.empty(sizes.sum(), np.int32)
        n = _draw(
            np.uint64(seed), sizes, labels["leaf"][start:stop], labels["sample"][start:stop] + _TABLES,
            accept, alias, indptr, indices, counts,
        )  # fmt: skip
        yield start, indptr, indices[:n], counts[:n]


def _write_csr(file: h5py.File, atlas: SyntheticAtlas, labels, tables, dtype, compression) -> None:
    group = file.create_group("X")
    group.attrs["encoding-type"], group.attrs["encoding-version"] = "csr_matrix", "0.1.0"
    group.attrs["shape"] = np.array([atlas.n_cells, atlas.n_genes])
    options = {"maxshape": (None,), "chunks": (100_000,), "compression": compression}
    data = group.create_dataset("data", (0,), dtype, **options)
    indices = group.create_dataset("indices", (0,), np.int32, **options)
    pointers = [np.zeros(1, np.int64)]
    n = 0
    for _, indptr, block_indices, counts in _blocks(atlas, labels, tables):
        for dataset, values in ((data, counts), (indices, block_indices)):
            dataset.resize((n + len(values),))
            dataset[n:] = values
        pointers.append(indptr[1:] + n)
        n += len(counts)
    group.create_dataset("indptr", data=np.concatenate(pointers), compression=compression)


def _write_dense(file: h5py.File, atlas: SyntheticAtlas, labels, tables, dtype, compression) -> None:
    shape = (atlas.n_cells, atlas.n_genes)
    chunks = (min(100, atlas.n_cells), atlas.n_genes)
    X = file.create_dataset("X", shape, dtype, chunks=chunks, compression=compression)
    X.attrs["encoding-type"], X.attrs["encoding-version"] = "array", "0.2.0"
    for start, indptr, indices, counts in _blocks(atlas, labels, tables):
        block = np.zeros((len(indptr) - 1, atlas.n_genes), dtype)
        block[np.repeat(np.arange(len(block)), np.diff(indptr)), indices] = counts
        X[start : start + len(block)] = block


@njit(cache=True)
def _fill_alias(share, accept, alias):
    n = len(share)
    scaled = share * n
    small, large = np.empty(n, np.int32), np.empty(n, np.int32)
    n_small = n_large = 0
    for gene in range(n):
        if scaled[gene] < 1:
            small[n_small] = gene
            n_small += 1
        else:
            large[n_large] = gene
            n_large += 1
    while n_small and n_large:
        n_small -= 1
        low, high = small[n_small], large[n_large - 1]
        accept[low], alias[low] = scaled[low], high
        scaled[high] -= 1 - scaled[low]
        if scaled[high] < 1:
            n_large -= 1
            small[n_small] = high
            n_small += 1
    for k in range(n_small):
        accept[small[k]], alias[small[k]] = 1.0, small[k]
    for k in range(n_large):
        accept[large[k]], alias[large[k]] = 1.0, large[k]


@njit(cache=True)
def _draw(seed, sizes, leaf, sample, accept, alias, indptr, indices, counts):
    """Draw the molecules of each cell: nine in ten from its type, one in ten from its sample."""
    n_genes = accept.shape[1]
    seen = np.zeros(n_genes, np.int32)
    touched = np.empty(n_genes, np.int32)
    state = seed
    n = 0
    for cell in range(len(sizes)):
        n_touched = 0
        for _ in range(sizes[cell]):
            state += np.uint64(0x9E3779B97F4A7C15)
            z = state
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z = z ^ (z >> np.uint64(31))
            table = sample[cell] if (z & np.uint64(1023)) < np.uint64(102) else leaf[cell]
            gene = np.int64(
                ((z >> np.uint64(10)) & np.uint64(0x3FFFFFF)) * np.uint64(n_genes) >> np.uint64(26)
            )
            if np.float64(z >> np.uint64(36)) * (1.0 / (1 << 28)) >= accept[table, gene]:
                gene = np.int64(alias[table, gene])
            if seen[gene] == 0:
                touched[n_touched] = gene
                n_touched += 1
            seen[gene] += 1
        touched[:n_touched].sort()
        for k in range(n_touched):
            gene = touched[k]
            indices[n], counts[n] = gene, seen[gene]
            seen[gene] = 0
            n += 1
        indptr[cell + 1] = n
    return n
