"""Checks of an atlas's artifacts, made on the stored artifacts themselves.

The labels of the atlas are counted again, and the smallest group is summed again, gene by gene, from the
stored matrix. So a wrong sum is found by code that did not compute it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from cytopipe.atlas.cells import Cells
from cytopipe.atlas.matrix_file import MatrixFile, open_matrix
from cytopipe.atlas.registry import Level

__all__ = [
    "CheckOutcome",
    "counts_conserved",
    "estimates_valid",
    "genes_unique",
    "groups_complete",
    "no_negative",
    "resamples_complete",
    "rows_of_profiles",
]

_ROWS = 64  # as many as a chunk of our files has
_RECOUNTED_CELLS = 500
_SHOWN = 5

Source = str | os.PathLike


@dataclass(frozen=True)
class CheckOutcome:
    """One thing that must hold.

    Parameters
    ----------
    findings : tuple of str
        What breaks it; empty where it holds.
    facts : mapping of str to number or text
        What was counted on the way.
    """

    findings: tuple[str, ...] = ()
    facts: Mapping[str, int | float | str] = field(default_factory=dict)


def counts_conserved(profiles: Source, cells: Cells, level: Level) -> CheckOutcome:
    """Counts of every group add up to its total, and those of the smallest group equal a recount of its
    cells, gene by gene, to the last integer.
    """
    with open_matrix(profiles) as file:
        labels = cells.level_labels(level)
        smallest = _smallest(file)
        recounted = None if smallest is None else _recount(cells, labels, smallest)
        found: list[str] = []
        totals = file.obs["total_counts"].to_numpy()
        for first, block in _blocks(file, "layers/counts"):
            for row, values in enumerate(block, start=first):
                name = str(file.obs.index[row])
                if (total := int(values.sum(dtype=np.int64))) != totals[row]:
                    found.append(f"{name}: counts of its genes add up to {total:,}, not {totals[row]:,}")
                if name == smallest and recounted is not None:
                    found += _differences(name, values, recounted, file.columns)
        n_counts = int(totals.sum()) if len(totals) else 0
        facts = {"n_counts": n_counts} | ({"recounted": smallest} if recounted is not None else {})
        return CheckOutcome(tuple(found), facts)


def groups_complete(profiles: Source, cells: Cells, level: Level) -> CheckOutcome:
    """Every label of the atlas is a group or was left out, with as many cells as bear it."""
    labels = cells.level_labels(level)
    with open_matrix(profiles) as file:
        return CheckOutcome(tuple(_lost_groups(file, labels)), {"n_labels": len(labels.names)})


def genes_unique(profiles: Source) -> CheckOutcome:
    """Every gene has a name, and stands once."""
    with open_matrix(profiles) as file:
        seen: dict[str, int] = {}
        for gene in file.columns:
            seen[gene] = seen.get(gene, 0) + 1
    found = [f"{gene!r} stands {times} times" for gene, times in seen.items() if times > 1]
    return CheckOutcome((*found, *(["a gene has no name"] if "" in seen else [])), {"n_genes": len(seen)})


def no_negative(profiles: Source) -> CheckOutcome:
    """No profile, and no count where there are counts, is negative or not finite."""
    with open_matrix(profiles) as file:
        found = []
        for where in ("X", "layers/counts"):
            for first, block in _blocks(file, where) if where in file.file else ():
                wrong = ~np.isfinite(block) | (block < 0)
                found += [
                    f"{file.obs.index[first + row]}: {int(wrong[row].sum())} of {where} below 0 or not finite"
                    for row in np.flatnonzero(wrong.any(axis=1))
                ]
        return CheckOutcome(tuple(found))


def resamples_complete(resampled: Source, cells: Cells, level: Level, n_bootstrap: int) -> CheckOutcome:
    """Every resampled group is a label of the level and has all of its resamples, over the atlas's genes."""
    labels = set(cells.level_labels(level).names)
    with open_matrix(resampled) as file:
        found = [] if file.columns == cells.genes else ["its genes are not those of the atlas"]
        numbers: dict[str, set[int]] = {}
        for name, number in zip(file.cell_types, file.obs["bootstrap_idx"].tolist(), strict=True):
            numbers.setdefault(name, set()).add(int(number))
        found += [f"{name} is no label of the level" for name in sorted(set(numbers) - labels)]
        whole = set(range(n_bootstrap))
        found += [
            f"{name} has {len(seen)} of {n_bootstrap} resamples"
            for name, seen in sorted(numbers.items())
            if seen != whole
        ]
        if len(file.obs) != len(numbers) * n_bootstrap:
            found.append(f"{len(file.obs)} rows for {len(numbers)} groups x {n_bootstrap} resamples")
        return CheckOutcome(tuple(found), {"n_groups": len(numbers)})


