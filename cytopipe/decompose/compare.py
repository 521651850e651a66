"""How well two partitions of the same records agree: a run and the truth, or two runs.

The assignments (record to cluster) come from a decomposition, FASTA headers, a TSV, a `.uc` or a SPART file.
Only records that both sides assign are compared, and how many were left out is part of the answer, so that a
high score on few records cannot pass for one on many.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cytopipe.decompose.exports import parse_spart, parse_uc
from cytopipe.decompose.layout import STAGES, STATE_FILE
from cytopipe.errors import InputError
from cytopipe.storage.fasta import FastaRecord, read_fasta

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Agreement", "compare_partitions", "names_in_headers", "read_assignment"]

_FIELD = r'(?:^|\s){field}=(?:"([^"]*)"|(\S+))'
_MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class Agreement:
    """Agreement of a partition with a reference one.

    Parameters
    ----------
    records : int
        Records that both assign.
    only_partition, only_reference : int
        Records that only one of them assigns; they are not compared.
    clusters, reference_clusters : int
        Clusters among the compared records.
    adjusted_rand_index : float
        1 for the same partition, about 0 for chance (Hubert & Arabie 1985).
    homogeneity : float
        1 if no cluster mixes reference clusters (Rosenberg & Hirschberg 2007).
    completeness : float
        1 if no reference cluster is spread over several clusters.
    v_measure : float
        Harmonic mean of the two.
    split, lumped : int
        Reference clusters found in several clusters; clusters that hold several reference clusters.
    """

    records: int
    only_partition: int
    only_reference: int
    clusters: int
    reference_clusters: int
    adjusted_rand_index: float
    homogeneity: float
    completeness: float
    v_measure: float
    split: int
    lumped: int

    def as_row(self) -> dict[str, int | float]:
        return asdict(self)


def compare_partitions(partition: Mapping[str, str], reference: Mapping[str, str]) -> Agreement:
    """Compare two assignments of records to clusters.

    Raises
    ------
    InputError
        If no record is in both.
    """
    shared = sorted(set(partition) & set(reference))
    if not shared:
        raise InputError(
            "the two partitions share no record",
            expected="the same record ids on both sides",
            found=f"{_first(partition)} ... and {_first(reference)} ...",
        )
    ours = [partition[record] for record in shared]
    theirs = [reference[record] for record in shared]
    table = _contingency(ours, theirs)
    homogeneity, completeness = _explained(table.T), _explained(table)
    both = homogeneity + completeness
    met = set(zip(ours, theirs, strict=True))
    return Agreement(
        records=len(shared),
        only_partition=len(partition) - len(shared),
        only_reference=len(reference) - len(shared),
        clusters=len(set(ours)),
        reference_clusters=len(set(theirs)),
        adjusted_rand_index=_adjusted_rand_index(table),
        homogeneity=homogeneity,
        completeness=completeness,
        v_measure=2.0 * homogeneity * completeness / both if both else 0.0,
        split=_named_more_than_once(reference_cluster for _, reference_cluster in met),
        lumped=_named_more_than_once(cluster for cluster, _ in met),
    )


def _contingency(ours: Sequence[str], theirs: Sequence[str]) -> csr_array:
    """Records by our cluster (row) and their cluster (column)."""
    from scipy.sparse import coo_array

    _, rows = np.unique(np.array(ours), return_inverse=True)
    _, columns = np.unique(np.array(theirs), return_inverse=True)
    table = coo_array((np.ones(len(rows), np.int64), (rows, columns))).tocsr()
    table.sum_duplicates()
    return table


def _adjusted_rand_index(table: csr_array) -> float:
    """Hubert & Arabie (1985), from pairs of records; exact integers until the last division."""

    def pairs(counts: np.ndarray) -> int:
        return sum(count * (count - 1) // 2 for count in counts.tolist())

    both, ours, theirs = pairs(table.data), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    n = int(table.sum())
    every = n * (n - 1) // 2
    expected, most = ours * theirs, (ours + theirs) * every
    return 1.0 if most == 2 * expected else 2.0 * (both * every - expected) / (most - 2 * expected)


def _explained(table: csr_array) -> float:
    """Share of the entropy of the rows that the columns explain; 1 if there is none to explain."""
    n, rows = table.sum(), table.sum(axis=1)
    entropy = -np.sum(rows / n * np.log(rows / n))
    if entropy == 0.0:
        return 1.0
    cells = table.tocoo()
    conditional = -np.sum(cells.data / n * np.log(cells.data / table.sum(axis=0)[cells.coords[1]]))
    return float(1.0 - conditional / entropy)


def names_in_headers(records: Iterable[FastaRecord], field: str = "name") -> dict[str, str]:
    """The value of ``field="..."`` in the header of every record that has one."""
    pattern = re.compile(_FIELD.format(field=re.escape(field)))
    found = {}
    for record in records:
        if match := pattern.search(record.description):
            found[record.id] = match[1] if match[1] is not None else match[2]
    return found


def read_assignment(path: Path, *, field: str = "name") -> dict[str, str]:
    """Read which record is in which cluster, from whatever holds it.

    Parameters
    ----------
    path : Path
        The directory of a decomposition or any folder of one FASTA file per cluster; a FASTA file with
        ``field="..."`` in its headers; a `.uc` or `.spart` file; or a TSV whose first two columns, or
        columns ``record`` and ``cluster``, say it.
    field : str
        The header field that names the cluster.

    Raises
    ------
    InputError
        If the path is none of these, or names no record.
    """
    if path.is_dir():
        found = _from_folder(path)
    elif path.suffix in (".fasta", ".fa", ".fna", ".gz"):
        found = names_in_headers(read_fasta(path), field)
    else:
        text = _text_of(path)
        readers = {".uc": parse_uc, ".spart": parse_spart}
        found = readers.get(path.suffix, _from_table)(text, where=str(path))
    if not found:
        raise InputError(
            "no record is assigned to a cluster here",
            where=str(path),
            expected=f'a decomposition, a folder of FASTA files, headers with {field}="...", or a '
            ".tsv, .uc or .spart file",
        )
    return found


def _from_folder(folder: Path) -> dict[str, str]:
    if (folder / STATE_FILE).is_file():
        stage = next(
            (stage for stage in reversed(STAGES) if any(folder.glob(stage.cluster_file_pattern))), None
        )
        files = sorted(folder.glob(stage.cluster_file_pattern)) if stage else []
    else:
        files = [path for path in sorted(folder.glob("*.fasta")) if "unassigned" not in path.name]
    found: dict[str, str] = {}
    for path in files:
        for record in read_fasta(path, allow_empty=True):
            found.setdefault(record.id, path.name.removesuffix(".fasta"))
    return found


def _from_table(text: str, *, where: str) -> dict[str, str]:
    rows = [row for row in csv.reader(io.StringIO(text), delimiter="\t") if row]
    short = [number for number, row in enumerate(rows, start=1) if len(row) < 2]
    if short:
        raise InputError(
            "a row has fewer than two columns",
            where=f"{where}:{short[0]}",
            expected="record and cluster, separated by a tab",
        )
    record, cluster = 0, 1
    if rows and {"record", "cluster"} <= set(rows[0]):
        record, cluster = rows[0].index("record"), rows[0].index("cluster")
        rows = rows[1:]
    elif rows and rows[0][0].lower() in ("record", "sequence_id", "id", "sequence"):
        rows = rows[1:]
    return {row[record]: row[cluster] for row in rows if row[cluster] not in ("", "unassigned")}


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError("too large for a table of clusters", where=str(path), expected="at most 1 GiB")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError("is not UTF-8 text", where=str(path)) from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error


def _named_more_than_once(names: Iterable[str]) -> int:
    times: dict[str, int] = {}
    for name in names:
        times[name] = times.get(name, 0) + 1
    return sum(count > 1 for count in times.values())


def _first(assignment: Mapping[str, str]) -> str:
    return repr(min(assignment, default=""))
