"""A set of FASTA files that people edit by hand in one flat folder: ``refined.cluster_0001.fasta`` and so on.

Every file belongs to the set by its name, which begins with that of the set. Sequences stand on one line
each, which is easiest to move by hand; a file is read with all its faults told at once, each with its line.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from pathlib import Path

from cytopipe.errors import CytopipeError, Finding, InputError
from cytopipe.storage.fasta import FastaRecord, format_fasta, parse_fasta
from cytopipe.storage.formats.format import SetFormat

__all__ = ["FASTA_SET", "FastaSet"]

Records = Iterable[FastaRecord | tuple[str, str]]


class FastaSet(SetFormat):
    """Files ``NAME.*.fasta`` in one folder, several sets beside each other."""

    name, kinds = "fasta_set", ("fasta",)

    def owns(self, name: str) -> tuple[str, ...]:
        """``NAME.*.fasta``."""
        return (f"{name}.*.fasta",)

    def files(self, name: str, value: Mapping[str, Records | bytes | None]) -> Mapping[str, bytes | None]:
        """The files of the set.

        Parameters
        ----------
        name : str
            Of the set: ``initial``, ``refined``.
        value : mapping of str to records, bytes or None
            File name to :class:`FastaRecord` or (header, sequence) pairs in their order. Bytes are taken as
            they are; None keeps a file as it stands.

        Raises
        ------
        InputError
            A file name that the set does not own, or a record that could not be read again.
        """
        foreign = [file for file in value if not self._owns(name, file)]
        if foreign:
            raise InputError(
                Finding(what=f"the set {name!r} cannot have the file {file!r}", expected=self.owns(name)[0])
                for file in foreign
            )
        return {
            file: records if records is None or isinstance(records, bytes) else format_fasta(records)
            for file, records in value.items()
        }

    def parse(
        self, name: str, contents: Mapping[str, bytes], folder: Path
    ) -> dict[str, tuple[FastaRecord, ...]]:
        """Records of every file of the set, by file name.

        Raises
        ------
        InputError
            With the faults of all files, each with its line.
        """
        records, findings = {}, []
        for file in sorted(contents):
            try:
                records[file] = tuple(parse_fasta(contents[file], where=str(folder / file), allow_empty=True))
            except CytopipeError as error:
                findings += error.findings
        if findings:
            raise InputError(findings)
        return records

    def _owns(self, name: str, file: str) -> bool:
        return any(fnmatch.fnmatchcase(file, pattern) for pattern in self.owns(name))


FASTA_SET = FastaSet()
"""Sets of FASTA files."""
