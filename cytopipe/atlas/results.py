"""What a level's artifacts hold: profiles, resamples and sample profiles as values that a format writes in
blocks.

Matrices are made a chunk at a time, in the threads that compress them, so that a file of gigabytes needs the
memory of a few chunks (:mod:`cytopipe.storage.formats.h5ad_blocks`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from threadpoolctl import threadpool_limits

from cytopipe.atlas.plan import GENES_PER_CHUNK, ROWS_PER_CHUNK, PassPlan
from cytopipe.atlas.profiles import Profiles, Resampler, SampleProfiles, Statistics, zscore
from cytopipe.storage.formats.h5ad_blocks import AnnDataBlocks
from cytopipe.storage.h5ad_elements import Categories, Frame

__all__ = ["profiles_value", "resampled_value", "sample_profiles_value"]


def profiles_value(
    plan: PassPlan,
    profiles: Profiles,
    statistics: Statistics,
    carried: Mapping[str, object],
    genes: tuple[str, ...],
    atlas: str,
) -> AnnDataBlocks:
    """The main artifact of a level.

    ``X`` log1p(CPM) float32; layers ``counts`` int64, ``zscore`` float32, ``n_expressing`` int32 and, where
    there are clusters, ``se`` float32; obs ``cell_type``, ``n_cells``, ``n_samples``, ``total_counts`` and
    carried columns; uns ``atlas``, ``level``, ``atlas_stats`` {gene_mean, gene_std, n_cells}, ``left_out``.
    """
    kept = profiles.kept
    obs = {"cell_type": Categories.of(profiles.names), "n_cells": profiles.grouping.n_cells[kept]}
    if plan.units.samples:
        obs["n_samples"] = profiles.n_samples[kept]
    obs["total_counts"] = profiles.total_counts[kept]
    dtypes = {"X": "f4", "layers/counts": "i8", "layers/zscore": "f4", "layers/n_expressing": "i4"}
    if profiles.has_errors:
        dtypes["layers/se"] = "f4"
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
    frame = Frame(profiles.names, obs | dict(carried))
    return _lazy(plan, frame, genes, uns, dtypes, _profile_blocks(profiles, statistics))


def resampled_value(
    plan: PassPlan,
    resampler: Resampler,
    statistics: Statistics,
    genes: tuple[str, ...],
    atlas: str,
) -> AnnDataBlocks:
    """The resamples of a level: rows are groups x resamples, group by group.

    ``X`` log1p(CPM) float32; obs ``cell_type``, ``bootstrap_idx`` (0 to n_bootstrap - 1), ``redrawn``; uns
    ``atlas``, ``level``, ``n_bootstrap``, ``bootstrap``, ``seed``.
    """
    settings = plan.settings
    n_bootstrap, n_groups, n_genes = settings.n_bootstrap, len(resampler.groups), len(genes)
    redrawn = [resampler.redrawn(position) for position in range(n_groups)]
    frame = Frame(
        [f"{name}|{b}" for name in resampler.names for b in range(n_bootstrap)],
        {
            "cell_type": Categories(np.repeat(np.arange(n_groups), n_bootstrap), resampler.names),
            "bootstrap_idx": np.tile(np.arange(n_bootstrap), n_groups),
            "redrawn": np.concatenate(redrawn or [[]]).astype(bool),
        },
    )
    uns = {
        "atlas": atlas,
        "level": plan.levels[resampler.level].name,
        "n_bootstrap": n_bootstrap,
        "bootstrap": settings.bootstrap,
        "seed": settings.seed,
    }
    dtypes = {"X": "f4"}
    if settings.resampled_zscore:
        dtypes["layers/zscore"] = dtypes["X"]

    def blocks() -> Iterator[Callable]:
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

    return _lazy(plan, frame, genes, uns, dtypes, _with_small_products(blocks()), rows_per_chunk=n_bootstrap)


def sample_profiles_value(
    plan: PassPlan,
    profiles: SampleProfiles,
    level: int,
    carried: Mapping[str, object],
    genes: tuple[str, ...],
    atlas: str,
) -> AnnDataBlocks:
    """One profile per sample and group: ``X`` whole counts (int64) for DESeq2, edgeR or limma."""
    grouping = plan.units.groupings[level]
    cell_types = [grouping.names[group] for group in profiles.groups]
    sample_names = [plan.units.samples[sample] for sample in profiles.samples]
    index = [f"{cell_type}|{sample}" for cell_type, sample in zip(cell_types, sample_names, strict=True)]
    obs = {
        "cell_type": Categories.of(cell_types),
        "sample": Categories.of(sample_names),
        "n_cells": profiles.n_cells,
        "total_counts": profiles.total_counts,
    }
    frame = Frame(index, obs | dict(carried))
    uns = {"atlas": atlas, "level": grouping.level.name}
    n_genes = len(genes)

    def blocks() -> Iterator[Callable]:
        for row in range(0, len(index), ROWS_PER_CHUNK):
            stop = min(len(index), row + ROWS_PER_CHUNK)
            for first in range(0, n_genes, GENES_PER_CHUNK):
                last = min(n_genes, first + GENES_PER_CHUNK)
                yield lambda row=row, stop=stop, first=first, last=last: {
                    "X": ((row, first), profiles.piece(row, stop, first, last))
                }

    return _lazy(plan, frame, genes, uns, {"X": "i8"}, blocks())


def _lazy(
    plan: PassPlan,
    obs: Frame,
    genes: tuple[str, ...],
    uns: Mapping[str, object],
    dtypes: Mapping[str, str],
    blocks: Iterator[Callable],
    rows_per_chunk: int = ROWS_PER_CHUNK,
) -> AnnDataBlocks:
    return AnnDataBlocks(
        obs=obs,
        var=Frame(genes, {}),
        matrices=dtypes,
        blocks=blocks,
        uns=uns,
        chunk=(rows_per_chunk, GENES_PER_CHUNK),
        compression=None if plan.settings.compression == "none" else plan.settings.compression,
    )


def _with_small_products(blocks: Iterator[Callable]) -> Iterator[Callable]:
    """A product of small matrices gains nothing from more threads inside each of the writer's."""
    with threadpool_limits(1, user_api="blas"):
        yield from blocks


def _profile_blocks(profiles: Profiles, statistics: Statistics) -> Iterator[Callable]:
    """Chunks of all matrices of a level, derived some rows at a time."""
    for rows in profiles.blocks():
        X, z = rows.log1p_cpm(statistics)
        matrices = {
            "X": X,
            "layers/counts": rows.counts,
            "layers/zscore": z,
            "layers/n_expressing": rows.expressing,
        }
        if rows.se is not None:
            matrices["layers/se"] = rows.se
        for name, matrix in matrices.items():
            for first in range(0, matrix.shape[1], GENES_PER_CHUNK):
                part = matrix[:, first : first + GENES_PER_CHUNK]
                yield lambda name=name, row=rows.start, first=first, part=part: {name: ((row, first), part)}
