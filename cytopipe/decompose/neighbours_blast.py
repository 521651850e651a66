"""BLAST+ as finder of neighbours: sequences in, a database in a folder, ranked hits out.

Identifiers are our own (``s0``, ``s1``, ...), so no header of a user's file ever reaches BLAST. Queries go
in batches. The limit on targets is set above the number of sequences: BLAST applies it while it searches,
not to the ranked list, so a small one loses best hits (Shah et al. 2019); the user's limit is applied here.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cytopipe.decompose.hits import Hits
from cytopipe.decompose.parameters import Parameters
from cytopipe.errors import CytopipeError, InputError, MissingToolError

__all__ = ["Blast", "require_blast"]

_DATABASE = "sequences"
_STAMP = "sequences.sha256"
_BATCH = 500


class Blast:
    """Megablast against a database of the set.

    Parameters
    ----------
    sequences : sequence of str
    parameters : Parameters
    folder : Path
        Holds the database; one that was made of the same sequences is used again.
    workers : int
        Threads if the parameters name none.
    """

    name = "blast"

    def __init__(
        self, sequences: Sequence[str], parameters: Parameters, folder: Path | None, workers: int = 1
    ) -> None:
        require_blast()
        if folder is None:
            raise InputError("BLAST needs a folder to keep its database in", where="neighbours: blast")
        self._sequences = tuple(sequences)
        self._parameters = parameters
        self._threads = parameters.blast_threads or workers
        self._folder = Path(folder)
        self._make_database()

    def search(self, query_indices: Sequence[int] | np.ndarray) -> Hits:
        """Hits of each query by bit score, best first, at most ``blast_max_hits``."""
        queries = [int(index) for index in query_indices]
        rows = []
        for start in range(0, len(queries), _BATCH):
            rows += self._search_batch(queries[start : start + _BATCH])
        return Hits.from_rows(rows)

    def _make_database(self) -> None:
        fasta = "".join(f">s{index}\n{sequence}\n" for index, sequence in enumerate(self._sequences))
        digest = hashlib.sha256(fasta.encode()).hexdigest()
        stamp = self._folder / _STAMP
        if stamp.is_file() and stamp.read_text() == digest:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        stamp.unlink(missing_ok=True)
        command = ["makeblastdb", "-dbtype", "nucl", "-parse_seqids", "-in", "-", "-title", _DATABASE]
        _run([*command, "-out", _DATABASE], fasta, self._folder)
        stamp.write_text(digest)  # last: a database without its stamp is made again

    def _search_batch(self, queries: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
        parameters = self._parameters
        fasta = "".join(f">s{index}\n{self._sequences[index]}\n" for index in queries)
        command = ["blastn", "-task", "megablast", "-db", _DATABASE, "-query", "-"]
        command += ["-outfmt", "6 qseqid sseqid pident bitscore", "-strand", "plus"]
        command += ["-max_target_seqs", str(len(self._sequences) + 1), "-max_hsps", "1"]
        command += [
            "-evalue",
            repr(parameters.blast_evalue),
            "-perc_identity",
            repr(parameters.search_identity_percent),
        ]
        command += ["-num_threads", str(self._threads)]
        found: dict[int, list[tuple[float, int, float]]] = {index: [] for index in queries}
        for line in _run(command, fasta, self._folder).splitlines():
            query, subject, percent, bits = line.split("\t")
            found[int(query[1:])].append((-float(bits), int(subject[1:]), float(percent) / 100))
        rows = []
        for query in queries:
            hits = sorted(hit for hit in found[query] if hit[1] != query)[: parameters.blast_max_hits]
            rows.append(
                (np.array([h[1] for h in hits], np.int64), np.array([h[2] for h in hits], np.float32))
            )
        return rows


def require_blast() -> None:
    """Raise `MissingToolError` where BLAST+ is not installed."""
    missing = [tool for tool in ("makeblastdb", "blastn") if shutil.which(tool) is None]
    if missing:
        raise MissingToolError(
            f"{' and '.join(missing)} not found on the PATH",
            where="neighbours: blast",
            next="Install NCBI BLAST+ (package ncbi-blast+ or blast), or use neighbours: kmer.",
        )


def _run(command: list[str], text: str, folder: Path) -> str:
    """Run a BLAST program inside `folder` (its arguments cannot hold paths with spaces); its output."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.run(
            command,
            input=text,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=folder,
            text=True,
            process_group=0,  # Ctrl-C reaches a whole group: the search at hand is to be finished, not killed
        )
        if process.returncode == 0:
            return process.stdout
        errors.seek(0)
        said = errors.read().strip()
    raise CytopipeError(
        f"{command[0]} failed with exit code {process.returncode}",
        where=str(folder),
        found=said[-2000:] or "no message",
        next="Check free disk space and the BLAST+ installation, or use neighbours: kmer.",
    )
