"""The files of a level, written whole and readable by anndata anywhere.

Profiles come in; ``{atlas}_pseudobulk_{level}.h5ad``, ``..._resampled.h5ad`` and, where asked for,
``..._samples.h5ad`` leave through the store, with provenance. Compressing is most of the work of writing, so
chunks are made in threads (:mod:`cytopipe.storage.formats.hdf5_chunks`) and put into the file in order: the
same bytes for any number of threads, and plain gzip to every reader.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata.io import write_elem

from cytopipe.atlas.plan import GENES_PER_CHUNK, PassPlan
from cytopipe.atlas.profiles import Profiles, Resampler, SampleProfiles, Statistics, zscore
from cytopipe.errors import DamagedError
from cytopipe.provenance import Provenance
from cytopipe.storage import Published, Store
from cytopipe.storage.formats.hdf5_chunks import encoder

__all__ = ["write_profiles", "write_resampled", "write_sample_profiles"]

_ROWS_PER_CHUNK = 64

Pieces = Iterable[Callable[[], Mapping[str, tuple[tuple[int, int], np.ndarray]]]]


def write_profiles(
    store: Store,
    path: Path,
    plan: PassPlan,
    profiles: Profiles,
    statistics: Statistics,
    carried: Mapping[str, object],
    genes: tuple[str, ...],
    atlas: str,
    provenance: Provenance,
) -> Published:
    """Write the main file of a level.

    ``X`` log1p(CPM) float32; layers ``counts`` int64, ``zscore`` float32, ``n_expressing`` int32 and, where
    there are clusters, ``se`` float32; obs ``cell_type``, ``n_cells``, ``n_samples``, ``total_counts`` and
    carried columns; uns ``atlas``, ``level``, ``atlas_stats`` {gene_mean, gene_std, n_cells}, ``left_out``.
    """
    kept = profiles.kept
    obs = pd.DataFrame({"cell_type": pd.Categorical(profiles.names)}, index=profiles.names)
    obs["n_cells"] = profiles.grouping.n_cells[kept]
    if plan.units.samples:
        obs["n_samples"] = profiles.n_samples[kept]
    obs["total_counts"] = profiles.total_counts[kept]
    for name, values in carried.items():
        obs[name] = values
    layers = {
        "counts": profiles.counts,
        "zscore": zscore(profiles.X, statistics.mean, statistics.std),
        "n_expressing": profiles.expressing,
    }
    if profiles.se is not None:
        layers["se"] = profiles.se
    matrices = {"X": profiles.X.astype(np.float32)} | {f"layers/{name}": one for name, one in layers.items()}
    left_out = np.setdiff1d(np.arange(len(profiles.grouping.names)), kept)
    uns = {
        "atlas": atlas,
        "level": profiles.grouping.level.name,
        "atlas_stats": {
            "gene_mean": statistics.mean,
            "gene_std": statistics.std,
            "n_cells": statistics.n_cells,
        },
        "left_out": {
            "cell_type": np.array([profiles.grouping.names[group] for group in left_out], object),
            "n_cells": profiles.grouping.n_cells[left_out],
            "total_counts": profiles.total_counts[left_out],
        },
    }
    shapes = {name: (one.shape, one.dtype) for name, one in matrices.items()}
    return _publish(store, path, plan, obs, genes, uns, shapes, _matrix_pieces(matrices), provenance)


def write_resampled(
    store: Store,
    path: Path,
    plan: PassPlan,
    resampler: Resampler,
    statistics: Statistics,
    genes: tuple[str, ...],
    atlas: str,
    provenance: Provenance,
) -> Published:
    """Write the resamples of a level: rows are groups x resamples, group by group.

    ``X`` log1p(CPM) float32; obs ``cell_type``, ``bootstrap_idx`` (0 to n_bootstrap - 1), ``redrawn``; uns
    ``atlas``, ``level``, ``n_bootstrap``, ``bootstrap``, ``seed``.
    """
    settings = plan.settings
    n_bootstrap, n_groups, n_genes = settings.n_bootstrap, len(resampler.groups), len(genes)
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical.from_codes(
                np.repeat(np.arange(n_groups), n_bootstrap), resampler.names
            ),
            "bootstrap_idx": np.tile(np.arange(n_bootstrap), n_groups),
            "redrawn": np.concatenate(
                [resampler.redrawn(position) for position in range(n_groups)] or [[]]
            ).astype(bool),
        },
        index=[f"{name}|{b}" for name in resampler.names for b in range(n_bootstrap)],
    )
    uns = {
        "atlas": atlas,
        "level": plan.levels[resampler.level].name,
        "n_bootstrap": n_bootstrap,
        "bootstrap": settings.bootstrap,
        "seed": settings.seed,
    }
    shapes = {"X": ((n_groups * n_bootstrap, n_genes), np.dtype(np.float32))}
    if settings.resampled_zscore:
        shapes["layers/zscore"] = shapes["X"]

    def pieces() -> Iterator[Callable]:
        for position in range(n_groups):
            weighing = resampler.prepare(position)
            for first in range(0, n_genes, GENES_PER_CHUNK):
                yield lambda first=first, weighing=weighing, row=position * n_bootstrap: piece(
                    weighing, row, first
                )

    def piece(weighing, row: int, first: int):
        last = min(n_genes, first + GENES_PER_CHUNK)
        X = resampler.piece(weighing, first, last)
        made = {"X": ((row, first), X)}
        if settings.resampled_zscore:
            z = zscore(X, statistics.mean[first:last], statistics.std[first:last])
            made["layers/zscore"] = ((row, first), z)
        return made

    return _publish(
        store, path, plan, obs, genes, uns, shapes, pieces(), provenance, rows_per_chunk=n_bootstrap
    )


def write_sample_profiles(
    store: Store,
    path: Path,
    plan: PassPlan,
    profiles: SampleProfiles,
    level: int,
    carried: Mapping[str, object],
    genes: tuple[str, ...],
    atlas: str,
    provenance: Provenance,
) -> Published:
    """Write one profile per sample and group: ``X`` whole counts (int64) for DESeq2, edgeR or limma."""
    grouping = plan.units.groupings[level]
    cell_types = [grouping.names[group] for group in profiles.groups]
    sample_names = [plan.units.samples[sample] for sample in profiles.samples]
    index = [f"{cell_type}|{sample}" for cell_type, sample in zip(cell_types, sample_names, strict=True)]
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(cell_types),
            "sample": pd.Categorical(sample_names),
            "n_cells": profiles.n_cells,
            "total_counts": profiles.total_counts,
        },
        index=index,
    )
    for name, values in carried.items():
        obs[name] = values
    uns = {"atlas": atlas, "level": grouping.level.name}
    n_genes = len(genes)
    shapes = {"X": ((len(index), n_genes), np.dtype(np.int64))}

    def pieces() -> Iterator[Callable]:
        for row in range(0, len(index), _ROWS_PER_CHUNK):
            stop = min(len(index), row + _ROWS_PER_CHUNK)
            for first in range(0, n_genes, GENES_PER_CHUNK):
                last = min(n_genes, first + GENES_PER_CHUNK)
                yield lambda row=row, stop=stop, first=first, last=last: {
                    "X": ((row, first), profiles.piece(row, stop, first, last))
                }

    return _publish(store, path, plan, obs, genes, uns, shapes, pieces(), provenance)


def _publish(
    store: Store,
    path: Path,
    plan: PassPlan,
    obs: pd.DataFrame,
    genes: tuple[str, ...],
    uns: Mapping[str, object],
    shapes: Mapping[str, tuple[tuple[int, int], np.dtype]],
    pieces: Pieces,
    provenance: Provenance,
    rows_per_chunk: int = _ROWS_PER_CHUNK,
) -> Published:
    def write(draft: Path) -> None:
        with h5py.File(draft, "w", libver="earliest", track_order=False) as file:
            file.attrs["encoding-type"], file.attrs["encoding-version"] = "anndata", "0.1.0"
            write_elem(file, "obs", obs)
            write_elem(file, "var", pd.DataFrame(index=list(genes)))
            write_elem(file, "uns", dict(uns))
            for empty in ("layers", "obsm", "obsp", "varm", "varp"):
                write_elem(file, empty, {})
            datasets = {
                name: _create(file, name, shape, dtype, rows_per_chunk, plan.settings.compression)
                for name, (shape, dtype) in shapes.items()
            }
            _write_pieces(datasets, pieces, plan.threads)

    def validate(draft: Path) -> None:
        with h5py.File(draft, "r") as file:
            for name, (shape, dtype) in shapes.items():
                if file[name].shape != shape or file[name].dtype != dtype:
                    raise DamagedError(f"{name} was not written as meant", where=str(path))
                if min(shape):
                    file[name][-1, -1]

    return store.publish_file(path, write, validate=validate, provenance=provenance)


def _create(file: h5py.File, name: str, shape, dtype, rows_per_chunk: int, compression: str) -> h5py.Dataset:
    chunks = (min(rows_per_chunk, shape[0]), min(GENES_PER_CHUNK, shape[1])) if min(shape) else None
    options = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if compression == "gzip" else {}
    dataset = file.create_dataset(name, shape, dtype, chunks=chunks, **(options if chunks else {}))
    dataset.attrs["encoding-type"], dataset.attrs["encoding-version"] = "array", "0.2.0"
    return dataset


def _write_pieces(datasets: Mapping[str, h5py.Dataset], pieces: Pieces, threads: int) -> None:
    """Make and compress pieces in threads, a few ahead; write them in order."""
    encode = {name: encoder(dataset) for name, dataset in datasets.items()}

    def make(piece: Callable) -> list[tuple[str, tuple[int, int], bytes]]:
        return [(name, offset, encode[name](values)) for name, (offset, values) in piece().items()]

    def write(made: list[tuple[str, tuple[int, int], bytes]]) -> None:
        for name, offset, data in made:
            datasets[name].id.write_direct_chunk(offset, data)

    with ThreadPoolExecutor(threads, thread_name_prefix="deflate") as pool:
        ahead: deque = deque()
        for piece in pieces:
            ahead.append(pool.submit(make, piece))
            if len(ahead) > 2 * threads:
                write(ahead.popleft().result())
        while ahead:
            write(ahead.popleft().result())


def _matrix_pieces(
    matrices: Mapping[str, np.ndarray], rows_per_chunk: int = _ROWS_PER_CHUNK
) -> Iterator[Callable]:
    """Chunks of whole matrices, in order."""
    for name, matrix in matrices.items():
        for row in range(0, matrix.shape[0], rows_per_chunk):
            for first in range(0, matrix.shape[1], GENES_PER_CHUNK):
                part = matrix[row : row + rows_per_chunk, first : first + GENES_PER_CHUNK]
                yield lambda name=name, row=row, first=first, part=part: {name: ((row, first), part)}
