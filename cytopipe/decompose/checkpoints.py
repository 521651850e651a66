"""What a decomposition falls back on: its last two checkpoints, and a point for every finished stage.

The stage files are the truth; a checkpoint is a compact copy of what they said (record ids by file, and
the state), from which they can be written again, since the sequences are in the input. It is written
*before* the files it describes, into the older of two slots, so that at any moment one of the two is what
lies on disk and the other one what lay there before. Points are kept: a rollback goes back to one. Every
document carries its own digest; one that was damaged is passed over, never half believed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cytopipe.decompose.clustering import Clustering
from cytopipe.decompose.layout import CHECKPOINT_FOLDER, Stage, stage_named
from cytopipe.decompose.partition import Partition
from cytopipe.decompose.state import State, now, parse_document
from cytopipe.decompose.workspace import SequenceFile
from cytopipe.errors import CytopipeError
from cytopipe.provenance import sha256_bytes
from cytopipe.storage import Store

__all__ = ["Checkpoint", "Checkpoints", "Kept"]

_FORMAT = "cytopipe decompose checkpoint 1"
_SLOTS = ("checkpoint-a.json", "checkpoint-b.json")
_MAX_BYTES = 1 << 31


@dataclass(frozen=True)
class Checkpoint:
    """One moment of a decomposition.

    Parameters
    ----------
    number : int
        1 for the first one of a directory; larger is later.
    reason : str
        Why it was made: ``every 5 iterations``, ``stage initial finished``, ``before rollback``...
    time : str
        UTC, ISO 8601.
    state : State
        The state as of then.
    partition : Partition
        The files of the newest stage as of then.
    """

    number: int
    reason: str
    time: str
    state: State
    partition: Partition

    @property
    def stage(self) -> Stage:
        return self.partition.stage


class Checkpoints:
    """The checkpoints and points of one directory.

    Parameters
    ----------
    directory : Path
        The directory of the decomposition.
    store : Store
        What writes into it.
    """

    def __init__(self, directory: Path, store: Store) -> None:
        self.folder = directory / CHECKPOINT_FOLDER
        self._store = store
        self._known: dict[str, Checkpoint] | None = None  # read once: a checkpoint may hold megabytes

    def save(self, state: State, partition: Partition, reason: str, *, point: bool = False) -> Checkpoint:
        """Write a checkpoint into the older slot and, if it is a `point`, where it is kept."""
        slots = self._slots()
        newest = max(slots.values(), key=lambda one: one.number, default=None)
        number = newest.number + 1 if newest else 1
        checkpoint = Checkpoint(number, reason, now(), state, partition)
        data = _format(checkpoint)
        older = next((name for name in _SLOTS if name not in slots), None)
        older = older or min(slots, key=lambda name: slots[name].number)
        self._store.publish_bytes(self.folder / older, data)
        slots[older] = checkpoint
        if point:
            self._keep(checkpoint)
        return checkpoint

    def keep(self, state: State, partition: Partition, reason: str) -> None:
        """Keep a point of any stage, without making it the newest checkpoint."""
        self._keep(Checkpoint(0, reason, now(), state, partition))

    def _keep(self, checkpoint: Checkpoint) -> None:
        if not self._already_kept(checkpoint):
            last = max((int(path.name[6:10]) for path in self._point_paths()), default=0)
            name = f"point-{last + 1:04d}-{checkpoint.stage.asset}.json"
            self._store.publish_bytes(self.folder / name, _format(checkpoint))

    def newest_first(self) -> list[Checkpoint]:
        """The checkpoints that are whole, at most two."""
        return sorted(self._slots().values(), key=lambda one: -one.number)

    def points(self) -> list[tuple[str, Checkpoint]]:
        """The points that are whole, oldest first, each with its name (``0002-deconflicted``)."""
        found = ((path.name[6:-5], _read(path)) for path in self._point_paths())
        return [(name, checkpoint) for name, checkpoint in found if checkpoint is not None]

    def _slots(self) -> dict[str, Checkpoint]:
        if self._known is None:
            found = ((name, _read(self.folder / name)) for name in _SLOTS)
            self._known = {name: checkpoint for name, checkpoint in found if checkpoint is not None}
        return self._known

    def _point_paths(self) -> list[Path]:
        return sorted(self.folder.glob("point-[0-9][0-9][0-9][0-9]-*.json"))

    def _already_kept(self, checkpoint: Checkpoint) -> bool:
        """A kill between keeping a point and committing its files must not keep it twice."""
        kept = [one for _, one in self.points() if one.stage is checkpoint.stage]
        return bool(kept) and kept[-1].partition == checkpoint.partition


class Kept:
    """What is finished of a stage that is still worked on, in a folder that only this work uses.

    Parameters
    ----------
    folder : Path
    sequences : SequenceFile
    saved : callable
        ``saved(why, done, total)``: told after each, with the records in clusters and of all.
    """

    def __init__(
        self,
        folder: Path,
        sequences: SequenceFile,
        saved: Callable[[str, int, int], None] = lambda why, done, total: None,
    ) -> None:
        self._checkpoints = Checkpoints(folder, Store(folder))
        self._records, self._saved = sequences.records, saved

    def newest(self) -> Clustering | None:
        """The newest one that is whole; None where nothing was kept."""
        for one in self._checkpoints.newest_first():
            return Clustering(one.partition, self._records, one.state)
        return None

    def save(self, clusters: Clustering, why: str) -> None:
        self._checkpoints.save(clusters.state, clusters.partition, why)
        self._saved(why, clusters.partition.n_clustered, len(self._records))


def _format(checkpoint: Checkpoint) -> bytes:
    body = {
        "format": _FORMAT,
        "number": checkpoint.number,
        "reason": checkpoint.reason,
        "time": checkpoint.time,
        "stage": checkpoint.stage.name,
        "state": checkpoint.state.model_dump(mode="json"),
        "files": checkpoint.partition.ids_by_file(),
    }
    return json.dumps({"sha256": _digest(body), **body}, ensure_ascii=False, indent=0).encode() + b"\n"


def _read(path: Path) -> Checkpoint | None:
    try:
        if path.is_symlink() or path.stat().st_size > _MAX_BYTES:
            return None
        document = json.loads(path.read_bytes())
        body = {name: value for name, value in document.items() if name != "sha256"}
        if document["sha256"] != _digest(body) or body["format"] != _FORMAT:
            return None
        state = parse_document(json.dumps(body["state"]).encode(), where=str(path))
        files: Mapping[str, Sequence[str]] = body["files"]
        partition = Partition.from_ids_by_file(stage_named(body["stage"]), files)
        return Checkpoint(body["number"], body["reason"], body["time"], state, partition)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, CytopipeError):
        return None


def _digest(body: Mapping[str, object]) -> str:
    return sha256_bytes(json.dumps(body, sort_keys=True, ensure_ascii=False).encode())


def describe(points: Sequence[tuple[str, Checkpoint]]) -> Iterator[str]:
    """One line per point, for a person choosing where to go back to."""
    for name, one in points:
        size = f"{one.partition.n_clusters} clusters of {one.partition.n_clustered} records"
        yield f"{name}  {one.time}  {size}  ({one.reason})"