def rows_of_profiles(activity: Source, profiles: Source) -> CheckOutcome:
    """Activity has the rows of the profiles, in their order."""
    with open_matrix(profiles) as main, open_matrix(activity) as file:
        groups, rows = list(map(str, main.obs.index)), list(map(str, file.obs.index))
    lost = [] if rows == groups else [f"{len(rows)} rows that are not the {len(groups)} of the profiles"]
    return CheckOutcome(tuple(lost), {"n_groups": len(groups)})


def estimates_valid(activity: Source) -> CheckOutcome:
    """z is finite; p and FDR, where there are any, lie in (0, 1]."""
    with open_matrix(activity) as file:
        wrong = []
        if lost := int((~np.isfinite(file.read("X"))).sum()):
            wrong.append(f"{lost} z that are not finite")
        for layer in ("pvalue", "fdr"):
            if layer not in file.layers:
                continue
            values = file.read(layer)
            if outside := int((~((values > 0) & (values <= 1))).sum()):
                wrong.append(f"{outside} of {layer} outside (0, 1]")
        return CheckOutcome(tuple(wrong), {"n_targets": len(file.columns)})


def _blocks(file: MatrixFile, where: str) -> Iterator[tuple[int, np.ndarray]]:
    """Rows of a stored matrix, a chunk at a time."""
    stored = file.file[where]
    for first in range(0, stored.shape[0], _ROWS):
        yield first, stored[first : first + _ROWS]


def _smallest(file: MatrixFile) -> str | None:
    """The group of fewest cells, if adding it up again is little work."""
    n_cells = file.obs["n_cells"]
    if not len(n_cells) or n_cells.min() > _RECOUNTED_CELLS:
        return None
    return str(file.obs.index[int(np.argmin(n_cells.to_numpy()))])


def _recount(cells: Cells, labels, name: str) -> np.ndarray | None:
    """Counts of one group, (genes,) int64, read cell by cell; None where a matrix is stored by gene."""
    if cells.matrix.form == "csc" or name not in labels.names:
        return None
    node, total = cells.matrix.node, np.zeros(cells.n_genes, np.int64)
    for cell in np.flatnonzero(labels.codes == labels.names.index(name)).tolist():
        if cells.matrix.form == "dense":
            values, columns = np.asarray(node[cell]), np.arange(cells.matrix.shape[1])
        else:
            first, last = (int(edge) for edge in node["indptr"][cell : cell + 2])
            values, columns = np.asarray(node["data"][first:last]), np.asarray(node["indices"][first:last])
        np.add.at(total, cells.gene_of_column[columns], values.astype(np.int64))
    return total


def _differences(name: str, values: np.ndarray, recounted: np.ndarray, genes: tuple[str, ...]) -> list[str]:
    if len(values) != len(recounted):
        return [f"{name}: {len(values)} genes for the {len(recounted)} of the atlas"]
    wrong = np.flatnonzero(values != recounted)
    shown = [
        f"{name}, {genes[gene]}: {int(values[gene]):,} counts, recounted {int(recounted[gene]):,}"
        for gene in wrong[:_SHOWN].tolist()
    ]
    return shown + ([f"{name}: {len(wrong) - _SHOWN} genes more"] if len(wrong) > _SHOWN else [])


def _lost_groups(file: MatrixFile, labels) -> Iterator[str]:
    from anndata.io import read_elem

    cells_of = dict(zip(labels.names, np.bincount(labels.codes[labels.codes >= 0]).tolist(), strict=True))
    written = dict(zip(map(str, file.obs.index), file.obs["n_cells"].astype(int).tolist(), strict=True))
    left_out = read_elem(file.file["uns/left_out"])
    written |= dict(zip(map(str, left_out["cell_type"]), map(int, left_out["n_cells"]), strict=True))
    for name in sorted(cells_of.keys() | written.keys()):
        if (here := written.get(name, 0)) != (there := cells_of.get(name, 0)):
            yield f"{name}: {here:,} cells, {there:,} in the atlas"
