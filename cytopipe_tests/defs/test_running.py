"""Running: first starts that race, processes that die, runs that are stopped, clocks, sensors, backfills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime

from dagster import (
    AssetCheckKey,
    AssetKey,
    DagsterRunStatus,
    RunRequest,
    RunsFilter,
    build_run_status_sensor_context,
    build_schedule_context,
    build_sensor_context,
)

from cytopipe.defs import dead_runs
from cytopipe.defs.artifact import Partitions
from cytopipe.defs.dead_runs import reap
from cytopipe.defs.ledger import Status
from cytopipe.defs.running import range_tags
from cytopipe.defs.selection import neighbours, plan_runs
from cytopipe_tests.cli.conftest import cytopipe
from cytopipe_tests.defs.example import backfill_of, fasta, job_of_one_asset, make_project

DONE = ["done"] * 5
STEPS = [f"decompose/{one}" for one in ("initial", "deconflicted", "refined", "final", "report")]


def repository(opened):
    return opened.definitions.get_repository_def()


def test_six_first_starts_at_once_all_succeed(tmp_path):
    """Dagster's tables are made by whoever comes first; most of them died of that race."""
    project = make_project(tmp_path, "meadow")
    code = (
        "import sys\n"
        "from cytopipe.defs.instance import open_instance\n"
        "from cytopipe.project import load_project\n"
        "with open_instance(load_project(sys.argv[1])) as instance:\n"
        "    instance.add_dynamic_partitions('decompose', [sys.argv[2]])\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(project.file), f"key{number}"], stderr=subprocess.PIPE
        )
        for number in range(6)
    ]
    said = [process.communicate()[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * 6, said
    from cytopipe.defs.instance import open_instance

    with open_instance(project) as instance:
        assert set(instance.get_dynamic_partitions("decompose")) == {f"key{number}" for number in range(6)}


def test_settings_are_written_once_and_then_the_users(tmp_path):
    from cytopipe.defs.instance import open_instance, prepare_home

    project = make_project(tmp_path, "meadow")
    settings = prepare_home(project) / "dagster.yaml"
    settings.write_text(settings.read_text().replace("max_concurrent_runs: 4", "max_concurrent_runs: 7"))
    with open_instance(project) as instance:
        assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 7
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        assert instance.run_monitoring_enabled and instance.run_retries_enabled


# The command line, to which a signal comes as soon as the first checkpoint stands in the history: sent from
# outside, it would come too late wherever the machine is busy with something else.
STOPPED_AT_A_CHECKPOINT = """
import os, sys
from cytopipe.cli import run
from cytopipe.defs.batch import Batch
from cytopipe.defs.event import CHECKPOINT
signal, log_event = int(sys.argv[1]), Batch._log_event
def stop(batch, event):
    log_event(batch, event)
    if event.kind == CHECKPOINT:
        Batch._log_event = log_event
        os.kill(os.getpid(), signal)
Batch._log_event = stop
sys.exit(run(sys.argv[2:]))
"""


def materialized_until_stopped(project, by: signal.Signals) -> subprocess.CompletedProcess[str]:
    """`cytopipe materialize --all` in a process of its own, stopped in the middle of the first stage."""
    words = [str(int(by)), "--project", str(project.file), "materialize", "--all"]
    command = [sys.executable, "-c", STOPPED_AT_A_CHECKPOINT, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_a_killed_run_is_reaped_and_resumed_to_the_same_bytes(begin):
    """kill -9 leaves a run started for ever; it is ended, and the rest is made from its checkpoint."""
    opened = begin("meadow", specimens=(6,) * 12)
    _slow(opened)
    stopped = materialized_until_stopped(opened.project, signal.SIGKILL)
    assert stopped.returncode == -signal.SIGKILL, stopped
    (left,) = opened.instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED]))
    (reaped,) = reap(opened.instance)
    assert (reaped.run_id, reaped.outcome) == (left.run_id, "failed")
    assert "is gone" in reaped.why
    assert reap(opened.instance) == []
    opened.look()
    assert opened.states("meadow")[0] == "interrupted"
    opened.make()
    assert opened.states("meadow") == DONE
    killed = opened.latest("decompose/final", "meadow").version
    assert killed == _made_without_a_stop(opened)


