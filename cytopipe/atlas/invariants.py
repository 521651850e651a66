"""What must hold of an atlas's results, looked at in the files themselves.

The file of a level comes in, with the cells it was made from; for each invariant leaves what breaks it, in
words. Labels are counted anew in the atlas, and the smallest group is added up again, gene by gene, straight
from the stored matrix: so a sum that went wrong is found by something that did not compute it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cytopipe.atlas.cells import Cells, open_cells
from cytopipe.atlas.matrix_file import MatrixFile, open_matrix
from cytopipe.atlas.registry import Level

__all__ = ["Invariant", "activity_invariants", "profile_invariants", "resampled_invariants"]

_ROWS = 64  # as many as a chunk of our files has
_RECOUNTED_CELLS = 500
_SHOWN = 5


@dataclass(frozen=True)
class Invariant:
    """One thing that must hold.

    Parameters
    ----------
    name : str
    findings : tuple of str
        What breaks it; empty where it holds.
    facts : mapping of str to number or text
        What was counted on the way.
    """

    name: str
    findings: tuple[str, ...] = ()
    facts: Mapping[str, int | float | str] = field(default_factory=dict)


def profile_invariants(
    path: str | Path,
    cells_path: str | Path,
    level: Level,
    *,
    counts: str = "X",
    duplicate_genes: str = "refuse",
) -> tuple[Invariant, ...]:
    """Look at the main file of a level.

    Parameters
    ----------
    path : str or Path
        ``{atlas}_pseudobulk_{level}.h5ad``.
    cells_path : str or Path
        The atlas.
    level : Level
    counts, duplicate_genes : str
        As for :func:`cytopipe.atlas.open_cells`.

    Returns
    -------
    tuple of Invariant
        ``counts_conserved``: the counts of every group add up to its total, and those of the smallest group
        equal a recount of its cells. ``groups_complete``: each label of the atlas is a group or was left out,
        with as many cells as bear it. ``genes_unique``, ``no_negative``.
    """
    with (
        open_matrix(path) as file,
        open_cells(cells_path, counts=counts, duplicate_genes=duplicate_genes) as cells,
    ):
        labels = cells.level_labels(level)
        smallest = _smallest(file)
        recounted = None if smallest is None else _recount(cells, labels, smallest)
        found: list[str] = []
        negative: list[str] = []
        totals = file.obs["total_counts"].to_numpy()
        for first, block in _blocks(file, "layers/counts"):
            for row, values in enumerate(block, start=first):
                name = str(file.obs.index[row])
                if (total := int(values.sum(dtype=np.int64))) != totals[row]:
                    found.append(f"{name}: counts of its genes add up to {total:,}, not {totals[row]:,}")
                if (values < 0).any():
                    negative.append(f"{name}: {int((values < 0).sum())} counts below 0")
                if name == smallest and recounted is not None:
                    found += _differences(name, values, recounted, file.columns)
        for first, block in _blocks(file, "X"):
            wrong = ~np.isfinite(block) | (block < 0)
            negative += [
                f"{file.obs.index[first + row]}: {int(wrong[row].sum())} values below 0 or not finite"
                for row in np.flatnonzero(wrong.any(axis=1))
            ]
        n_counts = int(totals.sum()) if len(totals) else 0
        facts = {"n_counts": n_counts} | ({"recounted": smallest} if recounted is not None else {})
        return (
            Invariant("counts_conserved", tuple(found), facts),
            Invariant("groups_complete", tuple(_lost_groups(file, labels)), {"n_labels": len(labels.names)}),
            _unique("genes_unique", file),
            Invariant("no_negative", tuple(negative)),
        )


def resampled_invariants(path: str | Path, profiles: str | Path, n_bootstrap: int) -> tuple[Invariant, ...]:
    """Look at the resamples of a level.

    Parameters
    ----------
    path, profiles : str or Path
        The resampled and the main file.
    n_bootstrap : int
        Resamples that every group must have.

    Returns
    -------
    tuple of Invariant
        ``resamples_complete``: only groups of the main file, each with resamples 0 to n - 1, over its genes;
        ``no_negative``.
    """
    with open_matrix(profiles) as main:
        groups, genes = set(main.cell_types), main.columns
    with open_matrix(path) as file:
        found = [] if file.columns == genes else ["its genes are not those of the profiles"]
        numbers: dict[str, set[int]] = {}
        for name, number in zip(file.cell_types, file.obs["bootstrap_idx"].tolist(), strict=True):
            numbers.setdefault(name, set()).add(int(number))
        found += [f"{name} is no group of the profiles" for name in sorted(set(numbers) - groups)]
        whole = set(range(n_bootstrap))
        found += [
            f"{name} has {len(seen)} of {n_bootstrap} resamples"
            for name, seen in sorted(numbers.items())
            if seen != whole
        ]
        if len(file.obs) != len(numbers) * n_bootstrap:
            found.append(f"{len(file.obs)} rows for {len(numbers)} groups x {n_bootstrap} resamples")
        negative = []
        for first, block in _blocks(file, "X"):
            wrong = ~np.isfinite(block) | (block < 0)
            negative += [
                f"row {first + row}: {int(wrong[row].sum())} values below 0 or not finite"
                for row in np.flatnonzero(wrong.any(axis=1))
            ]
        return (
            Invariant("resamples_complete", tuple(found), {"n_groups": len(numbers)}),
            Invariant("no_negative", tuple(negative)),
        )


def activity_invariants(path: str | Path, profiles: str | Path) -> tuple[Invariant, ...]:
    """Look at the activity of a level.

    Returns
    -------
    tuple of Invariant
        ``groups_complete``: the rows are those of the profiles; ``estimates_valid``: z is finite, p and FDR
        lie in (0, 1].
    """
    with open_matrix(profiles) as main:
        groups = list(map(str, main.obs.index))
    with open_matrix(path) as file:
        rows = list(map(str, file.obs.index))
        lost = [] if rows == groups else [f"{len(rows)} rows that are not the {len(groups)} of the profiles"]
        wrong = []
        if not np.isfinite(file.read("X")).all():
            wrong.append(f"{int((~np.isfinite(file.read('X'))).sum())} z that are not finite")
        for layer in ("pvalue", "fdr"):
            values = file.read(layer)
            outside = ~((values > 0) & (values <= 1))
            if outside.any():
                wrong.append(f"{int(outside.sum())} of {layer} outside (0, 1]")
        return (
            Invariant("groups_complete", tuple(lost), {"n_groups": len(groups)}),
            Invariant("estimates_valid", tuple(wrong), {"n_targets": len(file.columns)}),
        )


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


def _unique(name: str, file: MatrixFile) -> Invariant:
    seen: dict[str, int] = {}
    for gene in file.columns:
        seen[gene] = seen.get(gene, 0) + 1
    repeated = [f"{gene!r} stands {times} times" for gene, times in seen.items() if times > 1]
    return Invariant(
        name, tuple(repeated + (["a gene has no name"] if "" in seen else [])), {"n_genes": len(seen)}
    )
