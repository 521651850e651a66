"""Projects of any size with a finished history, for the benchmark of the ledger.

A chain of five assets over a grid of wells and tiles. Artifacts are small files and events are written as a
run would write them, so that nothing is to be done; the work itself would take days at the largest size.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from dagster import AssetMaterialization, DagsterEventType, DagsterInstance, EventLogEntry
from dagster._core.events import AssetObservationData, DagsterEvent, StepMaterializationData
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable

from cytopipe.defs.artifact import Artifact, Graph, Partitions, Source, artifact
from cytopipe.defs.event import MADE, SEEN, Event
from cytopipe.defs.history import History, as_dagster
from cytopipe.defs.ledger import Ledger
from cytopipe.defs.stamps import stamp_of_place
from cytopipe.project import DataSet, Project
from cytopipe.project.entry import Entry
from cytopipe.project.settings import Settings
from cytopipe.provenance import sha256_bytes
from cytopipe.storage.formats import FileFormat

TILES_PER_WELL = 100


class _Text(FileFormat):
    name = "text"
    suffix = ".txt"

    def write(self, draft: Path, value: str) -> None:
        draft.write_text(value)

    def read(self, path: Path) -> str:
        return path.read_text()


class Screen(Entry):
    """An entry of the benchmark."""


class Grid(Mapping[str, DataSet]):
    """The partitions of a grid, made when they are asked for."""

    def __init__(self, folder: Path, keys: list[str]) -> None:
        self.folder, self._keys, self.entry = folder, dict.fromkeys(keys), Screen()

    def __getitem__(self, key: str) -> DataSet:
        if key not in self._keys:
            raise KeyError(key)
        return DataSet(domain="scale", key=key, entry=self.entry, folder=self.folder, base=self.folder)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


WELLS = Partitions(name="scale_wells", title="well")
TILES = Partitions(
    name="scale_tiles",
    title="tile",
    within={WELLS: lambda tile: tile.key.split("|")[0]},
    dimensions=("scale_wells", "tile"),
    per_run=200,
)
RAW = Source(
    asset="scale/raw",
    by=TILES,
    description="Images.",
    load=lambda tile: tile.key,
    files=lambda tile: [tile.base / "raw" / tile.key.replace("|", "_")],
    digest=lambda project, tile: sha256_bytes(tile.key.encode()),
)


def _step(name: str, upstream: str) -> Artifact:
    def make(tile: DataSet, before: str) -> str:
        """A step of the chain."""
        return before

    return artifact(f"scale/{name}", _Text(), by=TILES, inputs={"before": f"scale/{upstream}"})(make)


STEPS = tuple(_step(f"step_{i}", f"step_{i - 1}" if i > 1 else "raw") for i in range(1, 6))
GRAPH = Graph(RAW, *STEPS)


def project_of(directory: Path, n_partitions: int) -> Project:
    """A project with a grid of `n_partitions` tiles."""
    wells = [f"P1-W{i:05d}" for i in range(n_partitions // TILES_PER_WELL)]
    keys = [f"{well}|{tile:03d}" for well in wells for tile in range(TILES_PER_WELL)]
    return Project(
        file=directory / "cytopipe.yaml",
        settings=Settings(output="out"),
        data_sets={"scale_wells": Grid(directory, wells), "scale_tiles": Grid(directory, keys)},
    )


def finish(project: Project, instance: DagsterInstance) -> None:
    """Write every artifact and every event of a finished project."""
    ledger = Ledger(project, GRAPH, History(instance))
    project.file.write_text("# scale\n")
    (project.directory / "raw").mkdir()
    data_sets = project.data_sets["scale_tiles"]
    for key in data_sets:
        next(iter(RAW.files(data_sets[key]))).touch()
    _append(instance, (_seen(key) for key in data_sets))
    for step in STEPS:
        upstream = next(iter(step.inputs.values()))
        _append(instance, (_made(project, ledger, step, upstream, key) for key in data_sets))


def _append(instance: DagsterInstance, events: Iterator[Event]) -> None:
    """Append events as rows of the index, in few statements: a million of them would take an hour one by
    one.
    """
    storage = instance.event_log_storage
    with storage.index_connection() as connection:
        for some in _batched(events, 5000):
            rows = [storage._event_to_row(_entry(event)) for event in some]
            connection.execute(SqlEventLogStorageTable.insert(), rows)


def _entry(event: Event) -> EventLogEntry:
    told = as_dagster(event)
    if isinstance(told, AssetMaterialization):
        kind, data = DagsterEventType.ASSET_MATERIALIZATION, StepMaterializationData(told, [])
    else:
        kind, data = DagsterEventType.ASSET_OBSERVATION, AssetObservationData(told)
    return EventLogEntry(
        user_message="",
        level=20,
        job_name="",
        run_id="",
        error_info=None,
        timestamp=time.time(),
        step_key=None,
        dagster_event=DagsterEvent(kind.value, job_name="", event_specific_data=data),
    )


def _batched(events: Iterator[Event], n: int) -> Iterator[list[Event]]:
    while some := list(islice(events, n)):
        yield some


def _seen(key: str) -> Event:
    return Event(asset=RAW.asset, key=key, kind=SEEN, version=sha256_bytes(key.encode()))


def _made(project: Project, ledger: Ledger, step: Artifact, upstream: str, key: str) -> Event:
    place, format = ledger.places.place(step.asset, key), step.makes[step.asset]
    path = project.output / place.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    version = sha256_bytes(key.encode())
    return Event(
        asset=step.asset,
        key=key,
        kind=MADE,
        version=version,
        code_version=step.code_version,
        inputs={upstream: version},
        stamp=stamp_of_place(project.output, place, format),
        metadata={"path": str(place), "size_bytes": 0, "how": "made"},
    )
