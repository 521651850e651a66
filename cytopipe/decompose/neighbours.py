"""Similar sequences of a query, from several finders with one interface.

A finder answers `search(queries)` with candidates, nearest first. It only proposes: every distance that
decides anything is computed afterwards. Whichever finder is used, a query is never its own neighbour and
every hit is a position of the set. The embedded k-mer index serves by default, so that a result does not
depend on what is installed; BLAST+ is asked for by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from cytopipe.decompose.hits import Hits
from cytopipe.decompose.parameters import NEIGHBOUR_KINDS, Parameters
from cytopipe.engine import Engine
from cytopipe.errors import ParameterError

__all__ = ["Exhaustive", "Neighbours", "open_neighbours"]


class Neighbours(Protocol):
    """A finder of similar sequences."""

    name: str

    def search(self, query_indices: Sequence[int] | np.ndarray) -> Hits:
        """Neighbours of the sequences at `query_indices`, nearest first, without themselves."""


def open_neighbours(
    kind: str,
    sequences: Sequence[str],
    parameters: Parameters,
    folder: Path | None = None,
    engine: Engine | None = None,
) -> Neighbours:
    """Open the finder that `kind` names.

    Parameters
    ----------
    kind : {"auto", "blast", "kmer", "exhaustive"}
        "auto" is the embedded k-mer index, whatever is installed: the same input gives the same bytes on
        every machine, for a tenth of the CPU. BLAST+ is used where it is asked for.
    sequences : sequence of str
        Unique upper-case sequences.
    parameters : Parameters
        Limits of the search.
    folder : Path, optional
        Where a database is kept and found again (BLAST); required for "blast".
    engine : Engine, optional
        Its worker count is the default number of BLAST threads.

    Raises
    ------
    ParameterError
        If `kind` is none of these.
    MissingToolError
        If BLAST was asked for by name and is not installed.
    """
    if kind == "auto":
        kind = "kmer"
    if kind == "blast":
        from cytopipe.decompose.neighbours_blast import Blast

        return Blast(sequences, parameters, folder, workers=engine.workers if engine else 1)
    if kind == "kmer":
        from cytopipe.decompose.neighbours_kmer import Kmers

        return Kmers(sequences, parameters)
    if kind == "exhaustive":
        return Exhaustive(len(sequences))
    raise ParameterError(
        "unknown neighbour search", where="neighbours", expected=" | ".join(NEIGHBOUR_KINDS), found=repr(kind)
    )


class Exhaustive:
    """Every other sequence is a candidate: exact, and quadratic in distances."""

    name = "exhaustive"

    def __init__(self, n_sequences: int) -> None:
        self._n = n_sequences

    def search(self, query_indices: Sequence[int] | np.ndarray) -> Hits:
        """All other positions, ascending, for each query."""
        everything = np.arange(self._n)
        rows = [np.delete(everything, query) for query in query_indices]
        return Hits.from_rows([(row, np.full(len(row), np.nan, np.float32)) for row in rows])
