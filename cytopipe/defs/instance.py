"""A project's own Dagster instance: settings written once, tables made once, whoever comes first.

The history of a project lies in ``.cytopipe/dagster`` as SQLite and moves with it. Several processes may
open it for the first time at the same moment; Dagster's table creation races then (six of eight died
when measured), so the first one works under a file lock and the others wait for it.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from dagster import DagsterInstance
from dagster import __version__ as dagster_version

from cytopipe.defs.homes import dagster_home
from cytopipe.project import Project

__all__ = ["open_instance", "prepare_home"]

_SETTINGS = """\
# Written once by cytopipe; yours to edit. All keys: https://docs.dagster.io/deployment/oss/dagster-yaml
# For several users or machines, keep the history in Postgres instead of SQLite:
#
#   storage:
#     postgres:
#       postgres_url: {env: CYTOPIPE_POSTGRES_URL}   # postgresql+psycopg2://user:password@host/database

telemetry:
  enabled: false
nux:
  enabled: false

run_coordinator:
  module: dagster.core.run_coordinator
  class: QueuedRunCoordinator
  config:
    dequeue_interval_seconds: 1

concurrency:
  runs:
    max_concurrent_runs: 4
  pools:
    granularity: run
    default_limit: 2       # `cytopipe.cpu`: runs that compute at the same time

run_monitoring:
  enabled: true
  start_timeout_seconds: 300
  cancel_timeout_seconds: 180
  poll_interval_seconds: 30

run_retries:
  enabled: true
  max_retries: 2
  retry_on_asset_or_op_failure: false   # a worker that died is started again; a wrong input is not

retention:
  schedule: {purge_after_days: {skipped: 7, success: 90, failure: 365}}
  sensor: {purge_after_days: {skipped: 1, success: 30, failure: 365}}

backfills:
  use_threads: true
  num_workers: 2
sensors:
  use_threads: true
  num_workers: 4
schedules:
  use_threads: true
  num_workers: 2
"""


def open_instance(project: Project) -> DagsterInstance:
    """The instance of a project, made on first use; use it in a ``with`` block.

    The environment variable CYTOPIPE_DAGSTER_HOME names another home than the project's own, where a site
    keeps one history for many projects. (DAGSTER_HOME is left alone: it may belong to another platform.)
    """
    return DagsterInstance.from_config(str(prepare_home(project)))


def prepare_home(project: Project) -> Path:
    """The project's DAGSTER_HOME with its settings and tables in place; returns the directory."""
    home = dagster_home(project)
    mark = home / f".ready-{dagster_version}"
    if mark.exists():
        return home
    home.mkdir(parents=True, exist_ok=True)
    ignore = project.home / ".gitignore"
    if project.home.is_dir() and not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
    with _locked(home / ".first-start.lock"):
        if mark.exists():
            return home
        settings = home / "dagster.yaml"
        if not settings.exists():
            settings.write_text(_SETTINGS, encoding="utf-8")
        inherited = (home / "history").is_dir()
        with DagsterInstance.from_config(str(home)) as instance:
            if inherited:
                instance.upgrade()  # a newer Dagster over an older history
            instance.get_runs(limit=1)
            instance.get_dynamic_partitions("-")
            instance.all_instigator_state()
        mark.touch()
    return home


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
