"""Runs whose process is gone: found, ended, and left ready to be resumed.

Every run writes down which process works on it: host, boot, process id, start time. Dagster's launcher
has no health check of a killed host's processes and would call such a run started for ever. A process
is dead when its host is this one and the boot, the id or the start time is no longer there; of another
host we cannot know, and say so.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

__all__ = ["Reaped", "claim", "claim_tags", "reap"]

_WORKER = ".dagster/cytopipe_worker"  # a hidden tag: the browser shows it to nobody
_LIVE = [
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True)
class Reaped:
    """A run that was live on paper: what became of it, and why."""

    run_id: str
    outcome: str
    why: str


def claim(instance: DagsterInstance, run_id: str) -> None:
    """Write into a run's tags that this process works on it."""
    instance.add_run_tags(run_id, claim_tags())


def claim_tags() -> dict[str, str]:
    """The same for a run that is created by the process that will work on it."""
    return {_WORKER: _worker()}


def reap(
    instance: DagsterInstance, *, start_timeout_s: float = 600.0, gone_hosts: tuple[str, ...] = ()
) -> list[Reaped]:
    """End every live run whose process is gone.

    Parameters
    ----------
    instance : DagsterInstance
    start_timeout_s : float
        A run that no process claimed so long after its creation is dead too.
    gone_hosts : tuple of str
        Hosts the caller knows to be gone; their runs are dead.

    Returns
    -------
    list of Reaped
        One per run that was ended (``failed`` or ``canceled``), one (``unknown``) per run of another host.
    """
    outcomes = []
    for record in instance.get_run_records(RunsFilter(statuses=_LIVE)):
        run = record.dagster_run
        verdict = _verdict(
            run, time.time() - record.create_timestamp.timestamp(), start_timeout_s, gone_hosts
        )
        if verdict is None:
            continue
        alive, why = verdict
        if alive:
            outcomes.append(Reaped(run.run_id, "unknown", why))
        elif run.status is DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, message=f"{why}; it was being canceled.")
            outcomes.append(Reaped(run.run_id, "canceled", why))
        else:
            instance.report_run_failed(
                run, message=f"{why}. Its checkpoints are kept: materialize again to go on."
            )
            outcomes.append(Reaped(run.run_id, "failed", why))
    return outcomes


def _verdict(
    run: DagsterRun, age_s: float, start_timeout_s: float, gone_hosts: tuple[str, ...]
) -> tuple[bool, str] | None:
    """None: alive. Otherwise whether it must be left alone, and why."""
    written = run.tags.get(_WORKER)
    if written is None:
        # One that waits in the queue is nobody's yet.
        if age_s < start_timeout_s or run.status is DagsterRunStatus.NOT_STARTED:
            return None
        return False, f"No process claimed the run in {age_s:.0f} s"
    host, boot, pid, started = (written.split(" ") + [""] * 4)[:4]
    if host in gone_hosts:
        return False, f"Its host {host} is gone"
    if host != socket.gethostname():
        return True, f"It runs on host {host}; ask there, or say --gone {host}"
    if boot != _boot():
        return False, f"Host {host} was restarted since"
    if _started(int(pid)) != started:
        return False, f"Process {pid} on {host} is gone"
    return None


def _worker() -> str:
    return f"{socket.gethostname()} {_boot()} {os.getpid()} {_started(os.getpid())}"


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "-"


def _started(pid: int) -> str:
    """Start time of a live process, in the kernel's ticks; empty where there is no such process."""
    try:
        # The name, in parentheses, may hold spaces: count fields from its end.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "-" if _alive_without_proc(pid) else ""
    return "" if fields[0] == "Z" else fields[19]


def _alive_without_proc(pid: int) -> bool:
    if Path("/proc/self").exists():
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True
