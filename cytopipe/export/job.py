"""A job: pictures of one export, made beside other work, which can be watched, cancelled and gone on with.

    job = Job(read_job(Path("job.yaml")))
    job.observe(lambda event: print(event.result.name, event.done, event.total))
    job.start()
    job.wait()

The settings are a snapshot from the beginning. A picture that fails does not stop the others; an output
folder that cannot be written does. What was made stays, and the next job over the same folder makes what is
missing or stale.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.engine import Engine, open_engine
from cytopipe.errors import BudgetError, InputError, ParameterError, StorageError
from cytopipe.export.items import Item, Plan, plan_items
from cytopipe.export.parameters import JobSettings
from cytopipe.export.writing import Batch, ExportResult, made_batch, recipes_at
from cytopipe.faults import explained
from cytopipe.provenance import Input, Provenance
from cytopipe.storage.filesystem import lock_file, make_folder
from cytopipe.storage.store import Store

if TYPE_CHECKING:
    from cytopipe.export.drawing import Drawn

__all__ = ["MANIFEST", "Event", "Job", "Status", "log_to", "manifest_csv"]

LOG = logging.getLogger("cytopipe.export")

MANIFEST = "manifest.csv"
_COLUMNS = (
    "file", "name", "fov", "state", "error_type", "error", "marker_set", "downsample", "recipe"
)  # fmt: skip


@dataclass(frozen=True)
class Event:
    """An item has ended.

    Parameters
    ----------
    result : ExportResult
    done, total : int
        Items that have ended, and all items.
    """

    result: ExportResult
    done: int
    total: int


@dataclass(frozen=True)
class Status:
    """How far a job is.

    Parameters
    ----------
    phase : {'new', 'running', 'done', 'cancelled', 'failed'}
        Failed: it stopped before its end; `error` says why. A job that is done may have failed items.
    done, total : int
    states : mapping of str to int
        Number of items by state: waiting, exported, kept, failed, cancelled.
    error : str
    """

    phase: str
    done: int
    total: int
    states: dict[str, int]
    error: str = ""


class Job:
    """An export.

    Parameters
    ----------
    settings : JobSettings
        Frozen; paths absolute.
    """

    def __init__(self, settings: JobSettings) -> None:
        self.settings = settings.model_copy(deep=True)
        self._observers: list[Callable[[Event], None]] = []
        self._results: dict[str, ExportResult] = {}
        self._phase = "new"
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None

    @cached_property
    def plan(self) -> Plan:
        """What will be made; planned once.

        Raises
        ------
        InputError, ParameterError
            As :func:`cytopipe.export.items.plan_items`.
        """
        return plan_items(self.settings)

    # ------------------------------------------------------------------ before

    def dry_run(self) -> list[ExportResult]:
        """What would become of each item; nothing is written.

        ``planned`` will be made, ``kept`` stands already, ``failed`` cannot be made.
        """
        found = []
        folder = Path(self.settings.output)
        for items in self.plan.by_fov.values():
            standing = recipes_at(self.settings, items) if folder.is_dir() else {}
            for one in items:
                state = (
                    "failed" if one.fault else "kept" if standing.get(one.file) == one.recipe else "planned"
                )
                path = "" if one.fault else str(folder / one.file)
                kind = "InputError" if one.fault else ""
                found.append(ExportResult(one.name, one.fov, one.file, state, path, kind, one.fault))
        return found

    def preview(self, name: str = "") -> tuple[Item, Drawn]:
        """One picture, made now; nothing is written.

        Parameters
        ----------
        name : str
            Of an item, or its file; by default the first that can be made.

        Raises
        ------
        InputError
            There is no such item, or it cannot be made.
        """
        from cytopipe.export.drawing import draw, drawn_together

        fitting = [one for one in self.plan.items if not name or name in (one.name, one.file)]
        if not fitting:
            some = ", ".join(one.file for one in self.plan.items[:10])
            raise InputError(f"there is no item {name!r}", expected=f"one of {some} ...")
        item = next((one for one in fitting if not one.fault), fitting[0])
        if item.fault:
            raise InputError(item.fault, where=item.file)
        info = self.plan.infos[item.fov]
        field = self.plan.source.field(item.fov)
        drawn = drawn_together(field, info, [item], lambda held, one: draw(held, info, one, self.settings))
        ((_, made),) = drawn
        if isinstance(made, Exception):
            raise made
        return item, made  # type: ignore[return-value]

    # ------------------------------------------------------------------ running

    def observe(self, observer: Callable[[Event], None]) -> None:
        """Call `observer` whenever an item has ended, from the thread of the job; its errors are logged."""
        self._observers.append(observer)

    def start(self) -> None:
        """Check everything that can be checked before, then begin in a thread of its own and return.

        Raises
        ------
        CytopipeError
            The settings, the plan, the folder or its free space do not allow it; nothing was written.
        ParameterError
            The job was started already.
        """
        with self._lock:
            if self._phase != "new":
                raise ParameterError(
                    "a job starts once",
                    found=self._phase,
                    next="Make a new Job over the same folder to go on.",
                )
            plan = self.plan
            self._check_output(plan)
            self._phase = "running"
            self._thread = threading.Thread(target=self._work, args=(plan,), name="export", daemon=True)
            self._thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the job has ended; whether it has.

        Raises
        ------
        CytopipeError
            What stopped the job before its end.
        """
        if self._thread is not None:
            self._thread.join(timeout_s)
        ended = self._phase not in ("new", "running")
        if ended and self._error is not None:
            raise self._error
        return ended

    def run(self) -> list[ExportResult]:
        """Start, wait, and give the results."""
        self.start()
        self.wait()
        return self.results()

    def cancel(self) -> None:
        """Ask the job to end soon; pictures that are made are kept. Can be called at any time, and again."""
        self._stop.set()

    def close(self) -> None:
        """Cancel, and wait for the end. Can be called at any time, and again."""
        self.cancel()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def status(self) -> Status:
        """How far the job is."""
        with self._lock:
            total = len(self.plan.items) if "plan" in self.__dict__ else 0
            states = Counter(one.state for one in self._results.values())
            if waiting := total - len(self._results):
                states["waiting"] = waiting
            error = "" if self._error is None else str(self._error)
            return Status(self._phase, len(self._results), total, dict(states), error)

    def results(self) -> list[ExportResult]:
        """What became of the items that have ended, in the order of the plan."""
        with self._lock:
            return [self._results[one.file] for one in self.plan.items if one.file in self._results]

    # ------------------------------------------------------------------ inside

    def _check_output(self, plan: Plan) -> None:
        folder = Path(self.settings.output)
        with explained("making the output folder", folder):
            there = next(one for one in (folder, *folder.parents) if one.exists())
            if not there.is_dir():
                raise StorageError("a file stands where a folder is needed", where=str(there))
            if not os.access(there, os.W_OK | os.X_OK):
                raise StorageError(
                    "the output folder cannot be written",
                    where=str(there),
                    expected="permission to write",
                    next="Choose another output folder, or check who owns it.",
                )
            free = shutil.disk_usage(there).free
        needed = 0
        for items in plan.by_fov.values():
            standing = recipes_at(self.settings, items) if folder.is_dir() else {}
            needed += sum(
                plan.bytes_of(one) for one in items if not one.fault and standing.get(one.file) != one.recipe
            )
        if needed > free:
            raise BudgetError(
                "there may not be enough space for all pictures",
                where=str(there),
                expected=f"up to {needed:,} bytes",
                found=f"{free:,} bytes free",
                next="Free some space, export fewer items, or choose another folder.",
            )

    def _work(self, plan: Plan) -> None:
        try:
            folder = Path(self.settings.output)
            with explained("exporting", folder):
                make_folder(folder)
                with lock_file(folder / ".export.lock", "another export writes into this folder"):
                    self._make(plan)
                    self._end(plan)
            with self._lock:
                self._phase = (
                    "cancelled" if any(one.state == "cancelled" for one in self.results()) else "done"
                )
        except BaseException as error:
            LOG.exception("the export stopped")
            with self._lock:
                self._error, self._phase = error, "failed"

    def _make(self, plan: Plan) -> None:
        batches = [
            Batch(plan.source, self.settings, fov, items, plan.infos.get(fov))
            for fov, items in plan.by_fov.items()
        ]
        busy = [one for one in batches if self._has_work(one)]
        for one in batches:
            if one not in busy:
                self._note(made_batch(one))
        with _engine(self.settings.engine, len(busy)) as engine:
            make = partial(made_batch, stop=self._stop.is_set) if engine.name == "serial" else made_batch
            for results in engine.map(make, _until(busy, self._stop)):
                self._note(results)

    def _has_work(self, batch: Batch) -> bool:
        standing = recipes_at(self.settings, batch.items)
        return any(not one.fault and standing.get(one.file) != one.recipe for one in batch.items)

    def _note(self, results: Iterable[ExportResult]) -> None:
        for one in results:
            with self._lock:
                self._results[one.file] = one
                event = Event(one, len(self._results), len(self.plan.items))
            if LOG.isEnabledFor(logging.INFO):
                LOG.info("%s %s", one.state, one.file, extra={"result": one.as_json()})
            for observer in self._observers:
                try:
                    observer(event)
                except Exception:
                    LOG.exception("an observer failed")

    def _end(self, plan: Plan) -> None:
        """Look up what was made without being told, and write the manifest."""
        for items in plan.by_fov.values():
            if missing := [one for one in items if one.file not in self._results]:
                standing = recipes_at(self.settings, items)
                with self._lock:
                    for one in missing:
                        stands = not one.fault and standing.get(one.file) == one.recipe
                        path = str(Path(self.settings.output, one.file)) if stands else ""
                        state = "exported" if stands else "cancelled"
                        self._results[one.file] = ExportResult(one.name, one.fov, one.file, state, path)
        data = manifest_csv(plan, self.results())
        Store(self.settings.output).publish_bytes(
            MANIFEST,
            data,
            provenance=Provenance(
                what="export",
                parameters={"settings": self.settings.as_json()},
                inputs=(Input(path=self.settings.source, sha256=""),),
            ),
        )


