"""One SLURM job per atlas: scripts, submission, status, and what came of them.

Each batch script is a plain ``cytopipe atlas run`` that anyone can run by hand. Jobs are warned two minutes
before they are ended and requeued: the pass is saved then and continues where it was. What was submitted is
written down beside the results, so status and collection need nothing but that folder.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cytopipe.atlas.registry import AtlasEntry
from cytopipe.errors import EngineError, Finding, InputError, MissingToolError, ParameterError
from cytopipe.storage import Store

__all__ = ["JobState", "Resources", "job_script", "job_states", "submit_jobs"]

FOLDER = "slurm"
_TIME = re.compile(r"(\d+-)?\d{1,3}(:\d{2}){0,2}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._,:=+-]{0,99}")
_TIMEOUT_S = 60


@dataclass(frozen=True)
class Resources:
    """What a job asks for.

    Parameters
    ----------
    cpus : int
        Cores; inflating uses them all.
    memory_gb : int
        Memory; ``cytopipe atlas run`` states what it needs before it starts.
    time : str
        Wall time, as SLURM writes it: ``4:00:00``, ``1-00:00:00``.
    partition, account, gres : str
        Left out where empty; `gres` such as ``gpu:1``.
    """

    cpus: int = 8
    memory_gb: int = 64
    time: str = "12:00:00"
    partition: str = ""
    account: str = ""
    gres: str = ""

    def __post_init__(self) -> None:
        findings = [
            Finding(what=f"{name} is out of range", expected="at least 1", found=str(getattr(self, name)))
            for name in ("cpus", "memory_gb")
            if getattr(self, name) < 1
        ]
        if not _TIME.fullmatch(self.time):
            findings.append(
                Finding(what="time is not a SLURM time", expected="D-HH:MM:SS", found=repr(self.time))
            )
        findings += [
            Finding(what=f"{name} is not a SLURM name", found=repr(value))
            for name in ("partition", "account", "gres")
            if (value := getattr(self, name)) and not _WORD.fullmatch(value)
        ]
        if findings:
            raise ParameterError(findings)


@dataclass(frozen=True)
class JobState:
    """One submitted job.

    Parameters
    ----------
    atlas, job_id : str
    state : str
        As SLURM says it (``PENDING``, ``RUNNING``, ...); ``DONE`` or ``FAILED`` once the job has written its
        outcome, ``UNKNOWN`` where SLURM has forgotten it, or does not
        answer, and no outcome stands.
    outcome : mapping
        What ``cytopipe atlas run --json`` said; empty until then.
    """

    atlas: str
    job_id: str
    state: str
    outcome: Mapping[str, object] = field(default_factory=dict)


def job_script(
    entry: AtlasEntry,
    output: Path,
    resources: Resources,
    arguments: Sequence[str] = (),
    project: Path | None = None,
) -> str:
    """The batch script of one atlas.

    Parameters
    ----------
    entry : AtlasEntry
    output : Path
        Root of the results; must be on a file system the nodes share.
    resources : Resources
    arguments : sequence of str, optional
        More options of ``cytopipe atlas run``.
    project : Path, optional
        Project directory.
    """
    folder = output.absolute() / FOLDER
    if any(not character.isprintable() for character in str(folder)):
        raise ParameterError("path of the output cannot stand in a batch script", found=repr(str(folder)))
    head = {
        "job-name": f"cytopipe-{entry.name}",
        "nodes": 1,
        "ntasks": 1,
        "cpus-per-task": resources.cpus,
        "mem": f"{resources.memory_gb}G",
        "time": resources.time,
        "partition": resources.partition,
        "account": resources.account,
        "gres": resources.gres,
        "output": shlex.quote(str(folder / f"{entry.name}-%j.log")),
        "signal": "B:TERM@120",
    }
    command = [sys.executable, "-m", "cytopipe.cli"]
    command += ["--project", str(project)] if project else []
    command += ["atlas", "run", "--atlas", entry.name, "--output", str(output.absolute()), "--json"]
    command += ["--threads", str(resources.cpus), "--memory-gb", f"{resources.memory_gb * 0.9:g}", *arguments]
    outcome = shlex.quote(str(folder / f"{entry.name}.json"))
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH --{name}={value}" for name, value in head.items() if value != ""),
        "#SBATCH --requeue",
        "#SBATCH --open-mode=append",
        "set -u",
        f"rm -f {outcome}",
        "# in the background, so that the warning reaches this shell and is passed on: the pass is saved",
        f"{shlex.join(command)} > {outcome}.part &",
        "work=$!",
        "trap 'kill -TERM $work' TERM",
        "wait $work; code=$?",
        "while kill -0 $work 2>/dev/null; do wait $work; code=$?; done",
        '[ "$code" -eq 143 ] && code=130  # warned before the program could say that it understood',
        'if [ "$code" -eq 130 ]; then scontrol requeue "$SLURM_JOB_ID"; exit 0; fi',
        f'if [ "$code" -ne 0 ]; then echo "{{\\"exit_code\\": $code}}" > {outcome}.part; fi',
        f"mv {outcome}.part {outcome}",
        "exit $code",
    ]
    return "\n".join(lines) + "\n"


def submit_jobs(store: Store, scripts: Mapping[str, str]) -> dict[str, str]:
    """Submit one script per atlas and write down their ids.

    Parameters
    ----------
    store : Store
        At the root of the results.
    scripts : mapping of atlas to str

    Returns
    -------
    dict of atlas to job id

    Raises
    ------
    MissingToolError
        If there is no sbatch.
    EngineError
        If SLURM refuses; jobs submitted before stay, and stand in the list.
    """
    if not shutil.which("sbatch"):
        raise MissingToolError(
            "sbatch is not found",
            next="Run this on a login node of the cluster, or use --dry-run for the scripts.",
        )
    folder = store.root / FOLDER
    jobs = _submitted(store)
    for atlas, script in scripts.items():
        path = folder / f"{atlas}.sbatch"
        store.publish_bytes(path, script.encode())
        jobs[atlas] = _slurm("sbatch", "--parsable", str(path)).split(";")[0].strip()
        store.publish_bytes(folder / "jobs.json", json.dumps(jobs, indent=1, sort_keys=True).encode())
    return {atlas: jobs[atlas] for atlas in scripts}


def job_states(store: Store) -> list[JobState]:
    """State of every job that was submitted into this folder, sorted by atlas."""
    jobs = _submitted(store)
    known: dict[str, str] = {}
    if jobs and shutil.which("squeue"):
        with suppress(EngineError):  # a controller that does not answer leaves what the jobs themselves wrote
            listing = _slurm("squeue", "--noheader", "--states=all", "--format=%i|%T")
            known = dict(line.strip().split("|", 1) for line in listing.splitlines() if "|" in line)
    return [_state(store, atlas, job_id, known) for atlas, job_id in sorted(jobs.items())]


def states_as_json(states: Sequence[JobState]) -> str:
    """The states as JSON text, for scripts."""
    return json.dumps([asdict(state) for state in states], indent=1)


def _state(store: Store, atlas: str, job_id: str, known: Mapping[str, str]) -> JobState:
    path = store.root / FOLDER / f"{atlas}.json"
    if path.is_file():
        try:
            outcome = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            return JobState(atlas, job_id, "FAILED", {"error": f"{path} is not JSON"})
        return JobState(atlas, job_id, "FAILED" if "exit_code" in outcome else "DONE", outcome)
    return JobState(atlas, job_id, known.get(job_id, "UNKNOWN"))


def _submitted(store: Store) -> dict[str, str]:
    path = store.root / FOLDER / "jobs.json"
    if not path.is_file():
        return {}
    jobs = json.loads(store.read_bytes(path))
    if not isinstance(jobs, dict):
        raise InputError("is not a list of jobs", where=str(path))
    return {str(atlas): str(job_id) for atlas, job_id in jobs.items()}


def _slurm(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"{command[0]} did not answer: {error}") from error
    if done.returncode:
        raise EngineError(
            f"{command[0]} refused", found=done.stderr.strip() or f"exit code {done.returncode}"
        )
    return done.stdout
