"""New sequences into the clusters of a directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cytopipe.decompose.directory.decomposition import Decomposition
from cytopipe.decompose.extend import Added, added
from cytopipe.decompose.layout import GROWN_INPUT_FILE
from cytopipe.decompose.workspace import SequenceFile, Work
from cytopipe.engine import Engine
from cytopipe.storage.fasta import format_fasta

__all__ = ["add_sequences"]


def add_sequences(
    directory: Path | str,
    fasta: Path | str,
    *,
    engine: Engine | None = None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    command: str = "",
    accept_missing: bool = False,
) -> Added:
    """Add the records of a FASTA file to the newest stage of a decomposition.

    The input becomes ``input.fasta`` in the directory: the old records and the new ones.

    Parameters
    ----------
    directory : Path
    fasta : Path
        Records whose ids are new. A record that is in the input already, with the same sequence, is passed
        over.
    engine, progress, command, accept_missing
        As for :meth:`Decomposition.advance` and :meth:`Decomposition.open`.

    Raises
    ------
    InputError
        If an id is in the input with another sequence; all of them are listed.
    """
    of = Decomposition.open(directory, accept_missing=accept_missing)
    new = SequenceFile.read(Path(fasta))
    with of.folder.locked():
        of.refresh()
        work = Work(cache=of.directory, engine=engine, progress=progress)
        grown, found = added(of.clusters, new, work)
        if len(found.known) == len(new.records):
            return found
        data = format_fasta(grown.records.values())
        of.take_input(SequenceFile.of(data, of.directory / GROWN_INPUT_FILE), GROWN_INPUT_FILE)
        of.note(command)
        reason = f"{len(new.records) - len(found.known)} records added"
        of.commit(grown.partition, reason, command, point=True, extra={GROWN_INPUT_FILE: data})
        return found
