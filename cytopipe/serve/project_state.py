"""What a project holds and how far it is, as plain values for pages. The plan is asked here and nowhere else.

Judging takes CPU time that grows with the project, so an answer serves everybody for `_FRESH_S`, and only one
is worked out at a time.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.errors import CytopipeError
from cytopipe.project import Project, load_project

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from cytopipe.defs.ledger import Ledger, Status

__all__ = ["ArtifactState", "AssetState", "ProjectState", "state_reader"]

_FRESH_S = 5.0
_MOST_LISTED = 1000  # of an asset with more partitions, a page tells numbers
_MOST_OPEN = 100


@dataclass(frozen=True)
class ArtifactState:
    """One partition of one asset.

    Parameters
    ----------
    asset, partition : str
    state : str
        ``done``, ``stale``, ``needed``, ``missing``, ``held``, ``failed``, ``interrupted``, ``running`` or
        ``broken``.
    reasons : tuple of str
    result : str
        The path of what was made, relative to the output root; empty if nothing was.
    """

    asset: str
    partition: str
    state: str
    reasons: tuple[str, ...] = ()
    result: str = ""

    @property
    def domain(self) -> str:
        return self.asset.partition("/")[0]

    @property
    def step(self) -> str:
        return self.asset.partition("/")[2]


@dataclass(frozen=True)
class AssetState:
    """An asset with too many partitions to list each.

    Parameters
    ----------
    asset : str
    counts : mapping of str to int
        Partitions in each state.
    n_told : mapping of str to int
        How many of them are told one by one all the same: the first that are not done.
    result : str
        The folder of what was made, relative to the output root; empty if nothing was.
    """

    asset: str
    counts: Mapping[str, int]
    n_told: Mapping[str, int]
    result: str = ""


@dataclass(frozen=True)
class ProjectState:
    """A project as its first page shows it.

    Parameters
    ----------
    name, directory : str
    artifacts : tuple of ArtifactState
        In the order in which the data flow.
    descriptions : dict
        What the project file says of a data set, by (domain, partition).
    faults : tuple of str
        What is wrong with the project file.
    large : tuple of AssetState
        Assets of which not every partition is among `artifacts`.
    """

    name: str
    directory: str
    artifacts: tuple[ArtifactState, ...]
    descriptions: dict[tuple[str, str], str]
    faults: tuple[str, ...] = ()
    large: tuple[AssetState, ...] = ()


def state_reader(project: Project, instance: DagsterInstance) -> Callable[[], ProjectState]:
    """A function that tells the state of a project, read anew if the last answer is older than 5 s."""
    lock = threading.Lock()
    answer: ProjectState | None = None
    answered = 0.0

    def read() -> ProjectState:
        nonlocal answer, answered
        with lock:
            if answer is None or time.monotonic() - answered > _FRESH_S:
                answer = _read(project.file, instance)
                answered = time.monotonic()
            return answer

    return read


def _read(file: Path, instance: DagsterInstance) -> ProjectState:
    from cytopipe.defs.everything import GRAPH
    from cytopipe.defs.history import History
    from cytopipe.defs.ledger import Ledger
    from cytopipe.defs.live_runs import live_places
    from cytopipe.defs.selection import broken

    try:
        project = load_project(file)
    except CytopipeError as error:  # the file was edited and makes no sense now
        faults = tuple(str(finding) for finding in error.findings)
        return ProjectState(file.parent.name, str(file.parent), (), {}, faults)
    ledger = Ledger(project, GRAPH, History(instance))
    ledger.refresh()
    live = live_places(instance, ledger)
    counts = ledger.counts()
    large = {asset for asset, some in counts.items() if sum(some.values()) > _MOST_LISTED}
    listed = [
        one
        for asset in GRAPH.makers
        for one in (
            islice(ledger.statuses([asset], noted=True), _MOST_OPEN)
            if asset in large
            else ledger.statuses([asset])
        )
    ]
    artifacts = tuple(
        ArtifactState(
            one.asset,
            one.key,
            "running" if (one.asset, one.key) in live else one.state,
            one.reasons,
            _result(ledger, one),
        )
        for one in (*listed, *broken(ledger))
    )
    told = {asset: Counter(one.state for one in listed if one.asset == asset) for asset in large}
    summaries = tuple(
        AssetState(asset, counts[asset], told[asset], _folder_of(ledger, asset))
        for asset in GRAPH.makers
        if asset in large
    )
    ledger.book.close()
    descriptions = {
        (data_set.domain, key): data_set.entry.description
        for data_sets in project.data_sets.values()
        for key, data_set in data_sets.items()
        if data_set.entry.description
    }
    faults = tuple(str(finding) for finding in project.findings)
    name, directory = project.directory.name, str(project.directory)
    return ProjectState(name, directory, artifacts, descriptions, faults, summaries)


def _folder_of(ledger: Ledger, asset: str) -> str:
    """Where what was made of an asset lies, as far as its first partition tells."""
    for one in islice(ledger.statuses([asset], ("done",)), 1):
        return _result(ledger, one).rpartition("/")[0]
    return ""


def _result(ledger: Ledger, one: Status) -> str:
    """Where an artifact lies, relative to the output root; empty where nothing was made."""
    from cytopipe.defs.event import MADE

    if one.state == "broken":
        return ""
    record = ledger.book.record(one.asset, one.key, MADE)
    return ledger.places.place(one.asset, one.key).path if record and "path" in record.facts else ""
