"""Distances from a file instead of alignments: a square labelled table, or an `.npz`.

A TSV names the records in its first row and column; an `.npz` has `D` and `ids`. `GivenDistances` answers
like `Distances` and like a finder of neighbours, for the unique sequences of the input. The table must be
square and symmetric, zero on its diagonal, within [0, 1], and hold every record; identical sequences must be
at the same distances. All faults are listed.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cytopipe.decompose.hits import Hits
from cytopipe.decompose.sequences import SequenceSet
from cytopipe.errors import BudgetError, Finding, InputError

__all__ = ["GivenDistances"]

_MAX_BYTES = 8 << 30
_TOLERANCE = 1e-6
_SHOWN = 5


class GivenDistances:
    """Ready-made distances between unique sequences.

    Parameters
    ----------
    sequences : SequenceSet
    values : ndarray, (n, n) float64
        Distances in the order of the unique sequences.
    """

    def __init__(self, sequences: SequenceSet, values: np.ndarray) -> None:
        self.sequences = sequences.sequences
        self.lengths = np.array([len(sequence) for sequence in self.sequences], np.int64)
        self._values = values
        self.progress = None
        self.n_computed = 0
        self.n_reused = values.shape[0] * (values.shape[0] - 1) // 2

    @classmethod
    def read(cls, path: Path, sequences: SequenceSet) -> GivenDistances:
        """Read a table of distances between the records of `sequences`.

        Raises
        ------
        InputError
            Every fault of the table.
        BudgetError
            If it is larger than 8 GiB in memory.
        """
        labels, values = _read_npz(path) if path.suffix == ".npz" else _read_tsv(path)
        findings = _findings(path, labels, values, sequences)
        if findings:
            raise InputError(findings)
        row = {label: number for number, label in enumerate(labels)}
        first = np.array([row[records[0].id] for records in sequences.records], np.int64)
        return cls(sequences, values[np.ix_(first, first)])

    def __len__(self) -> int:
        return len(self.sequences)

    def pairs(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Distances of pairs, (m,) float64."""
        return self._values[np.asarray(i, np.int64), np.asarray(j, np.int64)]

    def matrix(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Distances among `indices`, (n, n) float64."""
        indices = np.asarray(indices, np.int64)
        return self._values[np.ix_(indices, indices)].copy()

    def block(self, rows: Sequence[int] | np.ndarray, columns: Sequence[int] | np.ndarray) -> np.ndarray:
        """Distances from every row to every column."""
        return self._values[np.ix_(np.asarray(rows, np.int64), np.asarray(columns, np.int64))].copy()

    def known(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All pairs: lower position, higher position, distance."""
        rows, columns = np.triu_indices(len(self), 1)
        return rows, columns, self._values[rows, columns]

    def save(self) -> None:
        """Nothing to keep: the file is there."""

    def neighbours(self) -> _Nearest:
        """A finder that ranks by these distances."""
        return _Nearest(self._values)


class _Nearest:
    """Every other sequence, nearest first."""

    name = "given distances"

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def search(self, query_indices: Sequence[int] | np.ndarray) -> Hits:
        rows = []
        for query in np.asarray(query_indices, np.int64):
            order = np.argsort(self._values[query], kind="stable")
            order = order[order != query]
            rows.append((order, 1 - self._values[query, order]))
        return Hits.from_rows(rows)


def _read_tsv(path: Path) -> tuple[list[str], np.ndarray]:
    try:
        _within_budget(path, path.stat().st_size * 2)
        with path.open(encoding="utf-8", newline="") as stream:
            rows = [row for row in csv.reader(stream, delimiter="\t") if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"the distances cannot be read: {error}", where=str(path)) from error
    if not rows:
        raise InputError("holds no distances", where=str(path))
    columns, labels = rows[0][1:], [row[0] for row in rows[1:]]
    findings = []
    if columns != labels:
        findings.append(
            Finding(
                what="the first row and the first column do not name the same records in the same order",
                where=str(path),
                found=f"{len(columns)} columns, {len(labels)} rows",
            )
        )
    values = np.zeros((len(labels), len(columns)))
    for number, row in enumerate(rows[1:]):
        try:
            values[number] = [float(value) for value in row[1:]]
        except ValueError as error:
            findings.append(
                Finding(
                    what=f"the row of {row[0]!r} is no row of {len(columns)} numbers ({error})",
                    where=f"{path}:{number + 2}",
                )
            )
    if findings:
        raise InputError(findings[:50])
    return labels, values


def _read_npz(path: Path) -> tuple[list[str], np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            _within_budget(path, sum(one.file_size for one in archive.infolist()))
        with np.load(path, allow_pickle=False) as archive:
            labels = [str(label) for label in archive["ids"]]
            values = np.asarray(archive["D"], np.float64)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"the distances cannot be read: {error}",
            where=str(path),
            expected="an .npz with the arrays D (n, n) and ids (n)",
        ) from error
    if values.shape != (len(labels), len(labels)):
        raise InputError(
            "D is not square over ids", where=str(path), found=f"D {values.shape}, {len(labels)} ids"
        )
    return labels, values


def _within_budget(path: Path, needed: int) -> None:
    if needed > _MAX_BYTES:
        raise BudgetError(
            "the table of distances needs more memory than it may have",
            where=str(path),
            expected=f"at most {_MAX_BYTES} bytes",
            found=f"{needed} bytes",
            next="Leave --distances out: distances are then computed where they are needed.",
        )


def _findings(path: Path, labels: Sequence[str], values: np.ndarray, sequences: SequenceSet) -> list[Finding]:
    where = str(path)
    findings = []
    twice = (
        sorted({label for label in labels if labels.count(label) > 1})
        if len(set(labels)) < len(labels)
        else []
    )
    if twice:
        findings.append(Finding(what="records are named twice", where=where, found=_few(twice)))
    row = {label: number for number, label in enumerate(labels)}
    absent = [record.id for records in sequences.records for record in records if record.id not in row]
    if absent:
        findings.append(
            Finding(what=f"{len(absent)} records of the input have no row", where=where, found=_few(absent))
        )
    if not (np.isfinite(values).all() and (values >= 0).all() and (values <= 1).all()):
        findings.append(
            Finding(what="a distance is out of range", where=where, expected="numbers from 0 to 1")
        )
    elif np.abs(np.diagonal(values)).max(initial=0) > _TOLERANCE:
        findings.append(Finding(what="a record is at a distance from itself", where=where, expected="0"))
    elif np.abs(values - values.T).max(initial=0) > _TOLERANCE:
        findings.append(Finding(what="the table is not symmetric", where=where))
    elif not absent:
        for records in sequences.records:
            rows = values[[row[record.id] for record in records]]
            if np.abs(rows - rows[0]).max(initial=0) > _TOLERANCE:
                findings.append(
                    Finding(
                        what="records with the same sequence are at different distances",
                        where=where,
                        found=_few([record.id for record in records]),
                    )
                )
    return findings


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
