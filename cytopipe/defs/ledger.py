"""The ledger: which partition of which asset is fresh, and why not.

    done         the newest materialization has today's code version and today's inputs, and its files stand
                 or were removed after use; a reason says so, or which check failed that does not block. Or it
                 was made by somebody else and lies outside, as it is
    needed       removed after use, and something that is to be made reads it, or a person wants it again
    stale        one of them differs, or an input is to be made again
    missing      never made
    waiting      never made, and a person has to make it, or what it is made from; or there is nothing to make
                 it from
    held         a person has to approve first, it or what it is made from; the reason says how
    failed       the last attempt raised
    interrupted  the last attempt ended at a checkpoint

It keeps a small database of its own beside the history (`cytopipe.defs.book`) and is driven by change. A
refresh

1. reads the project file again if it changed: new and removed partitions, other declared values;
2. compares stamps of the files of sources, and of the folders of artifacts: new inputs, edits, work of plain
   commands;
3. reads the events that are newer than its watermark;
4. judges what these touched, and what is made from that.

Where nothing changed, nothing is walked. Losing the database loses nothing: it is filled from the history
again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from cytopipe.defs.artifact import Artifact, Graph, Outside, Source, Twin
from cytopipe.defs.book import UNSEEN, Book, Record
from cytopipe.defs.event import CHECKPOINT, EDITED, FAILED, MADE, REMOVED, SEEN, Event, named
from cytopipe.defs.places import Places
from cytopipe.defs.relations import Relations
from cytopipe.defs.stamps import Listing, stamp_of_file, stamp_of_files, stamp_of_place
from cytopipe.errors import BusyError, CytopipeError
from cytopipe.project import Project
from cytopipe.provenance import Input
from cytopipe.storage.archive import Archive, Place
from cytopipe.storage.formats import SetFormat

__all__ = ["NEEDED", "WANTED", "Change", "Events", "Ledger", "Read", "Status", "version_over"]

NEEDED = "needed"
WANTED = ("stale", "missing", "failed", "interrupted", NEEDED)
"""States in which materializing would do something."""


class Events(Protocol):
    """Where a ledger reads and writes history; `cytopipe.defs.history.History` is Dagster's."""

    def newest(self) -> int:
        """The highest storage id there is; 0 where there is no event."""

    def after(self, storage_id: int, assets: Iterable[str]) -> Iterator[Event]:
        """Events of `assets` with higher storage ids; those of one partition and kind in their order."""

    def write(self, events: Sequence[Event]) -> None:
        """Append events that no run of Dagster's made."""

    def event(self, asset: str, key: str, version: str) -> Event | None:
        """The newest entry that made or saw a version of a partition."""

    def is_live(self, run_id: str) -> bool:
        """Whether a run has not ended."""


@dataclass(frozen=True)
class Change:
    """Something that had happened outside of runs: which partition, and what."""

    asset: str
    key: str
    what: str


@dataclass(frozen=True)
class Read:
    """What one input of a partition is now: the version over all its parts, and the parts.

    Parameters
    ----------
    version : str
        Of one partition, its own; of many, the digest over theirs.
    cursor : int
        The highest storage id among them; Dagster compares later entries with it.
    parts : mapping of key to str
        The version of every part that stands; empty text where it was never made.
    """

    version: str
    cursor: int
    parts: Mapping[str, str]


@dataclass(frozen=True)
class Status:
    """One partition of one asset: its state, the reasons, and its newest materialization."""

    asset: str
    key: str
    state: str
    reasons: tuple[str, ...] = ()
    record: Record | None = field(default=None, compare=False)

    @property
    def wanted(self) -> bool:
        """Whether materializing would do something."""
        return self.state in WANTED

    @property
    def warns(self) -> bool:
        """Whether it is done, and a check failed that does not block."""
        return self.state == "done" and any(one != REMOVED for one in self.reasons)


