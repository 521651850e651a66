"""The input of a decomposition, read once: its records, its unique sequences, and what compares them.

A `Workspace` holds everything the stages share: unique sequences in canonical order, distances that persist
in the directory, and a finder of neighbours that is opened when it is first needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from cytopipe.decompose.layout import DISTANCE_FOLDER, SEARCH_FOLDER
from cytopipe.decompose.matrix import GivenDistances
from cytopipe.decompose.parameters import BarcodeGap, Parameters
from cytopipe.decompose.sequences import SequenceSet
from cytopipe.decompose.state import State
from cytopipe.engine import Engine
from cytopipe.errors import InputError, Interrupted
from cytopipe.provenance import sha256_bytes
from cytopipe.storage.fasta import FastaRecord, load_fasta, parse_fasta

__all__ = ["SequenceFile", "Work", "Workspace", "opened", "stop_if_asked"]

_MANY_ALIGNMENTS = 2_000


@dataclass(frozen=True)
class SequenceFile:
    """A FASTA file as it was read.

    Parameters
    ----------
    path : Path
    sha256 : str
        Digest of the file.
    records : mapping of str to FastaRecord
        By id, in the order of the file.
    """

    path: Path
    sha256: str
    records: Mapping[str, FastaRecord]
    _unique: dict[tuple[frozenset[str], bool], SequenceSet] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    def unique(self, *, without: frozenset[str] = frozenset(), one_strand: bool = False) -> SequenceSet:
        """Its unique sequences, made once; records that are named by `without` are left out."""
        if (without, one_strand) not in self._unique:
            kept = [record for record in self.records.values() if record.id not in without]
            self._unique[without, one_strand] = SequenceSet.from_records(
                kept, where=str(self.path), one_strand=one_strand
            )
        return self._unique[without, one_strand]

    @classmethod
    def of(cls, data: bytes, path: Path) -> SequenceFile:
        """From the bytes of the file at `path`."""
        records = parse_fasta(data, where=str(path))
        return cls(path, sha256_bytes(data), {record.id: record for record in records})

    @classmethod
    def read(cls, path: Path) -> SequenceFile:
        """Read and check a file.

        Raises
        ------
        InputError
            Every fault in it, with its line.
        """
        try:
            file = load_fasta(path, gaps=False)
        except InputError as error:
            if path.exists() or path.is_symlink():
                raise
            raise InputError(
                "the sequences cannot be read: there is no such file",
                where=str(path),
                expected="a FASTA file",
            ) from error
        found = cls(path, file.sha256, {record.id: record for record in file.records})
        found.unique()  # says what is wrong with the sequences
        return found


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a stage may use while it works; anything with these attributes will do.

    Parameters
    ----------
    cache : Path
        A folder for distances and the search database, which other stages use again.
    engine : Engine, optional
        Where many alignments are computed; None: in this process.
    progress : callable
        ``progress(what, done, total)``.
    stop : callable
        Whether a stop was asked for.
    """

    cache: Path
    engine: Engine | None = None
    progress: Callable[[str, int, int], None] = lambda what, done, total: None
    stop: Callable[[], bool] = lambda: False


