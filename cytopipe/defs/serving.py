"""What the web UI needs of Dagster: its processes, its view of a project, and the end of its runs."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

from cytopipe.defs.everything import GRAPH
from cytopipe.defs.relations import Relations
from cytopipe.defs.running import LOCATION, MODULE
from cytopipe.errors import CytopipeError
from cytopipe.project import Project, load_project
from cytopipe.provenance import digest_of

__all__ = [
    "code_server_command",
    "daemon_command",
    "environment_of",
    "reloading",
    "stop_runs",
    "workspace_context",
    "workspace_text",
]

_STOP_S = 20.0
_SECONDS_BETWEEN_LOOKS = 5.0
_IDLE_PER_LOOK = 50.0  # times as long as the look took


def workspace_text(code_socket: Path) -> str:
    """The workspace file for a code server that listens on a socket."""
    return f"load_from:\n  - grpc_server:\n      socket: {code_socket}\n      location_name: {LOCATION}\n"


def code_server_command(code_socket: Path) -> list[str]:
    """Loads the definitions and starts runs."""
    return [
        *(sys.executable, "-m", "dagster", "code-server", "start"),
        *("--module-name", MODULE, "--socket", str(code_socket), "--location-name", LOCATION),
        *("--log-level", "warning", "--use-python-environment-entry-point"),
    ]


def daemon_command(workspace: Path) -> list[str]:
    """Sensors, schedules, the queue, backfills and the watch over runs."""
    return [
        *(sys.executable, "-m", "dagster._daemon", "run"),
        *("--workspace", str(workspace), "--log-level", "warning"),
    ]


def environment_of(project: Project, instance: DagsterInstance) -> dict[str, str]:
    """The environment of both."""
    return {
        **os.environ,
        "DAGSTER_HOME": instance.root_directory,
        "CYTOPIPE_PROJECT": str(project.file),
        "PYTHONWARNINGS": "ignore",
    }


@contextlib.contextmanager
def workspace_context(
    instance: DagsterInstance, workspace: Path, *, read_only: bool
) -> Iterator[WorkspaceProcessContext]:
    """What Dagster's web server shows; with `read_only` it refuses every mutation."""
    target = WorkspaceFileTarget([str(workspace)])
    with WorkspaceProcessContext(instance, target, read_only=read_only) as context:
        yield context


@contextlib.contextmanager
def reloading(context: WorkspaceProcessContext, file: Path) -> Iterator[None]:
    """Load the definitions again whenever the project file declares other data sets: partitions are
    static.
    """
    ended = threading.Event()

    def watch() -> None:
        known = _declared(file)
        seconds = _SECONDS_BETWEEN_LOOKS
        while not ended.wait(seconds):
            began = time.thread_time()
            now = _declared(file)
            # A screen of a hundred thousand images is found in half a second: looked at less often.
            seconds = max(_SECONDS_BETWEEN_LOOKS, _IDLE_PER_LOOK * (time.thread_time() - began))
            if now is not None and now != known:
                known = now
                context.reload_code_location(LOCATION)

    watcher = threading.Thread(target=watch, name="declared data sets", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join(timeout=5)


def _declared(file: Path) -> str | None:
    """Digest of the keys of all data sets, and of what settings do not use; None while the file makes no
    sense.
    """
    try:
        project = load_project(file)
    except CytopipeError:
        return None
    relations = Relations(project, GRAPH)
    unused = [one.asset for one in GRAPH.artifacts if not relations.is_used(one)]
    keys = {name: list(data_sets) for name, data_sets in project.data_sets.items()}
    return digest_of({"keys": keys, "unused": unused})


def stop_runs(instance: DagsterInstance) -> None:
    """Ask runs that the code server has started to save and stop, and give them 20 s."""
    live = RunsFilter(statuses=[DagsterRunStatus.STARTED, DagsterRunStatus.STARTING])
    ours = [run for run in instance.get_runs(live) if run.tags.get(".dagster/grpc_info")]
    for run in ours:
        # A run that ended meanwhile, or whose server is gone, needs no more.
        with contextlib.suppress(Exception):
            instance.run_launcher.terminate(run.run_id)
    deadline = time.monotonic() + _STOP_S
    while ours and time.monotonic() < deadline:
        ours = [run for run in ours if not instance.get_run_by_id(run.run_id).is_finished]
        time.sleep(0.1)
