"""What a partition is made from, loaded as the function that makes it wants it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cytopipe.defs.artifact import Artifact, Outside, arrives, hint_of
from cytopipe.defs.calls import Elsewhere, Stored
from cytopipe.defs.event import MADE, REMOVED, named
from cytopipe.defs.ledger import Ledger, Read
from cytopipe.defs.stamps import stamp_of_place
from cytopipe.project import DataSet
from cytopipe.storage.archive import Handle

__all__ = ["Inputs", "NotReady"]


class NotReady(Exception):
    """An input was never made, or was removed, and nothing in this run makes it."""


@dataclass(frozen=True)
class Inputs:
    """The inputs of a project's artifacts, as the ledger knows them."""

    ledger: Ledger

    def partition(self, step: Artifact, key: str) -> DataSet | None:
        return self.ledger.project.data_set(step.by.name, key) if step.by else None

    def reads(self, step: Artifact, key: str) -> dict[str, Read]:
        """What the inputs of a partition are now; one that was never made is an error."""
        reads = {name: self.ledger.read(step, name, key) for name in step.inputs}
        lacking = [
            (step.inputs[name], part)
            for name, read in reads.items()
            for part, version in read.parts.items()
            if not version
        ]
        for upstream, part in lacking:
            if source := self.ledger.graph.sources.get(upstream):
                source.load(self.ledger.project.data_set(source.by.name, part))  # says itself what is wrong
        absent = [named(upstream, part) for upstream, part in lacking]
        if absent:
            raise NotReady(
                f"made from {_some(absent)}, which was never made. "
                f"Materialize {absent[0]} first, or choose it together with {step.asset}."
            )
        if gone := list(self._gone(step, reads)):
            raise NotReady(
                f"made from {_some(gone)}, which was {REMOVED}. "
                f"Materialize {gone[0]} again, together with {step.asset}."
            )
        return reads

    def stand(self, step: Artifact, key: str, names: Iterable[str]) -> bool:
        """Whether the files of these inputs of a partition can be read."""
        return not list(self._gone(step, {name: self.ledger.read(step, name, key) for name in names}))

    def _gone(self, step: Artifact, reads: Mapping[str, Read]) -> Iterator[str]:
        """Inputs, in words, whose files were removed, and that no twin stands for."""
        for name, read in reads.items():
            upstream = step.inputs[name]
            for part in read.parts if upstream in self.ledger.graph.makers else ():
                if self._is_removed(upstream, part):
                    twin = self.ledger.twin(upstream, part)
                    if twin is None or twin[0] in step.makes:
                        yield named(upstream, part)

    def value(self, step: Artifact, name: str, read: Read, arrives: str) -> Any:
        """One input as a function wants it; see `cytopipe.defs.artifact.arrives`."""
        upstream = step.inputs[name]
        if upstream in self.ledger.graph.sources:
            source = self.ledger.graph.sources[upstream]
            data_sets = self.ledger.project.data_sets.get(source.by.name, {}) if source.by else {}
            loaded = {part: source.load(data_sets[part]) for part in read.parts}
            return loaded if arrives == "handles" else next(iter(loaded.values()))
        handles = {
            part: self._handle(step, upstream, part)
            for part in read.parts
            if not self._is_nothing(upstream, part)
        }
        if arrives == "handles":
            return handles
        handle = next(iter(handles.values()), None)
        return handle if handle is None or arrives == "handle" else handle.load()

    def sent(self, step: Artifact, name: str, read: Read) -> Any:
        """One input for a call at a worker: what lies in a file or directory is opened there."""
        how, upstream = arrives(step.function, name), step.inputs[name]
        if how != "value" or upstream in self.ledger.graph.sources:
            return self.value(step, name, read, how)
        handle = self.value(step, name, read, "handle")
        if isinstance(handle, Outside):
            return Elsewhere(handle)
        if handle is None or handle.format.layout == "set":
            return handle and handle.load()
        return Stored(handle.format, handle.path)

    def value_of_pass(self, step: Artifact, name: str, reads: Mapping[str, Mapping[str, Read]]) -> Any:
        """One input of a pass: by key where each partition has its own, else the one of the group."""
        if self.is_by_key(step, name):
            how = "handle" if "Handle" in hint_of(step.function, name) else "value"
            return {key: self.value(step, name, one[name], how) for key, one in reads.items()}
        return self.value(step, name, next(iter(reads.values()))[name], arrives(step.function, name))

    def is_by_key(self, step: Artifact, name: str) -> bool:
        """Whether every partition of a pass has an input of its own, rather than one of the whole group."""
        return self.ledger.graph.by_asset[step.inputs[name]].by is step.by

    def _handle(self, step: Artifact, upstream: str, part: str) -> Handle | Outside:
        """An input where it lies: of an artifact with a twin, the one that is preferred, or stands."""
        archive, places, maker = self.ledger.archive, self.ledger.places, self.ledger.graph.makers[upstream]
        found = self.ledger.twin(upstream, part)
        if found is not None and found[0] not in step.makes:
            asset, key, twin = found
            if twin.is_preferred(self.partition(maker, part)) or self._is_removed(upstream, part):
                return archive.handle(places.place(asset, key), twin.format)
        outside = self.ledger.outside(upstream, part)
        return outside or archive.handle(places.place(upstream, part), maker.makes[upstream])

    def _is_removed(self, asset: str, key: str) -> bool:
        record = self.ledger.book.record(asset, key, MADE)
        if record is None or "removed" not in record.facts:
            return False
        place, format = self.ledger.places.place(asset, key), self.ledger.graph.makers[asset].makes[asset]
        return not stamp_of_place(self.ledger.archive.root, place, format)

    def _is_nothing(self, asset: str, key: str) -> bool:
        record = self.ledger.book.record(asset, key, MADE)
        return record is not None and "nothing" in record.facts

    def parameters(self, reads: Mapping[str, Read]) -> dict[str, object]:
        """The values that the project file declares, of every input that has some."""
        found: dict[str, object] = {}
        for read in reads.values():
            found |= self.ledger.book.values(read.version) or {}
        return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
