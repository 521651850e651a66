"""Runs that were created and never started: ended where their process is gone, left where they wait."""

from __future__ import annotations

import subprocess
import sys

from dagster import DagsterRunStatus

from cytopipe.defs.dead_runs import claim_tags, reap
from cytopipe_tests.defs.example import job_of_one_asset

DIES_BEFORE_IT_STARTS = """
import os, sys
from cytopipe.defs.dead_runs import claim_tags
from cytopipe.defs.definitions import definitions_of
from cytopipe.defs.instance import open_instance
from cytopipe.project import load_project
project = load_project(sys.argv[1])
with open_instance(project) as instance:
    job = definitions_of(project, file=str(project.file)).resolve_implicit_global_asset_job_def()
    print(instance.create_run_for_job(job, tags=claim_tags()).run_id, flush=True)
    os.kill(os.getpid(), 9)
"""


def waiting(opened, **tags: str):
    """A run that was created and not started."""
    return opened.instance.create_run_for_job(job_of_one_asset(opened), tags=tags)


def test_a_run_whose_command_died_before_it_started_is_ended(finished) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DIES_BEFORE_IT_STARTS, str(finished.project.file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -9, done.stderr
    run_id = done.stdout.strip()
    assert finished.instance.get_run_by_id(run_id).status is DagsterRunStatus.NOT_STARTED
    (reaped,) = reap(finished.instance)
    assert (reaped.run_id, reaped.outcome) == (run_id, "failed")
    assert "is gone" in reaped.why
    assert finished.instance.get_run_by_id(run_id).status is DagsterRunStatus.FAILURE
    assert reap(finished.instance) == []


def test_a_run_that_waits_and_that_nobody_claimed_is_left_however_old_it_is(finished) -> None:
    run = waiting(finished)
    assert reap(finished.instance, start_timeout_s=0) == []
    assert finished.instance.get_run_by_id(run.run_id).status is DagsterRunStatus.NOT_STARTED


def test_a_run_that_a_living_command_created_and_has_not_started_is_left(finished) -> None:
    run = waiting(finished, **claim_tags())
    assert reap(finished.instance, start_timeout_s=0) == []
    assert finished.instance.get_run_by_id(run.run_id).status is DagsterRunStatus.NOT_STARTED
