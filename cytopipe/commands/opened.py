"""A project opened for a command: read, its history prepared, what happened outside taken up."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cytopipe.cli import Options

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from cytopipe.defs.observing import Noticed
    from cytopipe.project import Project

__all__ = ["Opened", "open_project"]


@dataclass(frozen=True)
class Opened:
    """A project, its instance, and what was noticed when it was opened."""

    project: Project
    instance: DagsterInstance
    noticed: tuple[Noticed, ...] = ()


@contextlib.contextmanager
def open_project(options: Options, *, look: bool = True, quiet: bool = False) -> Iterator[Opened]:
    """Open the project a command is about.

    Parameters
    ----------
    options : Options
        What was said before the command's name.
    look : bool
        Register new data sets, end runs of dead processes, and take up what happened outside, first.
    quiet : bool
        Show nothing while the project opens.
    """
    from cytopipe.commands.progress import open_display
    from cytopipe.project import load_project

    project = load_project(options.project)
    _hush()
    with contextlib.ExitStack() as stack:
        with open_display(quiet=quiet) as display:
            display.step(f"opening {project.directory}", 0, 0)
            from cytopipe.defs.dead_runs import reap
            from cytopipe.defs.definitions import GRAPH
            from cytopipe.defs.instance import open_instance
            from cytopipe.defs.observing import observe
            from cytopipe.defs.partitions import register

            instance = stack.enter_context(open_instance(project))
            noticed: list[Noticed] = []
            if look:
                register(project, instance)
                reap(instance)
                noticed = observe(project, instance, GRAPH)
            display.end(f"opening {project.directory}")
        yield Opened(project, instance, tuple(noticed))


def _hush() -> None:
    """Keep Dagster's previews and debug lines off a terminal; the history has them all."""
    warnings.filterwarnings("ignore", module="dagster")
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