def test_ctrl_c_saves_and_ends_the_run_as_canceled(begin):
    opened = begin("meadow", specimens=(6,) * 12)
    _slow(opened)
    stopped = materialized_until_stopped(opened.project, signal.SIGINT)
    assert stopped.returncode == 130, stopped
    assert "cytopipe resume" in stopped.stderr
    (run,) = opened.instance.get_runs(limit=1)
    assert run.status is DagsterRunStatus.CANCELED
    opened.look()
    assert opened.states("meadow")[0] == "interrupted"
    resumed = cytopipe("resume", "--quiet", at=opened.project.directory)
    assert resumed.code == 0, resumed.err
    assert opened.states("meadow") == DONE


def _slow(opened) -> None:
    """A checkpoint after every target, so that there is a middle in which to stop."""
    file = opened.project.file
    file.write_text(file.read_text() + "    checkpoint_interval: 1\n")
    opened.again()


def _made_without_a_stop(opened) -> str:
    """The digest of the same data set, made at one go elsewhere."""
    from cytopipe.decompose import Decomposition

    data = opened.project.data_set("decompose", "meadow")
    folder = opened.project.directory / "other"
    whole = Decomposition.create(folder, data.resolve(data.entry.input), data.entry.parameters)
    return whole.advance("final", thresholds=[data.entry.parameters.lump], report=False).sha256


def test_a_run_of_another_host_or_a_living_process_is_left_alone(finished):
    job = job_of_one_asset(finished)
    run = finished.instance.create_run_for_job(job, status=DagsterRunStatus.STARTED)
    dead_runs.claim(finished.instance, run.run_id)
    assert reap(finished.instance) == []
    finished.instance.add_run_tags(run.run_id, {dead_runs._WORKER: "elsewhere boot 1 1"})
    assert [one.outcome for one in reap(finished.instance)] == ["unknown"]
    assert [one.outcome for one in reap(finished.instance, gone_hosts=("elsewhere",))] == ["failed"]
    assert finished.instance.get_run_by_id(run.run_id).status is DagsterRunStatus.FAILURE


def test_a_run_that_nobody_claimed_is_dead_after_a_while_and_one_being_canceled_is_canceled(finished):
    job = job_of_one_asset(finished)
    finished.instance.create_run_for_job(job, status=DagsterRunStatus.STARTING)
    canceling = finished.instance.create_run_for_job(job, status=DagsterRunStatus.CANCELING)
    assert reap(finished.instance) == []
    outcomes = {one.run_id: one.outcome for one in reap(finished.instance, start_timeout_s=0)}
    assert sorted(outcomes.values()) == ["canceled", "failed"]
    assert outcomes[canceling.run_id] == "canceled"


def test_new_entries_and_new_files_are_partitions_when_the_definitions_are_loaded_again(finished):
    file = finished.project.file
    file.write_text(file.read_text() + "  plate:\n    input: incoming/*.fasta\n")
    assert finished.again().look() == []
    (file.parent / "incoming").mkdir()
    (file.parent / "incoming" / "p1.fasta").write_text(fasta("p1"))
    assert "decompose/sequences [plate.p1]" in finished.again().look()
    node = finished.definitions.resolve_asset_graph().get(AssetKey(["decompose", "initial"]))
    assert node.partitions_def.get_partition_keys() == ["meadow", "forest", "plate.p1"]
    assert finished.states("plate.p1") == ["missing"] * 5


def test_the_sensor_says_what_is_wrong_with_the_project_file(finished):
    sensor = repository(finished).get_sensor_def("changes")
    context = build_sensor_context(instance=finished.instance, repository_def=repository(finished))
    finished.project.file.write_text("decompose: [")
    assert "cytopipe.yaml:1" in sensor.evaluate_tick(context).skip_message