def _until(batches: list[Batch], stop: threading.Event) -> list[Batch]:
    """The batches, cut off when a stop is asked for."""
    return _Stoppable(batches, stop)


class _Stoppable(list):
    """A list whose iteration ends early: no further batch is handed to a worker after a stop."""

    def __init__(self, batches: list[Batch], stop: threading.Event) -> None:
        super().__init__(batches)
        self._stop = stop

    def __iter__(self):
        for one in super().__iter__():
            if self._stop.is_set():
                return
            yield one


def _engine(spec: str, n_batches: int) -> Engine:
    """The engine of the settings; this process where there is one field alone."""
    if n_batches <= 1:
        return open_engine("serial")
    kind, _, number = spec.partition(":")
    if kind == "local":
        from cytopipe.engine import available_cores

        workers = int(number) if number.isdigit() else available_cores()
        return open_engine(
            f"local:{min(max(workers, 1), n_batches)}" if min(workers, n_batches) > 1 else "serial"
        )
    return open_engine(spec)


def manifest_csv(plan: Plan, results: Iterable[ExportResult]) -> bytes:
    """What became of each item as CSV, failures too; whether a picture was made now or before is the same."""
    by_file = {one.file: one for one in results}
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for item in plan.items:
        one = by_file[item.file]
        state = "exported" if one.state == "kept" else one.state
        marker_set = item.marker_set.name if item.marker_set else ""
        row = (
            one.file, one.name, one.fov, state, one.error_type, one.error, marker_set, item.downsample,
            item.recipe,
        )  # fmt: skip
        writer.writerow([_cell(value) for value in row])
    return sink.getvalue().encode()


def _cell(value: object) -> object:
    """A value that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value


def log_to(path: Path) -> Callable[[Event], None]:
    """An observer that adds one JSON line per item to a file.

    Raises
    ------
    StorageError
        The file cannot be written.
    """
    if not path.parent.is_dir():
        raise StorageError(
            "the folder of the log does not exist", where=str(path), next="Make it, or choose another."
        )
    with explained("writing the log", path):
        path.open("a", encoding="utf-8").close()

    def observer(event: Event) -> None:
        line = json.dumps(event.result.as_json() | {"done": event.done, "total": event.total}, sort_keys=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    return observer
