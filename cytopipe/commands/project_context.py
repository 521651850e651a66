"""A project opened for a command: read, and its ledger brought up to what happened outside.

Dagster is imported only where the history has to be read or written: `status` of a project in which nothing
happened needs none of it.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.cli import Options
from cytopipe.errors import StorageError

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from cytopipe.defs.ledger import Change, Ledger, Status
    from cytopipe.project import Project

__all__ = ["ProjectContext", "open_project"]

_LIVE = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING")


@dataclass
class ProjectContext:
    """A project, its ledger, and what was noticed when it was opened."""

    project: Project
    stack: contextlib.ExitStack
    noticed: tuple[Change, ...] = ()
    _ledger: list[Ledger] = field(default_factory=list)

    @cached_property
    def instance(self) -> DagsterInstance:
        """The project's history, opened when it is first needed."""
        _hush()
        from cytopipe.defs.instance import open_instance

        return self.stack.enter_context(open_instance(self.project))

    @cached_property
    def ledger(self) -> Ledger:
        from cytopipe.defs.everything import GRAPH
        from cytopipe.defs.ledger import Ledger

        return Ledger(self.project, GRAPH, self._history)

    def _history(self):
        from cytopipe.defs.history import History

        return History(self.instance)

    def running(self) -> dict[tuple[str, str], str]:
        """What a live run has selected: (asset, key) to run id."""
        if not _has_live_runs(_dagster_home(self.project)):
            return {}
        from cytopipe.defs.live_runs import live_places

        return live_places(self.instance, self.ledger)

    def with_running(self, statuses: list[Status]) -> list[Status]:
        """The same, those that a live run works on told as such."""
        from dataclasses import replace

        live = self.running()
        return [
            replace(one, state="running", reasons=("a run is at it",))
            if (one.asset, one.key) in live
            else one
            for one in statuses
        ]


@contextlib.contextmanager
def open_project(options: Options, *, look: bool = True, quiet: bool = False) -> Iterator[ProjectContext]:
    """Open the project a command is about.

    Parameters
    ----------
    options : Options
        What was said before the command's name.
    look : bool
        End runs of dead processes, and take up what happened outside, first.
    quiet : bool
        Show nothing while the project opens.
    """
    from cytopipe.commands.progress import open_display
    from cytopipe.project import load_project

    project = load_project(options.project)
    with _history_told(project), contextlib.ExitStack() as stack:
        opened = ProjectContext(project, stack)
        if look:
            with open_display(quiet=quiet) as display:
                display.step(f"opening {project.directory}", 0, 0)
                home = _dagster_home(project)
                if _has_live_runs(home):
                    from cytopipe.defs.dead_runs import reap

                    reap(opened.instance)
                opened.noticed = tuple(opened.ledger.refresh(_newest_storage_id(home)))
                display.end(f"opening {project.directory}")
        yield opened
        if "ledger" in vars(opened):
            opened.ledger.book.close()


@contextlib.contextmanager
def _history_told(project: Project) -> Iterator[None]:
    """Tell in words what a database of the history refuses."""
    try:
        yield
    except Exception as error:
        # By name: most commands never import the library that raises it.
        if type(error).__module__.partition(".")[0] not in ("sqlalchemy", "sqlite3"):
            raise
        home = _dagster_home(project)
        if "disk is full" in str(error):
            raise StorageError(
                "the disk is full", where=str(home), next="Free some space and run it again."
            ) from error
        raise StorageError(
            "the history of this project cannot be read",
            where=str(home / "history"),
            expected="databases that Dagster wrote",
            found=str(error).splitlines()[0],
            next="Move that folder away and run it again: every artifact is kept, and what stands is taken "
            "up into a new history.",
        ) from error


def _dagster_home(project: Project) -> Path:
    from cytopipe.defs.homes import dagster_home

    return dagster_home(project)


def _newest_storage_id(home: Path) -> int | None:
    """The highest storage id of a history kept in SQLite; None where Dagster has to be asked."""
    return _asked(home, home / "history" / "runs" / "index.db", "select max(id) from event_logs")


def _has_live_runs(home: Path) -> bool:
    """Whether a run is live on paper; True where Dagster has to be asked."""
    marks = ", ".join(f"'{status}'" for status in _LIVE)
    found = _asked(home, home / "history" / "runs.db", f"select count(*) from runs where status in ({marks})")
    return found is None or found > 0


def _asked(home: Path, file: Path, question: str) -> int | None:
    settings = home / "dagster.yaml"
    if not file.is_file() or (settings.is_file() and "\nstorage:" in settings.read_text(encoding="utf-8")):
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as db:
            return int(db.execute(question).fetchone()[0] or 0)
    except sqlite3.Error:
        return None


def _hush() -> None:
    """Keep Dagster's previews and debug lines off a terminal; the history has them all."""
    warnings.filterwarnings("ignore", module="dagster")
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