class Ledger:
    """The ledger of a project.

    Parameters
    ----------
    project : Project
    graph : Graph
    events : Events or callable
        The history; a callable is asked for it when it is first needed.
    """

    def __init__(self, project: Project, graph: Graph, events: Events | Callable[[], Events]) -> None:
        self.project, self.graph = project, graph
        self._events = events
        self.relations = Relations(project, graph)
        self.places = Places(project, graph, self.relations)
        self.archive = Archive(project.output)
        self.book = Book(project.home / "ledger.sqlite")
        self._followed: set[tuple[str, str]] = set()  # judged outside, whose inputs are others now

    @cached_property
    def events(self) -> Events:
        return self._events() if callable(self._events) else self._events

    # ------------------------------------------------------------------ refresh

    def refresh(self, newest: int | None = None) -> list[Change]:
        """Bring the ledger up to the project file, the disk and the history; tell what had happened outside.

        `newest` is the highest storage id of the history where the caller knows it already.
        """
        with self.book.transaction():
            touched: dict[str, set[str]] = {}
            watermark = int(self.book.get("watermark") or 0)
            if newest is None or newest < watermark:  # asked again: others may have written since
                newest = self.events.newest()
            if newest < watermark:
                self.book.forget()  # a history only grows, so this is another one
            declaration = self._declaration()
            if declared_anew := declaration != self.book.get("declaration"):
                self._declare(touched)
                self.book.set("declaration", declaration)
            self._read_events(newest, touched)
            noticed = self._note(self._look_at_sources(declared_anew), touched)
            changed: dict[str, list[tuple[str, str]]] = {}
            for asset, key, known in self._changed_artifacts():
                changed.setdefault(asset, []).append((key, known))
            listing = Listing()
            # In the order of the flow: outside work is compared with entries of what it was made from.
            for asset in self.graph.makers:
                found = self._look_at_artifacts(asset, changed.get(asset, ()), touched, listing)
                noticed += self._note(found, touched)
                noticed += self._note(self._look_outside(asset), touched)
            self._judge_touched(touched)
            self._follow()
        return [Change(event.asset, event.key, what) for event, what in noticed]

    def _note(
        self, found: Iterable[tuple[Event, str]], touched: dict[str, set[str]]
    ) -> list[tuple[Event, str]]:
        """Write what was noticed into the history, and take it in."""
        noticed = list(found)
        if noticed:
            self.events.write([event for event, _ in noticed])
            self._read_events(self.events.newest(), touched)
        return noticed

    def catch_up(self) -> None:
        """Take in events that were written since, and judge what they touched; the disk is not looked at."""
        with self.book.transaction():
            self._catch_up()

    def _catch_up(self) -> None:
        touched: dict[str, set[str]] = {}
        self._read_events(self.events.newest(), touched)
        self._judge_touched(touched)

    @contextmanager
    def telling(self, events: Callable[[], Sequence[Event]]) -> Iterator[Sequence[Event]]:
        """Write events, do what they tell within the block, and judge; no other refresh looks meanwhile.

        `events` is called with the history taken in.
        """
        with self.book.transaction():
            self._catch_up()
            self.events.write(told := events())
            touched: dict[str, set[str]] = {}
            self._read_events(self.events.newest(), touched)
            yield told
            self._judge_touched(touched)

    def _declaration(self) -> str:
        """Digest of all that decides which partitions there are, what they consist of, and which code makes
        them.
        """
        total = hashlib.sha256()
        for file in (self.project.file, *self.project.also_declared_in):
            total.update(file.read_bytes() if file.is_file() else b"")
        total.update(f"\n{self.project.directory}\n".encode())  # a moved project has its files elsewhere
        for by in self.graph.partitions:
            total.update(f"\n{by.name}\n".encode())
            total.update("\n".join(self.relations.keys(by)).encode())
        for one in self.graph.artifacts:
            total.update(f"\n{one.asset} {one.code_version} {sorted(one.inputs.items())}".encode())
            for asset in one.outside if self._looks_outside(one) else ():
                lying = ((key, self.outside(asset, key)) for key in self.keys(one))
                names = (f"{key}: {', '.join(map(str, of.files))}" for key, of in lying if of is not None)
                total.update("\n".join(names).encode())
            for when in (one.when, *one.reads_when.values()):
                total.update(f" {sorted(self.relations.unused(when))}".encode() if when else b" ")
        return total.hexdigest()

    def _declare(self, touched: dict[str, set[str]]) -> None:
        """Write down which partitions there are and which files to watch, and look at declared values."""
        for asset, one in self.graph.by_asset.items():
            keys = self.keys(one)
            self.book.keep_keys(asset, keys)
            touched.setdefault(asset, set()).update(keys)
            if isinstance(one, Source):
                self._watch_source(one, keys)
            else:
                self._watch_artifacts(asset, one, keys)

    def keys(self, one: Artifact | Source) -> Sequence[str]:
        """The partitions of which a state is kept; none of a table over data sets where none is declared."""
        if one.by is not None or isinstance(one, Source):
            return self.relations.made_keys(one)
        return ("",) if any(self.keys(self.graph.by_asset[of]) for of in one.inputs.values()) else ()

    def _watch_source(self, source: Source, keys: Iterable[str]) -> None:
        data_sets = self.project.data_sets.get(source.by.name, {}) if source.by else {}
        self.book.watch_files(
            source.asset,
            {key: [str(path) for path in source.files(data_sets[key])] for key in keys if key in data_sets},
        )

    def _watch_artifacts(self, asset: str, step: Artifact, keys: Iterable[str]) -> None:
        outside = {key: of for key in keys if (of := self.outside(asset, key)) is not None}
        watched = ((key, self.places.place(asset, key).path) for key in keys if key not in outside)
        self.book.watch_paths(asset, step.makes[asset].layout == "set", watched)
        self.book.watch_files(asset, {key: [str(path) for path in of.files] for key, of in outside.items()})

    def outside(self, asset: str, key: str) -> Outside | None:
        """What lies outside of the project as a partition of an artifact, made by somebody else."""
        step = self.graph.makers[asset]
        if asset not in step.outside or step.by is None or not self._looks_outside(step):
            return None
        return step.outside[asset](self.project.data_set(step.by.name, key))

    def _looks_outside(self, step: Artifact) -> bool:
        """Whether the settings of any entry name a place outside where an artifact may lie."""
        if not step.outside or step.outside_when is None:
            return bool(step.outside)
        when = step.outside_when
        return len(self.relations.unused(when)) < len(self.relations.keys(when.of))

    # ------------------------------------------------------------------ the disk

    def _look_at_sources(self, declared_anew: bool) -> Iterator[tuple[Event, str]]:
        """Sources whose files or declared values are not what was last seen."""
        for asset, source in self.graph.sources.items():
            data_sets = self.project.data_sets.get(source.by.name, {}) if source.by else {}
            for key, stamp in self._changed_sources(source, declared_anew):
                version = source.version(self.project, data_sets[key])
                self.book.keep_stamp(asset, key, stamp)
                seen = self.book.record(asset, key, SEEN)
                if version is None or (seen is not None and seen.version == version):
                    continue
                what = "first seen" if seen is None else f"changed: {seen.version[:8]} -> {version[:8]}"
                shown = (
                    {"declared": source.values(data_sets[key])}
                    if source.values is not None
                    else source.describe(self.project, data_sets[key])
                )
                metadata = {**shown, "sha256": version}
                yield (
                    Event(asset=asset, key=key, kind=SEEN, version=version, words=what, metadata=metadata),
                    what,
                )

    def _changed_sources(self, source: Source, declared_anew: bool) -> Iterator[tuple[str, str]]:
        """Keys of a source that may be another, with their stamps."""
        if source.values is not None:
            yield from ((key, "") for key in self.relations.made_keys(source) if declared_anew)
            return
        for key, paths, known in self.book.watched_files(source.asset):
            now = stamp_of_files(paths) if paths else "no files"
            if now != known:
                yield key, now

    def _look_at_artifacts(
        self,
        asset: str,
        changed: Iterable[tuple[str, str]],
        touched: dict[str, set[str]],
        listing: Listing,
    ) -> Iterator[tuple[Event, str]]:
        """Artifacts that stand otherwise than the ledger knows (key, known stamp); what cannot be taken up
        is only written down.
        """
        step = self.graph.makers[asset]
        for key, known in changed:
            format, place = step.makes[asset], self.places.place(asset, key)
            stamp = stamp_of_place(self.archive.root, place, format, listing)
            if stamp == known:
                continue
            record = self.book.record(asset, key, MADE)
            if record is not None and record.stamp == stamp:
                self._mark(asset, key, "", touched)
            elif self._is_being_made(place):
                self.book.keep_folder(
                    place.path.rpartition("/")[0], UNSEEN
                )  # its run will say so; look again
                continue
            else:
                try:
                    yield from self._take_up(step, asset, key, record, stamp, touched)
                except BusyError as error:  # look again
                    self._mark(asset, key, f"was edited by hand, and is worked on: {error}", touched)
                    continue
            self.book.keep_stamp(asset, key, stamp)

    def _look_outside(self, asset: str) -> Iterator[tuple[Event, str]]:
        """What lies outside as it was not noted yet."""
        step = self.graph.makers[asset]
        for key, paths, known in self.book.watched_outside(asset) if self._looks_outside(step) else ():
            # A tag of an event holds no more than one digest.
            stamp = hashlib.sha256(stamp_of_files(paths).encode()).hexdigest()[:32]
            record = self.book.record(asset, key, MADE)
            is_noted = record is not None and "outside" in record.facts
            outside = self.outside(asset, key) if stamp != known or not is_noted else None
            version = outside.digest() if outside is not None else None
            self.book.keep_stamp(asset, key, stamp)
            if version is None or (is_noted and record is not None and record.version == version):
                continue
            what = "lies outside, as somebody else made it" if not is_noted else "lies outside, and changed"
            yield self._event_outside(step, asset, key, paths, version, stamp, what), what

    def _event_outside(
        self, step: Artifact, asset: str, key: str, paths: Sequence[str], version: str, stamp: str, what: str
    ) -> Event:
        reads = {upstream: self.read(step, name, key).version for name, upstream in step.inputs.items()}
        inputs = self.relations.in_use(reads)
        size = sum(Path(path).stat().st_size for path in paths)
        shown = {"outside": self.project.relative(Path(paths[0])), "files": len(paths), "size_bytes": size}
        return Event(
            asset=asset,
            key=key,
            kind=MADE,
            version=version,
            code_version=step.code_version,
            inputs=inputs,
            cursors=self.cursors(step, key, inputs),
            stamp=stamp,
            words=what,
            metadata={**shown, "how": what, "identity": version},
        )

    def _follow(self) -> None:
        """Note again what lies outside where its inputs are others now, so that Dagster, too, calls it
        fresh: it was not made from them.
        """
        events = []
        for asset, key in sorted(self._followed):
            record, outside = self.book.record(asset, key, MADE), self.outside(asset, key)
            if record is None or outside is None or not all(path.is_file() for path in outside.files):
                continue
            paths = [str(path) for path in outside.files]
            what = "lies outside, as it did"
            step = self.graph.makers[asset]
            events.append(self._event_outside(step, asset, key, paths, record.version, record.stamp, what))
        self._followed.clear()
        if events:
            self.events.write(events)
            touched: dict[str, set[str]] = {}
            self._read_events(self.events.newest(), touched)
            self._judge_touched(touched)

    def _is_being_made(self, place: Place) -> bool:
        """Whether a live run published what stands here and has not logged it yet."""
        try:
            receipt = self.archive.receipt(place)
        except CytopipeError:
            return False
        made = receipt.provenance if receipt else None
        return bool(made and made.run_id) and self.events.is_live(made.run_id)

    def _changed_artifacts(self) -> Iterator[tuple[str, str, str]]:
        """(asset, key, known stamp) of what may have changed: what stands otherwise in folders that were
        written in, and all sets.
        """
        for folder, known in self.book.folders():
            path = f"{self.archive.root}/{folder}"
            now = stamp_of_file(path)
            if now == known:
                continue
            # The stamp is taken before the look: what is written meanwhile is seen next time.
            self.book.keep_folder(folder, now)
            for asset, key, name, stamp in self.book.watched_paths(folder):
                if stamp_of_file(f"{path}/{name}") != stamp:
                    yield asset, key, stamp
        yield from self.book.watched_sets()

    @contextmanager
    def publishing(self, place: Place) -> Iterator[Callable[[], None]]:
        """Within the block this process writes at a place; yields what to call when the history says so.

        If nobody else had written into that folder since it was last looked at, it need not be looked through
        again: a run that writes 25 of 100,000 images would look at all of them at its next refresh.
        """
        folder = place.path.rpartition("/")[0]
        path = f"{self.archive.root}/{folder}"
        before, after = stamp_of_file(path), ""

        def told() -> None:
            if before and after and self.book.folder(folder) == before:
                self.book.keep_folder(folder, after)

        yield told
        after = stamp_of_file(path)

    def _take_up(
        self,
        step: Artifact,
        asset: str,
        key: str,
        record: Record | None,
        stamp: str,
        touched: dict[str, set[str]],
    ) -> Iterator[tuple[Event, str]]:
        """Work done outside of runs: its own receipt says what it was made from."""
        format, place = step.makes[asset], self.places.place(asset, key)
        edited = False
        try:
            found = self.archive.look(place, format)
            edited = found.kind == "edited"
            receipt = self.archive.receipt(place) if edited or found.kind == "whole" else None
            if edited and isinstance(format, SetFormat) and not format.editable:
                self._mark(asset, key, f"was changed by hand, which is not kept: {found.words}", touched)
                return
            if receipt is not None and edited and isinstance(format, SetFormat):
                # A hand edit becomes the artifact's new version, so that what follows is made from it.
                receipt = self.archive.accept(place, format, receipt.provenance)
                stamp = stamp_of_place(self.archive.root, place, format)
        except BusyError:
            raise
        except CytopipeError as error:
            told = "was edited by hand, and the edit cannot be taken up" if edited else "cannot be read"
            self._mark(asset, key, f"{told}: {error}", touched)
            return
        if receipt is None:
            self._mark(
                asset,
                key,
                f"not whole on disk: {found.words}" if found.words else "its files are gone",
                touched,
            )
            return
        by_a_run = receipt.provenance is not None and receipt.provenance.run_id
        is_same = record is not None and record.version == receipt.version
        if record is not None and (
            (is_same and "removed" not in record.facts)
            # What a run left before another one had nothing to make is no work from outside.
            or ("nothing" in record.facts and by_a_run and not edited)
        ):
            self._mark(asset, key, "", touched)
            return
        counts = format.counts(self.archive.get(place, format)) if isinstance(format, SetFormat) else {}
        taken_up = "stands again" if is_same else "made outside Dagster, taken up as it is"
        what = f"{EDITED}: {found.words}" if edited else taken_up
        inputs = (
            self._inputs_of_receipt(step, key, receipt.inputs)
            if record is None or not (edited or is_same)
            else record.inputs
        )
        yield (
            Event(
                asset=asset,
                key=key,
                kind=MADE,
                version=receipt.version,
                code_version=record.code_version if record and (edited or is_same) else step.code_version,
                inputs=inputs,
                cursors=self.cursors(step, key, inputs),
                stamp=stamp,
                words=what,
                metadata={**counts, "path": str(place), "how": what, "size_bytes": receipt.size_bytes},
            ),
            what,
        )

    def is_edited(self, asset: str, key: str) -> bool:
        """Whether what stands is an edit by hand, which is not to be made again over."""
        record = self.book.record(asset, key, MADE)
        if record is None or not str(record.facts.get("how", "")).startswith(EDITED):
            return False
        place, format = self.places.place(asset, key), self.graph.makers[asset].makes[asset]
        return bool(stamp_of_place(self.archive.root, place, format))

    def _inputs_of_receipt(self, step: Artifact, key: str, inputs: Sequence[Input]) -> dict[str, str]:
        """The versions of inputs that outside work says it was made from; today's where it says nothing."""
        told: dict[str, dict[str, str]] = {}
        for one in inputs:
            told.setdefault(one.asset, {})[one.partition] = one.sha256
        found = {}
        for name, upstream in step.inputs.items():
            parts = told.get(upstream)
            many = self.relations.is_many(step, name)
            found[upstream] = (
                self.read(step, name, key).version
                if parts is None
                else version_over(parts)
                if many
                else next(iter(parts.values()))
            )
        return self.relations.in_use(found)

    def cursors(self, step: Artifact, key: str, inputs: Mapping[str, str]) -> dict[str, int]:
        """From where Dagster compares: after what stands of an input, or before it where that is not the
        version that was used.
        """
        reads = {upstream: self.read(step, name, key) for name, upstream in step.inputs.items()}
        return {
            upstream: max(read.cursor - int(read.version != inputs.get(upstream)), 0)
            for upstream, read in reads.items()
        }

    def _mark(self, asset: str, key: str, content: str, touched: dict[str, set[str]]) -> None:
        self.book.keep_content(asset, key, content)
        touched.setdefault(asset, set()).add(key)

    # ------------------------------------------------------------------ the history

    def _read_events(self, newest: int, touched: dict[str, set[str]]) -> None:
        """Take in what is newer than the watermark, which then is `newest`: later events are read again."""
        watermark = int(self.book.get("watermark") or 0)
        if newest == watermark:
            return
        for event in self.events.after(watermark, self.graph.by_asset):
            self.book.keep_record(event)
            if isinstance(declared := event.metadata.get("declared"), dict) and event.kind == SEEN:
                self.book.keep_values(event.version, declared)
            if event.kind == MADE:  # as it stood then; what was changed or removed since is seen by its stamp
                self.book.keep_stamp(event.asset, event.key, event.stamp)
                self.book.keep_content(event.asset, event.key, "")
            touched.setdefault(event.asset, set()).add(event.key)
        self.book.set("watermark", str(newest))

    # ------------------------------------------------------------------ judgement

    def _judge_touched(self, touched: dict[str, set[str]]) -> None:
        """Judge what was touched, in the order of the flow, and what is made from what came out otherwise."""
        judged: list[tuple[str, str]] = []
        for asset in self.graph.sources:
            for key in touched.pop(asset, ()):
                self._touch_consumers(asset, key, touched)
        for step in self.graph.artifacts:
            for asset in step.makes:
                declared = self.relations.made_set(step)
                for key in sorted(touched.pop(asset, set()) & declared):
                    state, version = self.book.state(asset, key)
                    status = self.judge(asset, key)
                    after = (status.state, self._version(asset, key))
                    self.book.keep_state(asset, key, status.state, status.reasons, after[1])
                    judged.append((asset, key))
                    if ("done" if state == NEEDED else state, version) != after:
                        self._touch_consumers(asset, key, touched)
        self._judge_removed(judged)

    def _judge_removed(self, judged: Iterable[tuple[str, str]]) -> None:
        """Judge what was removed after use, against the flow: is something to be made that reads it?

        What follows never waits for it: else both would call each other stale for ever.
        """
        removed = self.book.removed()
        if not removed:
            return
        asked: dict[str, set[str]] = {}
        for asset, key in judged:
            asked.setdefault(asset, set()).add(key)
            self._ask_parents(asset, key, removed, asked)
        for step in reversed(self.graph.artifacts):
            for asset in step.makes:
                for key in sorted(asked.get(asset, set()) & removed.get(asset, set())):
                    state, version = self.book.state(asset, key)
                    if state not in ("done", NEEDED):
                        continue
                    why = self._why_again(asset, key)
                    reasons = (f"was {REMOVED}, and {why}",) if why else self.judge(asset, key).reasons
                    self.book.keep_state(asset, key, NEEDED if why else "done", reasons, version)
                    self._ask_parents(asset, key, removed, asked)

    def _ask_parents(
        self, asset: str, key: str, removed: Mapping[str, set[str]], asked: dict[str, set[str]]
    ) -> None:
        step = self.graph.makers[asset]
        for name, upstream in step.inputs.items():
            if upstream in removed:
                asked.setdefault(upstream, set()).update(self.relations.parents(step, name, key))

    def _why_again(self, asset: str, key: str) -> str:
        """Why a removed artifact is to be made again: a person wants it, or something that is to be made from
        it cannot read its twin; empty where it is not.
        """
        record = self.book.record(asset, key, MADE)
        if record is not None and "wanted" in record.facts:
            return "is wanted again"
        twin = self.twin(asset, key)
        for step, name in self.graph.consumers[asset]:
            if twin is not None and twin[0] not in step.makes:
                continue
            for made in step.makes:
                states = self.book.states(made, self.relations.children(step, name, key))
                for child, state in states.items():
                    if state in WANTED:
                        return f"{named(made, child) if child != key else made} is to be made from it"
        return ""

    def twin(self, asset: str, key: str) -> tuple[str, str, Twin] | None:
        """The artifact that holds the present value of another one in another format: asset, key, how to
        read it; none where it does not stand, or was made from another version.
        """
        if asset not in self.graph.twins:
            return None
        maker, twin = self.graph.twins[asset]
        record = self.book.record(asset, key, MADE)
        for name, upstream in maker.inputs.items():
            for child in self.relations.children(maker, name, key) if upstream == asset else ():
                of = self.book.record(maker.asset, child, MADE)
                if of is None or record is None or of.inputs.get(asset) != record.version:
                    continue
                if not {"nothing", "removed"} & set(of.facts) and not self.book.content(maker.asset, child):
                    return maker.asset, child, twin
        return None

    def _touch_consumers(self, asset: str, key: str, touched: dict[str, set[str]]) -> None:
        for step, name in self.graph.consumers[asset]:
            for made in step.makes:
                touched.setdefault(made, set()).update(self.relations.children(step, name, key))

    def _version(self, asset: str, key: str) -> str:
        record = self.book.record(asset, key, MADE)
        return record.version if record else ""

    def judge(self, asset: str, key: str) -> Status:
        """Judge one partition against the records and states of its inputs."""
        step, record = self.graph.makers[asset], self.book.record(asset, key, MADE)
        if record is not None and "outside" in record.facts:
            if self.outside(asset, key) is not None:
                if any(self._changes(step, asset, key, record)):
                    self._followed.add((asset, key))
                return Status(asset, key, "done", (), record)
            record = None  # nothing lies there any more
        unmade = [self._unmade(step, name, key) for name in step.inputs]
        held = self._held(step, key, [one for some in unmade for one in some])
        changed = record is None or any(unmade) or self.book.content(asset, key)
        if held and (changed or any(self._changes(step, asset, key, record))):
            return Status(asset, key, "held", held, record)
        attempt = self.book.newest(asset, key, (FAILED, CHECKPOINT))
        if attempt is not None and (record is None or attempt.storage_id > record.storage_id):
            state = "failed" if attempt.kind == FAILED else "interrupted"
            return Status(asset, key, state, (attempt.words,), record)
        waits = [words for some in unmade for words in _told_unmade(some, key)]
        if record is None:
            if step.made_by:
                return Status(asset, key, "waiting", (f"made by {step.made_by}",))
            if self._has_nothing_to_gather(step):
                return Status(asset, key, "waiting", ("the project file declares nothing to make it from",))
            absent = self.absent(asset, key)
            waiting = bool(absent) or any(one.state == "waiting" for some in unmade for one in some)
            state, waits = "waiting" if waiting else "missing", [*absent, *waits]
            return Status(asset, key, state, tuple(waits) or ("never made",))
        reasons = [*self._changes(step, asset, key, record), *waits]
        if content := self.book.content(asset, key):
            reasons.insert(0, content)
        if reasons:
            return Status(asset, key, "stale", tuple(reasons), record)
        failed = record.facts.get("failed_checks")
        notes = [f"a check failed: {failed}"] * bool(failed) + [REMOVED] * ("removed" in record.facts)
        return Status(asset, key, "done", tuple(notes), record)

    def _held(self, step: Artifact, key: str, unmade: Sequence[Status]) -> tuple[str, ...]:
        """What a person has to do before a partition can be made, in the words of what holds it."""
        words: dict[str, None] = {}
        if step.held is not None and step.by is not None:
            words |= dict.fromkeys([step.held(self.project.data_set(step.by.name, key))])
        for one in unmade:
            if one.state == "held":
                words |= dict.fromkeys(self.book.state_and_reasons(one.asset, one.key)[1])
        return tuple(one for one in words if one)[:3]

    def _unmade(self, step: Artifact, name: str, key: str) -> list[Status]:
        """The parts of an input that are to be made first."""
        upstream = step.inputs[name]
        if upstream in self.graph.sources:
            return []
        passed = ("done", NEEDED, *(("missing", "waiting", "failed") if name in step.optional else ()))
        states = self.book.states(upstream, self.relations.parents(step, name, key))
        return [Status(upstream, part, state) for part, state in states.items() if state not in passed]

    def absent(self, asset: str, key: str) -> tuple[str, ...]:
        """What there is not, in words, so that a partition that was never made cannot be made."""
        return tuple(self._absent(self.graph.makers[asset], asset, key))

    def _absent(self, step: Artifact, asset: str, key: str) -> Iterator[str]:
        """Why a partition cannot be made, now or ever: a source that there is not, parts of which none can be
        made, or what was made together with it and lies outside.
        """
        together = [one for one in step.makes if one != asset and self.outside(one, key) is not None]
        if together:
            yield f"is made together with {together[0]}, which lies outside without it"
        for name, upstream in step.inputs.items():
            source = self.graph.sources.get(upstream)
            parents = self.relations.parents(step, name, key)
            if source is not None and source.by is not None:
                sets = (self.project.data_set(source.by.name, part) for part in parents)
                words = [source.absent(part) for part in sets]
                yield from dict.fromkeys(words) if words and all(words) else ()
            elif name in step.optional - step.dispensable and step.by is not None and parents:
                states = self.book.states(upstream, parents)
                if all(state == "waiting" for state in states.values()):
                    yield f"{upstream} is waiting"

    def _has_nothing_to_gather(self, step: Artifact) -> bool:
        """Whether an artifact over all data sets has none: a project need not use every domain."""
        sets = [by for upstream in step.inputs.values() if (by := self.graph.by_asset[upstream].by)]
        return step.by is None and bool(sets) and not any(self.relations.keys(by) for by in sets)

    def _changes(self, step: Artifact, asset: str, key: str, record: Record) -> Iterator[str]:
        """Why the recipe of a record is not today's."""
        if record.code_version != step.code_version:
            yield f"code version {record.code_version or 'unknown'} -> {step.code_version}"
        for name, upstream in step.inputs.items():
            if not self.relations.is_read(step, name, key):
                continue
            now, then = self.read(step, name, key), record.inputs.get(upstream)
            if then is None and now.parts:
                yield f"{upstream} is a new input"
            elif then is not None and then != now.version:
                yield self._told(step, name, asset, key, then, now)

    def _told(self, step: Artifact, name: str, asset: str, key: str, then: str, now: Read) -> str:
        """What changed of an input: its values where they are known, else the names of its parts."""
        upstream = step.inputs[name]
        before, after = self.book.values(then), self.book.values(now.version)
        if before is not None and after is not None:
            return f"{upstream} changed: {_difference(before, after)}"
        if self.relations.is_many(step, name):
            with_receipt = self.archive.receipt(self.places.place(asset, key))
            used = (
                {one.partition: one.sha256 for one in with_receipt.inputs if one.asset == upstream}
                if with_receipt
                else {}
            )
            parts = [part for part in {**used, **now.parts} if used.get(part, "") != now.parts.get(part, "")]
            shown = ", ".join(parts[:3]) + (f" and {len(parts) - 3} more" if len(parts) > 3 else "")
            return f"{upstream} changed: {shown or 'its parts'}"
        return f"{upstream} changed: {then[:8] or 'nothing'} -> {now.version[:8] or 'nothing'}"

    # ------------------------------------------------------------------ questions

    def read(self, step: Artifact, name: str, key: str) -> Read:
        """What one input of a partition is now."""
        upstream = step.inputs[name]
        kind = SEEN if upstream in self.graph.sources else MADE
        keys = self.relations.parents(step, name, key)
        known = self.book.versions(upstream, kind, keys)
        parts = {part: known[part][0] if part in known else "" for part in keys}
        if name in step.optional:
            parts = {part: version for part, version in parts.items() if version}
        cursor = max((number for _, number in known.values()), default=0)
        if self.relations.is_many(step, name):
            return Read(version_over(parts), cursor, parts)
        return Read(next(iter(parts.values()), ""), cursor, parts)

    def status(self, asset: str, key: str) -> Status:
        """The state of one partition, as of the last refresh."""
        state, reasons = self.book.state_and_reasons(asset, key)
        return Status(asset, key, state or "missing", reasons, self.book.record(asset, key, MADE))

    def statuses(
        self,
        assets: Iterable[str],
        states: Iterable[str] = (),
        *,
        keys: Mapping[str, Container[str]] | None = None,
        noted: bool = False,
    ) -> Iterator[Status]:
        """Partitions of assets, in the order of the project file.

        Parameters
        ----------
        assets : iterable of str
        states : iterable of str
            Only in one of these, if any is named.
        keys : mapping of asset to container of str, optional
            Only these partitions, of the assets in it.
        noted : bool
            Of what is done, only what has a note: a failed check, a removal.
        """
        chosen = tuple(states)
        for asset in assets:
            own = None if keys is None else keys.get(asset, ())
            for key, state, reasons in self.book.list_states(asset, chosen, keys=own, noted=noted):
                yield Status(asset, key, state, reasons)

    def n_done(self, asset: str) -> int:
        """How many partitions are done, without any note."""
        return self.book.count_done(asset)

    def counts(self) -> dict[str, dict[str, int]]:
        """For each asset, how many of its partitions are in each state."""
        return self.book.count_states()


def _told_unmade(unmade: Sequence[Status], key: str) -> Iterator[str]:
    """What is to be made first, in words; of many parts, the first three."""
    for one in unmade[:3]:
        yield f"{named(one.asset, one.key) if one.key != key else one.asset} is {one.state}"
    if len(unmade) > 3:
        yield f"and {len(unmade) - 3} more of {unmade[0].asset}"


def version_over(parts: Mapping[str, str]) -> str:
    """The version over many partitions, whatever their order."""
    return hashlib.sha256("".join(f"{key}={parts[key]}\n" for key in sorted(parts)).encode()).hexdigest()


def _difference(before: Mapping[str, object], after: Mapping[str, object]) -> str:
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    told = [f"{name}: {_shown(before.get(name))} -> {_shown(after.get(name))}" for name in names]
    return "; ".join(told) or "its values"


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "none"
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= 60 else f"{text[:57]}..."