class Workspace:
    """What the stages of one decomposition share.

    Parameters
    ----------
    sequences : SequenceSet
        Of the records in play: those of the input without the deleted ones.
    parameters : Parameters
    directory : Path
        Where distances and the search database are kept.
    engine : Engine, optional
        Where large amounts of alignments are computed.
    given : GivenDistances file, optional
        Ready-made distances instead of alignments.
    progress : callable, optional
        ``progress(done, total)`` while many pairs are aligned.
    keep_search : bool
        Whether neighbours are found with a database that is kept in the directory; otherwise with an index
        in memory.
    gap : BarcodeGap, optional
        Where the set was found to be cut; None: found when it is first needed, if parameters ask for it.
    """

    def __init__(
        self,
        sequences: SequenceSet,
        parameters: Parameters,
        directory: Path,
        *,
        engine: Engine | None = None,
        given: Path | None = None,
        progress: Callable[[int, int], None] | None = None,
        keep_search: bool = True,
        gap: BarcodeGap | None = None,
    ) -> None:
        self.parameters = parameters
        self.sequences = sequences
        self._directory = directory
        self._engine = engine
        self._given = given
        self._progress = progress
        self._keep_search = keep_search
        self._known_gap = gap

    @cached_property
    def weights(self) -> np.ndarray:
        """Number of records of every unique sequence, (n,) int64."""
        return np.array([len(records) for records in self.sequences.records], np.int64)

    @cached_property
    def distances(self):
        """Distances between the unique sequences."""
        if self._given is not None:
            return GivenDistances.read(self._given, self.sequences)
        from cytopipe.decompose.distance import Distances

        return Distances(
            self.sequences.sequences,
            engine=self._engine,
            store_path=self._directory / DISTANCE_FOLDER,
            progress=self._progress,
        )

    @cached_property
    def neighbours(self):
        """The finder of similar sequences; with ready-made distances, those themselves."""
        if self._given is not None:
            return self.distances.neighbours()
        from cytopipe.decompose.neighbours import open_neighbours

        folder = self._directory / SEARCH_FOLDER if self._keep_search else None
        kind = self.parameters.neighbours if self._keep_search else "kmer"
        return open_neighbours(kind, self.sequences.sequences, self.parameters, folder, self._engine)

    @cached_property
    def candidates(self):
        """Who is worth comparing with whom."""
        from cytopipe.decompose.candidates import candidates

        return candidates(self.neighbours, self.distances.lengths, self.parameters)

    @property
    def gap(self) -> BarcodeGap | None:
        """Where the set is cut, found on all of its sequences; None where parameters say so."""
        if self._known_gap is None and self.parameters.asks_the_set:
            from cytopipe.decompose.barcode_gap import barcode_gap

            self._known_gap = barcode_gap(self.candidates, self.distances, self.parameters)
        return self._known_gap

    @property
    def known_gap(self) -> BarcodeGap | None:
        """The same, as far as it is known."""
        return self._known_gap

    @cached_property
    def measuring_neighbours(self):
        """The finder that reports use: never BLAST, which would cost as much again as the clustering did.

        So a report is also the same where BLAST is installed and where it is not.
        """
        if self._given is not None or self.parameters.neighbours != "blast":
            return self.neighbours
        from cytopipe.decompose.neighbours import open_neighbours

        return open_neighbours("kmer", self.sequences.sequences, self.parameters)

    @property
    def finder(self) -> str:
        """Who found neighbours; "" as long as nobody was asked."""
        return self.neighbours.name if "neighbours" in self.__dict__ else ""

    def save(self) -> None:
        """Keep the distances computed so far."""
        if "distances" in self.__dict__:
            self.distances.save()


@contextmanager
def opened(
    sequences: SequenceFile,
    state: State,
    work: Work,
    *,
    deleted: Iterable[str] = (),
    aligning: str = "",
) -> Iterator[Workspace]:
    """A workspace over the records in play; its distances are kept, however the work ends.

    Parameters
    ----------
    deleted : iterable of str
        Records that a person took out.
    aligning : str
        How to call many alignments in the progress; a stop is obeyed between them where it is given.
    """

    def aligned(done: int, total: int) -> None:
        if aligning and total >= _MANY_ALIGNMENTS:
            work.progress(f"{aligning}: alignments", done, total)
        if aligning:
            stop_if_asked(work)

    given = None if state.distances is None else Path(state.distances.path)
    parameters = state.parameters
    workspace = Workspace(
        # Ready-made distances were measured on the records as they are, and so were the reference's.
        sequences.unique(without=frozenset(deleted), one_strand=given is None and not parameters.parity),
        parameters,
        work.cache,
        engine=work.engine,
        given=given,
        progress=aligned,
        gap=state.gap,
    )
    try:
        yield workspace
    finally:
        workspace.save()


def stop_if_asked(work: Work) -> None:
    """Raise `Interrupted` where a stop was asked for; the distances are kept, and give the same again."""
    if work.stop():
        raise Interrupted("stopped on request; the stages before and the distances are saved")
