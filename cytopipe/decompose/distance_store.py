"""Distances on disk: a folder of immutable segments, keyed by what was compared and how.

Each save publishes one segment with only the new pairs; a killed process leaves the old ones as they were,
and many small ones are folded into one. A segment names the scoring (its version and parameters) and carries
the digest of its own bytes besides its manifest. One that is damaged, or was scored otherwise, is removed and
its pairs are computed again: a store may cost time, never a wrong distance.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cytopipe.decompose.scoring import END_SKIP, MAX_MOTIF
from cytopipe.decompose.sequences import sequence_digest
from cytopipe.errors import StorageError
from cytopipe.storage import Store

__all__ = ["SCORING", "DistanceStore"]

#: What a stored number means; change it when the scoring changes and every old segment is set aside.
SCORING = {
    "distance": "1 - adjusted identity",
    "oracle": "adjusted-identity 0.2.9",
    "end_skip": END_SKIP,
    "max_motif": MAX_MOTIF,
    "format": 1,
}

_MAGIC = b"cytopipe-dist-1\n"
_PAIR = np.dtype([("low", "<u4"), ("high", "<u4"), ("edits", "<i4"), ("scored", "<i4")])
_DIGEST_BYTES = 16
#: Segments beyond which a save folds all into one.
MANY = 16

Columns = tuple[np.ndarray, np.ndarray, np.ndarray]


class DistanceStore:
    """Segments of one folder, seen by the sequences of one set.

    Parameters
    ----------
    folder : Path
        Created when the first segment is written.
    sequences : sequence of str
        The sequences, by position.

    Attributes
    ----------
    removed : list of Path
        Segments that were damaged or scored otherwise.
    """

    def __init__(self, folder: Path, sequences: Sequence[str]) -> None:
        self.folder = Path(folder)
        self.removed: list[Path] = []
        self._digests = [sequence_digest(sequence) for sequence in sequences]
        self._lengths = np.array([len(sequence) for sequence in sequences], np.int64)
        self._stored = np.empty(0, np.int64)

    def load(self) -> Columns:
        """Pair keys (``low * n + high``), edits and scored positions of all whole segments."""
        n = len(self._digests)
        position = {digest: at for at, digest in enumerate(self._digests)}
        keys, edits, scored = [], [], []
        for digests, pairs in self._read_all():
            here = np.array([position.get(digest, -1) for digest in digests], np.int64)
            low, high = here[pairs["low"]], here[pairs["high"]]
            known = (low >= 0) & (high >= 0)
            # Which of two equally long sequences came first decides their score.
            known &= (low < high) | (self._lengths[low] != self._lengths[high])
            keys.append(np.minimum(low, high)[known] * n + np.maximum(low, high)[known])
            edits.append(pairs["edits"][known])
            scored.append(pairs["scored"][known])
        if not keys:
            return np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.int32)
        self._stored, first = np.unique(np.concatenate(keys), return_index=True)
        return (
            self._stored,
            np.concatenate(edits)[first].astype(np.int32),
            np.concatenate(scored)[first].astype(np.int32),
        )

    def append(self, keys: np.ndarray, edits: np.ndarray, scored: np.ndarray) -> None:
        """Add the pairs, distinct and ascending, that are not stored yet as one new segment."""
        new = ~np.isin(keys, self._stored, assume_unique=True)
        if not new.any():
            return
        n = len(self._digests)
        used, places = np.unique(np.concatenate([keys[new] // n, keys[new] % n]), return_inverse=True)
        pairs = np.empty(int(new.sum()), _PAIR)
        pairs["low"], pairs["high"] = places[: len(pairs)], places[len(pairs) :]
        pairs["edits"], pairs["scored"] = edits[new], scored[new]
        self._write([self._digests[k] for k in used], pairs)
        self._stored = np.union1d(self._stored, keys[new])
        if len(self._segments()) > MANY:
            self._fold()

    def _fold(self) -> None:
        """Replace all segments by one that holds what they hold, other sets' sequences included."""
        old = self._segments()
        position: dict[bytes, int] = {}
        folded = []
        for digests, pairs in self._read_all():
            here = np.array([position.setdefault(digest, len(position)) for digest in digests], np.int64)
            pairs = pairs.copy()
            pairs["low"], pairs["high"] = here[pairs["low"]], here[pairs["high"]]
            folded.append(pairs)
        pairs = np.concatenate(folded)
        _, first = np.unique(pairs[["low", "high"]], return_index=True)
        new = self._write(list(position), pairs[np.sort(first)])
        for path in old:
            if path != new:
                _remove(path)

    def _segments(self) -> list[Path]:
        return sorted(self.folder.glob("*.distances")) if self.folder.is_dir() else []

    def _read_all(self):
        segments = self._segments()
        store = Store(self.folder) if segments else None
        for path in segments:
            try:
                content = _parsed(store.read_bytes(path))
            except StorageError:
                content = None
            if content is None:
                self.removed.append(path)
                _remove(path)
            else:
                yield content

    def _write(self, digests: Sequence[bytes], pairs: np.ndarray) -> Path:
        scoring = json.dumps(SCORING, sort_keys=True).encode()
        head = struct.pack("<III", len(scoring), len(digests), len(pairs))
        body = b"".join([head, scoring, *digests, pairs.tobytes()])
        digest = hashlib.sha256(body).digest()
        path = self.folder / f"{digest.hex()[:24]}.distances"  # by content: the same pairs, the same file
        Store(self.folder).publish_bytes(path, _MAGIC + digest + body)
        return path


def _parsed(data: bytes) -> tuple[list[bytes], np.ndarray] | None:
    """Digests and pairs of a segment; None if it is damaged or was scored otherwise."""
    start = len(_MAGIC) + 32
    body = data[start:]
    if data[: len(_MAGIC)] != _MAGIC or hashlib.sha256(body).digest() != data[len(_MAGIC) : start]:
        return None
    n_scoring, n_digests, n_pairs = struct.unpack_from("<III", body)
    at = 12 + n_scoring
    if json.loads(body[12:at]) != SCORING:
        return None
    digests = [body[k : k + _DIGEST_BYTES] for k in range(at, at + n_digests * _DIGEST_BYTES, _DIGEST_BYTES)]
    return digests, np.frombuffer(body, _PAIR, count=n_pairs, offset=at + n_digests * _DIGEST_BYTES)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.with_name(f".{path.name}.manifest.json").unlink(missing_ok=True)
