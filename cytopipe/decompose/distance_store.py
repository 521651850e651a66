"""Distances on disk: a folder of immutable segments, keyed by what was compared and how.

Each save adds one segment with only the new pairs, written whole and then renamed, so a killed process
leaves the old segments as they were. A segment carries the digest of its own bytes and the key of the
scoring (its version and parameters). One that is damaged, or was scored otherwise, is put out of the way and
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
_MANY_SEGMENTS = 16


class DistanceStore:
    """Segments of one folder, seen by the sequences of one set.

    Parameters
    ----------
    folder : Path
        Created when the first segment is written.
    sequences : sequence of str
        The sequences, by position.
    """

    def __init__(self, folder: Path, sequences: Sequence[str]) -> None:
        self.folder = Path(folder)
        self._digests = [sequence_digest(sequence) for sequence in sequences]
        self._lengths = np.array([len(sequence) for sequence in sequences], np.int64)
        self._stored = np.empty(0, np.int64)
        self.damaged: list[Path] = []

    def load(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pair keys (``low * n + high``), edits and scored positions of all whole segments."""
        position = {digest: at for at, digest in enumerate(self._digests)}
        parts = []
        for path in self._segments():
            content = _read(path)
            if content is None:
                self.damaged.append(path)
                path.unlink(missing_ok=True)
                continue
            digests, pairs = content
            here = np.array([position.get(digest, -1) for digest in digests], np.int64)
            low, high = here[pairs["low"]], here[pairs["high"]]
            known = (low >= 0) & (high >= 0)
            # Which of two equally long sequences came first decides their score.
            known &= (low < high) | (self._lengths[low] != self._lengths[high])
            parts.append((low[known], high[known], pairs["edits"][known], pairs["scored"][known]))
        low, high, edits, scored = (
            (np.concatenate(c) for c in zip(*parts, strict=True)) if parts else _nothing()
        )
        keys = np.minimum(low, high) * len(self._digests) + np.maximum(low, high)
        self._stored = np.unique(keys)
        return keys, edits.astype(np.int32), scored.astype(np.int32)

    def append(self, keys: np.ndarray, edits: np.ndarray, scored: np.ndarray) -> None:
        """Add the pairs that are not stored yet as one new segment."""
        new = ~np.isin(keys, self._stored, assume_unique=True)
        if not new.any():
            return
        n = len(self._digests)
        used, places = np.unique(np.concatenate([keys[new] // n, keys[new] % n]), return_inverse=True)
        pairs = np.empty(int(new.sum()), _PAIR)
        pairs["low"], pairs["high"] = places[: len(pairs)], places[len(pairs) :]
        pairs["edits"], pairs["scored"] = edits[new], scored[new]
        _write(self.folder, [self._digests[k] for k in used], pairs)
        self._stored = np.union1d(self._stored, keys[new])

    def _segments(self) -> list[Path]:
        return sorted(self.folder.glob("*.distances")) if self.folder.is_dir() else []


def _nothing():
    return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.int32)


def _write(folder: Path, digests: Sequence[bytes], pairs: np.ndarray) -> Path:
    scoring = json.dumps(SCORING, sort_keys=True).encode()
    body = b"".join(
        [struct.pack("<III", len(scoring), len(digests), len(pairs)), scoring, *digests, pairs.tobytes()]
    )
    digest = hashlib.sha256(body).digest()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{digest.hex()[:24]}.distances"  # named by content: the same pairs are the same file
    staged = path.with_suffix(".staged")
    staged.write_bytes(_MAGIC + digest + body)
    staged.replace(path)
    return path


def _read(path: Path) -> tuple[list[bytes], np.ndarray] | None:
    """Digests and pairs of a segment; None if it is damaged or was scored otherwise."""
    data = path.read_bytes()
    head = len(_MAGIC) + 32
    body = data[head:]
    if data[: len(_MAGIC)] != _MAGIC or hashlib.sha256(body).digest() != data[len(_MAGIC) : head]:
        return None
    n_scoring, n_digests, n_pairs = struct.unpack_from("<III", body)
    at = 12
    if json.loads(body[at : at + n_scoring]) != SCORING:
        return None
    at += n_scoring
    digests = [body[k : k + _DIGEST_BYTES] for k in range(at, at + n_digests * _DIGEST_BYTES, _DIGEST_BYTES)]
    pairs = np.frombuffer(body, _PAIR, count=n_pairs, offset=at + n_digests * _DIGEST_BYTES)
    return digests, pairs
