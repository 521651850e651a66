"""FASTA that people edit by hand: read with every fault named by its line, written the same way every time.

In comes a file (plain or ``.gz``) or bytes; out go records in file order. What must hold: nothing is
dropped, guessed or repaired in silence; all faults of a file come in one error, each with its line; a
compressed file is counted while it inflates.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cytopipe.errors import Finding, InputError
from cytopipe.storage.guard.budget import read_bounded

__all__ = ["FastaRecord", "format_fasta", "parse_fasta", "read_fasta"]

IUPAC_DNA = "ACGTURYSWKMBDHVN-."
MAX_FASTA_BYTES = 1 << 30
MAX_FINDINGS = 50
_NOT_A_LETTER = re.compile(r"[^A-Za-z*.\-]")


@dataclass(frozen=True)
class FastaRecord:
    """One sequence.

    Parameters
    ----------
    id : str
        The header up to the first white space.
    description : str
        The rest of the header, as written.
    sequence : str
        Letters as written, case kept, line breaks removed.
    line : int
        1-based line of the header; 0 for a record that was not read from a file.
    """

    id: str
    description: str
    sequence: str
    line: int = 0

    @property
    def header(self) -> str:
        """The header without its ``>``."""
        return f"{self.id} {self.description}" if self.description else self.id


def read_fasta(
    path: Path | str,
    *,
    max_bytes: int = MAX_FASTA_BYTES,
    alphabet: str | None = IUPAC_DNA,
    allow_empty: bool = False,
) -> Iterator[FastaRecord]:
    """Read a FASTA file, plain or gzip-compressed.

    Parameters
    ----------
    path : Path or str
    max_bytes : int
        Largest text, after decompression, that is read.
    alphabet : str or None
        Letters a sequence may hold, in either case; IUPAC nucleotide codes and gaps by default. None allows
        every letter, as for proteins.
    allow_empty : bool, default False
        Accept a file without records.

    Yields
    ------
    FastaRecord
        In file order. Nothing is yielded from a file with a fault.

    Raises
    ------
    InputError
        Every fault with its line: NUL, digits and other characters that are no letters of `alphabet`, blank
        or duplicate ids, text before the first header, a record without sequence, CR-only line ends, not
        UTF-8, an empty file.
    BudgetError
        The text is larger than `max_bytes`.
    """
    data = read_bounded(Path(path), max_bytes)
    return iter(parse_fasta(data, where=str(path), alphabet=alphabet, allow_empty=allow_empty))


def parse_fasta(
    data: bytes, *, where: str = "FASTA", alphabet: str | None = IUPAC_DNA, allow_empty: bool = False
) -> list[FastaRecord]:
    """Parse FASTA from bytes; parameters and errors as :func:`read_fasta`."""
    findings = _Findings(where)
    records: list[FastaRecord] = []
    refused = _refused_letters(alphabet)
    seen: dict[str, int] = {}
    current: _Open | None = None
    headless = False
    for number, line in enumerate(_lines(data, findings), start=1):
        text = line.rstrip()
        if text.startswith(">"):
            if current is not None:
                records.append(current.close(findings))
            current = _Open(text, number)
            current.check(findings, seen)
        elif text:
            if current is None and not headless:
                headless = True
                findings.add(number, "text before the first header", found=repr(text[:40]))
            if fault := refused.search(text):
                findings.add(number, _letter_fault(fault.group(), fault.start() + 1))
            if current is not None:
                current.parts.append(text)
    if current is not None:
        records.append(current.close(findings))
    if not records and not findings and not allow_empty:
        findings.add(None, "holds no sequence", found="an empty file" if not data.strip() else "no header")
    findings.raise_if_any()
    return records


def format_fasta(records: Iterable[FastaRecord | tuple[str, str]], *, width: int = 0) -> bytes:
    """Write records as FASTA.

    Parameters
    ----------
    records : iterable of FastaRecord or (header, sequence)
        In the order they shall stand.
    width : int, default 0
        Letters per line; 0 writes each sequence on one line, which is easiest to move by hand.

    Returns
    -------
    bytes
        UTF-8 with ``\\n`` line ends.

    Raises
    ------
    InputError
        A header that is blank or holds a line break, or a blank sequence: what could not be read again.
    """
    parts = []
    for record in records:
        header, sequence = (
            (record.header, record.sequence) if isinstance(record, FastaRecord) else (record[0], record[1])
        )
        if not header.strip() or header[0].isspace() or "\n" in header or "\r" in header or "\0" in header:
            raise InputError(f"cannot be a FASTA header: {header!r}")
        if not sequence or _NOT_A_LETTER.search(sequence):
            raise InputError(f"record {_id_of(header)!r}: cannot be a FASTA sequence: {sequence[:40]!r}")
        lines = (
            [sequence] if width <= 0 else [sequence[i : i + width] for i in range(0, len(sequence), width)]
        )
        parts.append(f">{header}\n" + "\n".join(lines) + "\n")
    return "".join(parts).encode()


class _Open:
    """The record that is being read."""

    def __init__(self, text: str, line: int) -> None:
        self.blank = not text[1:].strip() or text[1].isspace()
        self.header = text[1:].replace("\t", " ").strip()
        self.line = line
        self.parts: list[str] = []

    def check(self, findings: _Findings, seen: dict[str, int]) -> None:
        """Find what is wrong with the header, and remember its id."""
        identifier = _id_of(self.header)
        if self.blank:
            findings.add(self.line, "the id after '>' is blank")
        elif identifier in seen:
            findings.add(self.line, f"id {identifier!r} stands already in line {seen[identifier]}")
        else:
            seen[identifier] = self.line
        if "\0" in self.header:
            findings.add(self.line, "NUL in a header")
        elif "\r" in self.header:
            findings.add(self.line, "a carriage return inside a line")

    def close(self, findings: _Findings) -> FastaRecord:
        sequence = "".join(self.parts)
        identifier, _, description = self.header.partition(" ")
        if not sequence:
            findings.add(self.line, f"record {identifier!r} has no sequence")
        return FastaRecord(identifier, description.strip(), sequence, self.line)


class _Findings:
    """Collects up to MAX_FINDINGS faults of one file, and counts the rest."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.found: list[Finding] = []
        self.count = 0

    def __bool__(self) -> bool:
        return self.count > 0

    def add(self, line: int | None, what: str, found: str = "") -> None:
        self.count += 1
        if len(self.found) < MAX_FINDINGS:
            where = self.where if line is None else f"{self.where}:{line}"
            self.found.append(Finding(what=what, where=where, found=found))

    def raise_if_any(self) -> None:
        if self.count > len(self.found):
            more = self.count - len(self.found)
            self.found.append(Finding(what=f"and {more} more faults of this file", where=self.where))
        if self.found:
            raise InputError(self.found)


def _lines(data: bytes, findings: _Findings) -> list[str]:
    if not data:
        return []
    if b"\n" not in data and b"\r" in data.rstrip(b"\r"):
        findings.add(1, "lines end in a bare carriage return (old Macintosh), so the file reads as one line")
        return []
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        findings.add(data[: error.start].count(b"\n") + 1, f"byte 0x{data[error.start]:02X} is not UTF-8")
        return []
    return text.split("\n")


def _id_of(header: str) -> str:
    return header.split(" ", 1)[0]


def _refused_letters(alphabet: str | None) -> re.Pattern[str]:
    if alphabet is None:
        return _NOT_A_LETTER
    return re.compile("[^" + re.escape(alphabet.upper() + alphabet.lower()) + "]")


def _letter_fault(letter: str, column: int) -> str:
    if letter == "\0":
        return f"NUL at column {column}"
    if letter.isdigit():
        return f"digit {letter!r} in a sequence, at column {column}"
    if letter == "\r":
        return f"a carriage return inside a line, at column {column}"
    if letter.isspace():
        return f"white space inside a sequence, at column {column}"
    return f"{letter!r} is no sequence letter, at column {column}"
