"""Intermediates that were used are removed, and count as made: the history says that, and the files go.

For some partitions at a time, while no other process looks:

1. no run is live that may read it, and all that is made from it is still done;
2. one event each tells the removal: the same version, the note ``removed``, no files;
3. the files are removed.

Killed after 2, what still stands is taken up again at the next look, or removed by the next cleanup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cytopipe.defs.event import MADE, REMOVED, Event, named
from cytopipe.defs.ledger import Ledger
from cytopipe.defs.stamps import stamp_of_place
from cytopipe.errors import BusyError, CytopipeError, Finding

__all__ = ["Removal", "remove", "survey", "want_again"]

_AT_ONCE = 50  # removals between which other processes may look


@dataclass
class Removal:
    """What a removal would take away, and why some of it may not go.

    Parameters
    ----------
    places : list of (str, str)
        Asset and partition of all that can be removed.
    n_files, size_bytes : int
        What that frees; files that also lie elsewhere under another name free nothing.
    refused : list of Finding
        What is still needed, each with what it waits for.
    """

    places: list[tuple[str, str]] = field(default_factory=list)
    n_files: int = 0
    size_bytes: int = 0
    refused: list[Finding] = field(default_factory=list)


def survey(ledger: Ledger, chosen: Iterable[tuple[str, str]]) -> Removal:
    """What of some partitions can be removed; nothing on disk is touched.

    Parameters
    ----------
    ledger : Ledger
        Refreshed.
    chosen : iterable of (asset, key)
        What does not stand is passed over.
    """
    found, shared = Removal(), {}
    for asset, key in chosen:
        if not _stands(ledger, asset, key):
            continue
        if waiting := list(_unused(ledger, asset, key)):
            found.refused.append(
                Finding(
                    what=f"{named(asset, key)} is still needed",
                    found="; ".join(waiting[:3]) + (f"; and {len(waiting) - 3} more" * (len(waiting) > 3)),
                )
            )
            continue
        found.places.append((asset, key))
        for path in ledger.archive.files_of(ledger.places.place(asset, key)):
            facts = path.lstat()
            if facts.st_nlink == 1:
                found.n_files, found.size_bytes = found.n_files + 1, found.size_bytes + facts.st_size
            else:
                inode = (facts.st_dev, facts.st_ino)
                shared[inode] = (shared.get(inode, (0,))[0] + 1, facts.st_nlink, facts.st_size)
    for seen, links, size in shared.values():
        if seen == links:
            found.n_files, found.size_bytes = found.n_files + seen, found.size_bytes + size
    return found


def _stands(ledger: Ledger, asset: str, key: str) -> bool:
    """Whether there is something to remove: what was published, or what a killed removal left."""
    record = ledger.book.record(asset, key, MADE)
    if record is None or "nothing" in record.facts:
        return False
    place, format = ledger.places.place(asset, key), ledger.graph.makers[asset].makes[asset]
    if "removed" in record.facts:
        return bool(ledger.archive.files_of(place))
    return bool(stamp_of_place(ledger.archive.root, place, format))


def _unused(ledger: Ledger, asset: str, key: str) -> Iterator[str]:
    """Why a partition is still needed: it is not whole itself, or something is to be made from it."""
    state, reasons = ledger.book.state_and_reasons(asset, key)
    if state != "done" and _is_used(ledger, asset, key):
        yield f"it is {state}: {'; '.join(reasons)}"
    for step, name in ledger.graph.consumers[asset]:
        children = ledger.relations.children(step, name, key)
        for made in step.makes:
            for child, of_child in ledger.book.states(made, children).items():
                if of_child != "done":
                    yield f"{named(made, child)} is {of_child}"


def _is_used(ledger: Ledger, asset: str, key: str) -> bool:
    """Whether the settings use a partition; what was switched off is not made again for its own sake."""
    return key in ledger.relations.made_set(ledger.graph.makers[asset])


def remove(
    ledger: Ledger,
    places: Sequence[tuple[str, str]],
    running: Callable[[], Mapping[tuple[str, str], str]],
) -> list[CytopipeError]:
    """Remove what :func:`survey` found; what could not be removed, and why.

    Parameters
    ----------
    ledger : Ledger
    places : sequence of (asset, key)
    running : callable
        What live runs are at, with their ids.

    Raises
    ------
    BusyError
        A run of the same domain is live; it may read them.
    """
    problems: list[CytopipeError] = []
    ledger.refresh()
    for begin in range(0, len(places), _AT_ONCE):
        some = places[begin : begin + _AT_ONCE]

        def events(some: Sequence[tuple[str, str]] = some) -> list[Event]:
            _refuse_while_running(places, running())
            return [_event(ledger, *one) for one in _free(ledger, some) if _is_used(ledger, *one)]

        with ledger.telling(events) as told:
            # Of what was switched off no event tells: switched on again, it is made again.
            off = [one for one in _free(ledger, some) if not _is_used(ledger, *one)]
            for asset, key in (*((event.asset, event.key) for event in told), *off):
                try:
                    ledger.archive.remove(ledger.places.place(asset, key))
                except CytopipeError as error:
                    problems.append(error)
    return problems


def _free(ledger: Ledger, places: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """What of some partitions still stands, and nothing needs."""
    return (one for one in places if _stands(ledger, *one) and not any(_unused(ledger, *one)))


def want_again(ledger: Ledger, chosen: Iterable[tuple[str, str]]) -> None:
    """Have what was removed made again, although nothing needs it; what stands stays as it is."""
    removed = ledger.book.removed()
    some = [(asset, key) for asset, key in chosen if key in removed.get(asset, ())]
    if some:
        with ledger.telling(lambda: [_event(ledger, *one, wanted="by a person") for one in some]):
            pass


def _refuse_while_running(places: Iterable[tuple[str, str]], running: Mapping[tuple[str, str], str]) -> None:
    domains = {asset.split("/")[0] for asset, _ in places}
    live = {run: named(*one) for one, run in running.items() if one[0].split("/")[0] in domains}
    if live:
        raise BusyError(
            Finding(
                what="a run is at work, which may read what is to be removed",
                where=f"run {run[:8]}",
                found=what,
                next="Wait until it ends, or end it; then clean up.",
            )
            for run, what in live.items()
        )


def _event(ledger: Ledger, asset: str, key: str, **facts: str) -> Event:
    """The event that tells a removal."""
    step, record = ledger.graph.makers[asset], ledger.book.record(asset, key, MADE)
    assert record is not None
    receipt = ledger.archive.receipt(ledger.places.place(asset, key))
    made = receipt.provenance if receipt is not None else None
    metadata: dict[str, object] = {"removed": "after use", "sha256": record.version, "how": REMOVED, **facts}
    if "failed_checks" in record.facts:
        metadata["failed_checks"] = record.facts["failed_checks"]
    if made is None:  # removed before: its history says from what it was made
        before = ledger.events.event(asset, key, record.version)
        told = before.metadata if before is not None else {}
        metadata |= {name: told[name] for name in ("parameters", "inputs") if name in told}
    else:
        metadata["parameters"] = dict(made.parameters)
        metadata["inputs"] = [
            {"asset": one.asset, "partition": one.partition, "sha256": one.sha256} for one in made.inputs
        ]
    return Event(
        asset=asset,
        key=key,
        kind=MADE,
        version=record.version,
        code_version=record.code_version,
        inputs=record.inputs,
        cursors=ledger.cursors(step, key, record.inputs),
        words=REMOVED,
        metadata=metadata,
    )