def test_the_sensor_notices_a_hand_edit(finished):
    from cytopipe_tests.defs.example import edit_by_hand

    context = build_sensor_context(instance=finished.instance, repository_def=repository(finished))
    sensor = repository(finished).get_sensor_def("changes")
    (request,) = sensor.evaluate_tick(context).run_requests
    assert {one.to_user_string() for one in request.asset_selection} == {"decompose/overview"}
    assert finished.run("decompose/overview").outcome == "success"
    assert sensor.evaluate_tick(context).skip_message == "nothing new"
    edit_by_hand(finished.project.data_set("decompose", "meadow").folder, "refined")
    said = sensor.evaluate_tick(context).skip_message
    assert said.startswith("decompose/refined [meadow] edited by hand: ")
    assert finished.states("meadow") == ["done", "done", "done", "stale", "stale"]


def test_the_failure_sensor_writes_a_line_that_tools_can_follow(begin):
    opened = begin("broken")
    (opened.project.directory / "broken.fasta").write_text(">a\nAC1\n")
    opened.make()
    run = opened.instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.FAILURE]))[0]
    event = next(
        one.dagster_event
        for one in opened.instance.all_logs(run.run_id)
        if one.dagster_event and one.dagster_event.is_run_failure
    )
    context = build_run_status_sensor_context(
        sensor_name="failures", dagster_event=event, dagster_instance=opened.instance, dagster_run=run
    ).for_run_failure()
    repository(opened).get_sensor_def("failures")(context)
    (line,) = (opened.project.home / "failures.log").read_text().splitlines()
    assert json.loads(line)["run_id"] == run.run_id
    assert "broken.fasta" in json.loads(line)["errors"][0]


def test_the_nightly_schedule_asks_for_what_is_missing_or_stale_and_not_for_what_failed(finished):
    schedule = repository(finished).get_schedule_def("decompose_nightly")

    def tick() -> list:
        context = build_schedule_context(
            instance=finished.instance,
            scheduled_execution_time=datetime(2030, 1, 1, 2, tzinfo=UTC),
            repository_def=repository(finished),
        )
        return list(schedule.evaluate_tick(context).run_requests)

    assert tick() == []
    (finished.project.directory / "forest.fasta").write_text(fasta("forest", (4, 3, 3)))
    (request,) = tick()
    assert isinstance(request, RunRequest)
    assert request.tags["dagster/partition"] == "forest"
    job = repository(finished).get_job("decompose_all")
    assert job.execute_in_process(instance=finished.instance, tags=request.tags, raise_on_error=False).success
    assert finished.states("forest") == DONE
    assert tick() == []


def test_the_weekly_maintenance_verifies_and_names_what_differs(finished):
    job = repository(finished).get_job("verify_and_sweep")
    assert job.execute_in_process(instance=finished.instance).success
    assert finished.latest("maintenance/archive_health", "").metadata["artifacts"] > 0
    folder = finished.project.data_set("decompose", "forest").folder
    file = next(folder.glob("cluster_*.fasta"))
    file.write_bytes(file.read_bytes()[:-50])
    result = job.execute_in_process(instance=finished.instance, raise_on_error=False)
    assert not result.success
    failure = result.failure_data_for_node("maintenance__archive_health").user_failure_data
    assert file.name in failure.description


def test_a_check_that_is_run_later_finds_what_changed_on_disk(finished):
    folder = finished.project.data_set("decompose", "forest").folder
    job = repository(finished).get_job("decompose_all")
    wanted = AssetCheckKey(AssetKey(["decompose", "final"]), "clusters_disjoint")

    def passed() -> bool:
        subset = job.get_subset(asset_selection=set(), asset_check_selection={wanted})
        result = subset.execute_in_process(instance=finished.instance, partition_key="forest")
        return result.get_asset_check_evaluations()[0].passed

    assert passed()
    file = next(folder.glob("cluster_*.fasta"))
    file.write_text(file.read_text().replace("A", "C", 1))
    assert not passed()


def test_checks_are_recorded_with_every_partition(finished):
    history = finished.instance.event_log_storage.get_asset_check_execution_history(
        AssetCheckKey(AssetKey(["decompose", "final"]), "records_conserved"), limit=10
    )
    evaluations = [one.event.dagster_event.event_specific_data for one in history]
    assert {one.partition for one in evaluations} == {"meadow", "forest"}
    assert all(one.status.value == "SUCCEEDED" for one in history)


