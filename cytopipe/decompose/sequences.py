"""The unique sequences of FASTA records, in an order that depends on nothing but their content.

A `SequenceSet` holds the distinct sequences (upper case, U read as T) and, for each, the records that carry
it. The order (longer first, then alphabetical) is a total order on sequences, so shuffling the input or
adding records never changes which of two sequences comes first: every tie further down the pipeline is
decided by it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cytopipe.errors import Finding, InputError

__all__ = ["IUPAC", "SequenceSet", "normalise", "sequence_digest"]

#: Nucleotide codes a barcode may hold (IUPAC-IUB 1984); U is read as T.
IUPAC = "ACGTURYSWKMBDHVN"

_REMOVE_IUPAC = str.maketrans("", "", IUPAC)


@dataclass(frozen=True)
class SequenceSet:
    """Unique sequences in canonical order, each with its records.

    Attributes
    ----------
    sequences : tuple of str
        Distinct sequences, upper case, longest first and alphabetical within one length.
    records : tuple of tuple
        ``records[i]`` are the records whose sequence is ``sequences[i]``, ordered by id.
    turned : tuple of str
        Ids of the records whose reverse complement stands here for them.
    """

    sequences: tuple[str, ...]
    records: tuple[tuple[Any, ...], ...]
    turned: tuple[str, ...] = ()

    @classmethod
    def from_records(
        cls, records: Iterable[Any], *, where: str = "", one_strand: bool = False
    ) -> SequenceSet:
        """Collapse records (objects with ``id`` and ``sequence``) to unique sequences.

        Parameters
        ----------
        records : iterable
            Anything with attributes ``id`` and ``sequence``; ``line`` is used in messages if present.
        where : str, optional
            Name of the file the records come from, for messages.
        one_strand : bool
            Turn records that were read from the other strand than most (see
            `cytopipe.decompose.orientation`); the records themselves stay as they are.

        Raises
        ------
        InputError
            With one finding per record that is empty or holds something other than nucleotide codes.
        """
        carriers: dict[str, list[Any]] = {}
        findings: list[Finding] = []
        for record in records:
            sequence = normalise(record.sequence)
            finding = _finding(record, sequence, where)
            if finding is not None:
                findings.append(finding)
                continue
            carriers.setdefault(sequence, []).append(record)
        if findings:
            raise InputError(findings)
        turned: list[str] = []
        if one_strand:
            carriers, turned = _on_one_strand(carriers)
        order = sorted(carriers, key=_canonical)
        return cls(
            sequences=tuple(order),
            records=tuple(tuple(sorted(carriers[s], key=lambda record: str(record.id))) for s in order),
            turned=tuple(sorted(turned)),
        )

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def n_records(self) -> int:
        """Number of records, duplicates included."""
        return sum(map(len, self.records))

    @cached_property
    def n_distinct(self) -> int:
        """Number of distinct sequences as the records spell them, on either strand."""
        return len({normalise(record.sequence) for records in self.records for record in records})

    @cached_property
    def digests(self) -> tuple[bytes, ...]:
        """Content digest of every sequence (16 bytes each), the key of persisted distances."""
        return tuple(map(sequence_digest, self.sequences))

    @cached_property
    def index_of(self) -> dict[str, int]:
        """Position of every sequence, as it stands here and as its records spell it."""
        spelt = {
            normalise(record.sequence): index
            for index, records in enumerate(self.records)
            for record in records
        }
        return spelt | {sequence: index for index, sequence in enumerate(self.sequences)}

    def expand(self, indices: Sequence[int]) -> list[Any]:
        """All records of the sequences at `indices`, in their order."""
        return [record for index in indices for record in self.records[index]]


def normalise(sequence: str) -> str:
    """The spelling two records must share to be one sequence: upper case, T for U."""
    return sequence.upper().replace("U", "T")


def sequence_digest(sequence: str) -> bytes:
    """First 16 bytes of the SHA-256 of a sequence."""
    return hashlib.sha256(sequence.encode("ascii")).digest()[:16]


def _canonical(sequence: str) -> tuple[int, str]:
    return -len(sequence), sequence


def _on_one_strand(carriers: dict[str, list[Any]]) -> tuple[dict[str, list[Any]], list[str]]:
    """The same records under sequences of one strand, and the ids of those that were turned."""
    from cytopipe.decompose.alignment import reverse_complement
    from cytopipe.decompose.orientation import reversed_strand

    order = sorted(carriers, key=_canonical)
    united: dict[str, list[Any]] = {}
    turned: list[str] = []
    for sequence, other_strand in zip(order, reversed_strand(order).tolist(), strict=True):
        here = reverse_complement(sequence) if other_strand else sequence
        united.setdefault(here, []).extend(carriers[sequence])
        if other_strand:
            turned += [str(record.id) for record in carriers[sequence]]
    return united, turned


def _finding(record: Any, sequence: str, where: str) -> Finding | None:
    line = getattr(record, "line", None)
    place = f"{where}:{line}" if where and line else where
    if not sequence:
        return Finding(
            what=f"record {record.id!r} has no sequence",
            where=place,
            next="Remove the record or give it a sequence.",
        )
    foreign = str(record.sequence).upper().translate(_REMOVE_IUPAC)
    if not foreign and record.sequence.isascii():  # upper() turns some letters into two plain ones
        return None
    return Finding(
        what=f"record {record.id!r} holds characters that are no nucleotide codes",
        where=place,
        expected=f"only {IUPAC}",
        found=", ".join(repr(character) for character in sorted(set(foreign))[:8]) or "letters outside ASCII",
        next="Remove gaps from aligned sequences." if set(foreign) & {"-", "."} else "Correct the record.",
    )
