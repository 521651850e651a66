"""Which pairs, in; their adjusted distances, out: computed once, kept, and shared by every stage.

A `Distances` belongs to one tuple of unique sequences. Asked for pairs, it looks in its table, then computes
what is missing (over the engine when there is enough of it) and remembers. With a store, the table outlives
the process: pairs are keyed by the digests of their sequences, so a resumed run, a chained refinement, a
sweep over thresholds or a set that shares sequences starts where the last one ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from cytopipe.decompose.alignment import Scores, oriented, packed, score_packed, scores_to_distances
from cytopipe.decompose.distance_store import DistanceStore
from cytopipe.decompose.pair_table import PairTable
from cytopipe.engine import Engine

__all__ = ["Distances", "projected_bytes"]

#: Pairs aligned as one item of work: about a tenth of a second.
BLOCK_PAIRS = 4_000

#: Below this many missing pairs per worker of a cluster, sending them costs more than it saves (each worker
#: imports the compiled kernels for about 0.7 s of CPU).
PAIRS_PER_WORKER = 40_000


class Distances:
    """Adjusted distances between the sequences of one set.

    Parameters
    ----------
    sequences : sequence of str
        Unique upper-case sequences. Among equally long ones their order decides which is aligned to
        which; use the canonical order of `SequenceSet`.
    engine : Engine, optional
        Where large requests are computed; None: in this process.
    store_path : Path, optional
        Folder of the persistent store; None: memory only.
    progress : callable, optional
        ``progress(done, total)`` while a large request is computed.

    Attributes
    ----------
    n_computed, n_reused : int
        Pairs aligned in this process, and pairs that came out of the store.
    """

    def __init__(
        self,
        sequences: Sequence[str],
        *,
        engine: Engine | None = None,
        store_path: Path | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.sequences = tuple(sequences)
        self._packed = packed(self.sequences)
        self.lengths = np.diff(self._packed[1])
        self.progress = progress
        self.n_computed = 0
        self._engine = engine
        self._table = PairTable()
        self._store = None
        if store_path is not None:
            self._store = DistanceStore(store_path, self.sequences)
            self._table.put(*self._store.load())
        self.n_reused = self._table.size

    def __len__(self) -> int:
        return len(self.sequences)

    def __enter__(self) -> Distances:
        return self

    def __exit__(self, *exception: object) -> None:
        self.save()

    def pairs(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Distances of pairs, (m,) float64 in [0, 1]; 0 where ``i == j``.

        Parameters
        ----------
        i, j : array_like, (m,) int
            Positions in `sequences`, in either order.
        """
        scores = self.scores(i, j)
        return scores_to_distances(scores.edits, scores.scored)

    def scores(self, i: np.ndarray, j: np.ndarray) -> Scores:
        """Edits and scored positions of pairs: what a distance rests on."""
        i, j = np.asarray(i, np.int64).ravel(), np.asarray(j, np.int64).ravel()
        keys = np.minimum(i, j) * len(self.sequences) + np.maximum(i, j)
        found, edits, scored = self._table.get(keys)
        same = i == j
        missing = ~(found | same)
        if missing.any():
            self._compute(np.unique(keys[missing]))
            _, edits[missing], scored[missing] = self._table.get(keys[missing])
        edits[same], scored[same] = 0, self.lengths[i[same]]
        return Scores(edits, scored)

    def matrix(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Symmetric distances among `indices`, (n, n) float64, zero on the diagonal."""
        indices = np.asarray(indices, np.int64)
        rows, columns = np.triu_indices(len(indices), 1)
        matrix = np.zeros((len(indices), len(indices)))
        matrix[rows, columns] = self.pairs(indices[rows], indices[columns])
        matrix[columns, rows] = matrix[rows, columns]
        return matrix

    def block(self, rows: Sequence[int] | np.ndarray, columns: Sequence[int] | np.ndarray) -> np.ndarray:
        """Distances from every row to every column, (len(rows), len(columns)) float64."""
        rows, columns = np.asarray(rows, np.int64), np.asarray(columns, np.int64)
        values = self.pairs(np.repeat(rows, len(columns)), np.tile(columns, len(rows)))
        return values.reshape(len(rows), len(columns))

    def known(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All pairs in the table: lower position, higher position, distance; ordered by position."""
        keys, edits, scored = self._table.items()
        return keys // len(self.sequences), keys % len(self.sequences), scores_to_distances(edits, scored)

    def save(self) -> None:
        """Append what was computed since the last save to the store; a no-op without one."""
        if self._store is not None:
            self._store.append(*self._table.items())

    def _compute(self, keys: np.ndarray) -> None:
        n = len(self.sequences)
        first, second = oriented(keys // n, keys % n, self.lengths)
        blocks = [slice(at, at + BLOCK_PAIRS) for at in range(0, len(keys), BLOCK_PAIRS)]
        results = self._results([(first[block], second[block]) for block in blocks], len(keys))
        done = 0
        for block, found in zip(blocks, results, strict=True):
            self._table.put(keys[block], found.edits, found.scored)
            done += len(found.edits)
            if self.progress is not None:
                self.progress(done, len(keys))
        self.n_computed += len(keys)

    def _results(self, blocks: list[tuple[np.ndarray, np.ndarray]], n_pairs: int) -> Iterator[Scores]:
        """Scores of every block, in order."""
        engine = self._engine
        if engine is not None and engine.name == "dask" and n_pairs >= PAIRS_PER_WORKER * engine.workers:
            yield from engine.map(_scored, [self._excerpt(*block) for block in blocks])
        elif engine is not None and engine.name == "local" and len(blocks) > 1:
            # The compiled kernels leave the interpreter alone, so that threads do, and need no start.
            with ThreadPoolExecutor(engine.workers) as threads:
                yield from threads.map(lambda block: score_packed(self._packed, *block), blocks)
        else:
            yield from (score_packed(self._packed, *block) for block in blocks)

    def _excerpt(self, first: np.ndarray, second: np.ndarray):
        """The block with only the sequences it needs, as it travels to a worker."""
        used, places = np.unique(np.concatenate([first, second]), return_inverse=True)
        return packed([self.sequences[k] for k in used]), places[: len(first)], places[len(first) :]


def projected_bytes(
    n_sequences: int, pairs_per_sequence: float = 100.0, mean_length_bp: float = 700.0
) -> int:
    """Memory a decomposition will need at most, projected before it starts.

    Parameters
    ----------
    n_sequences : int
        Unique sequences.
    pairs_per_sequence : float
        Distances expected per sequence; 20,000 mutated barcodes needed 40.
    mean_length_bp : float
        Mean sequence length.

    Returns
    -------
    int
        Bytes of the interpreter with its libraries, sequences and k-mer index, candidates while they are
        ranked, and the pair table while it grows.
    """
    interpreter = 450 << 20
    sequences_and_index = n_sequences * mean_length_bp * 24
    candidates = n_sequences * 256 * 2 * 40  # as many as `candidates.KEPT`, seen from both sides
    table = n_sequences * pairs_per_sequence * 16 * 4
    return int(interpreter + sequences_and_index + candidates + table)


def _scored(item) -> Scores:
    return score_packed(*item)