def test_a_single_partition_run_lets_other_domains_share_it(begin):
    """With one partition the chain yields results, so that an asset downstream of it is not skipped."""
    opened = begin("meadow")
    opened.look()
    outcome = opened.run(*STEPS, keys=("meadow",))
    assert outcome.outcome == "success"
    record = opened.latest("decompose/final", "meadow")
    assert set(record.inputs) == {"decompose/sequences", "decompose/refined"}
    assert opened.states("meadow") == DONE


def test_a_backfill_from_the_browser_makes_many_partitions_in_one_run(begin, monkeypatch):
    """What `launchPartitionBackfill` stores, carried out as the daemon does."""
    from dagster._core.execution.backfill import BulkActionStatus
    from dagster._core.test_utils import create_test_daemon_workspace_context
    from dagster._core.workspace.load_target import ModuleTarget
    from dagster._daemon.backfill import execute_backfill_iteration

    opened = begin("meadow", "forest")
    opened.look()
    monkeypatch.setenv("DAGSTER_HOME", opened.instance.root_directory)
    graph = opened.definitions.resolve_asset_graph()
    backfill = backfill_of(opened.instance, graph, "many", STEPS, ["meadow", "forest"])
    opened.instance.add_backfill(backfill)
    target = ModuleTarget(
        "cytopipe.defs.definitions", "definitions", str(opened.project.directory), "cytopipe"
    )
    with create_test_daemon_workspace_context(target, opened.instance) as context:
        import logging

        list(execute_backfill_iteration(context, logging.getLogger("test")))
        runs = opened.instance.get_runs(RunsFilter(tags={"dagster/backfill": "many"}))
        assert len(runs) == 1
        assert set(runs[0].tags.items()) >= set(range_tags(("meadow", "forest")).items())
        assert {key.to_user_string() for key in runs[0].asset_selection} == set(STEPS)
    stored = opened.instance.get_backfill("many")
    assert stored.status is BulkActionStatus.REQUESTED


def test_ranges_are_contiguous_and_no_longer_than_asked():
    order = list("abcdefgh")
    by, grid = Partitions(name="letters", per_run=3), Partitions(name="grid", dimensions=("row", "column"))
    assert neighbours(order, set("bcegh"), by) == [["b", "c"], ["e"], ["g", "h"]]
    assert neighbours(order, set(order), by) == [["a", "b", "c"], ["d", "e", "f"], ["g", "h"]]
    assert neighbours(order, set(), by) == []
    tiles = ["A|0", "A|1", "B|0", "B|1"]
    assert neighbours(tiles, set(tiles[1:]), grid) == [["A|1"], ["B|0", "B|1"]]
    assert range_tags(("a",)) == {"dagster/partition": "a"}


def test_runs_take_contiguous_partitions_that_need_the_same_assets(begin):
    opened = begin("x", "y", "z")
    wanted = {"decompose/initial": ["x", "z"], "decompose/final": ["x", "y", "z"]}
    chosen = [Status(asset, key, "stale") for asset, keys in wanted.items() for key in keys]
    runs = [(run.assets, run.keys) for run in plan_runs(opened.ledger, chosen)]
    assert runs == [
        (("decompose/initial", "decompose/final"), ("x",)),
        (("decompose/initial", "decompose/final"), ("z",)),
        (("decompose/final",), ("y",)),
    ]


def test_children_of_the_interface_die_with_it(begin):
    """Killed with -9, `cytopipe ui` leaves no code server and no daemon behind.

    Even in the background, where a shell lets SIGINT be ignored. A call that is just answered has 60 s.
    """
    import psutil

    opened = begin("meadow")
    process = subprocess.Popen(
        [sys.executable, "-m", "cytopipe.cli", "--project", str(opened.project.file), "ui"],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stdout:
            if line.startswith("open http"):
                break
        children = psutil.Process(process.pid).children(recursive=True)
        commands = {child.pid: " ".join(child.cmdline()) for child in children}
        assert len(children) >= 2
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    _, alive = psutil.wait_procs(children, timeout=90)
    assert [commands[one.pid] for one in alive] == []
