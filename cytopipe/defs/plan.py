"""What is to be done, and why: every partition of every asset judged from history and digests.

    done         history has a materialization whose code version, inputs and content are those of today
    stale        one of them differs, or one of its inputs is about to change
    missing      history has none
    failed       the last attempt raised
    interrupted  the last attempt ended at a checkpoint
    running      a live run has it
    broken       its entry in the project file cannot be used

Each judgement carries its reasons in words. Nothing is concluded from a file's existence: what lies on
disk counts when its digest is vouched for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from cytopipe.defs import books
from cytopipe.defs.books import Record
from cytopipe.defs.graph import Graph
from cytopipe.defs.steps import Step
from cytopipe.project import DataSet, Project
from cytopipe.provenance import Input

__all__ = ["Judgement", "as_input", "judge", "judge_step", "present_inputs"]

STATES = ("done", "stale", "missing", "failed", "interrupted", "running", "broken")


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """One partition of one asset: its state, the reasons, and the record it rests on."""

    asset: str
    partition: str
    state: str
    reasons: tuple[str, ...] = ()
    record: Record | None = None

    @property
    def wanted(self) -> bool:
        """Whether materializing would do something."""
        return self.state in ("stale", "missing", "failed", "interrupted")


def judge(
    project: Project, instance: DagsterInstance, graph: Graph, *, domains: Iterable[str] = ()
) -> list[Judgement]:
    """Judge every partition of every step, in the order in which the data flows.

    Parameters
    ----------
    project : Project
    instance : DagsterInstance
        Its history.
    graph : Graph
        The steps and sources of every domain.
    domains : iterable of str, optional
        Only these.
    """
    chosen = set(domains) or set(graph.domains)
    running = _running(instance)
    judged: list[Judgement] = []
    for domain in (one for one in graph.domains if one in chosen):
        judged += _judge_domain(project, instance, graph, domain, running)
    return judged


def judge_step(
    instance: DagsterInstance, graph: Graph, step: Step, data_sets: Sequence[DataSet]
) -> dict[str, tuple[tuple[Input, ...], Judgement]]:
    """Inputs and judgement of one step's partitions, by key, with a few queries for all of them.

    The inputs are taken as history knows them now, whatever their own state; a run asks this before it works.
    """
    keys = [data.key for data in data_sets]
    made = books.latest_by_partition(instance, step.asset, keys)
    known = {
        asset: books.latest_by_partition(
            instance, asset, keys, kind="seen" if asset in graph.sources else "made"
        )
        for asset in step.after
    }
    judged = {}
    for data in data_sets:
        inputs = {asset: as_input(asset, data.key, found.get(data.key)) for asset, found in known.items()}
        judgement = _judge(step, data, made.get(data.key), None, inputs, {}, running=False)
        judged[data.key] = (tuple(inputs.values()), judgement)
    return judged


def _kind(graph: Graph, asset: str) -> str:
    """The kind of event that says which version of an asset there is."""
    return "seen" if asset in graph.sources else "made"


def present_inputs(
    project: Project, instance: DagsterInstance, graph: Graph, step: Step, data: DataSet
) -> tuple[Input, ...]:
    """The inputs of a partition as history knows them now; sources must have been observed before."""
    found = []
    for asset in step.after:
        record = books.latest(instance, asset, data.key, seen=asset in graph.sources)
        found.append(as_input(asset, data.key, record))
    return tuple(found)


def _judge_domain(
    project: Project, instance: DagsterInstance, graph: Graph, domain: str, running: set[tuple[str, str]]
) -> Iterator[Judgement]:
    data_sets = project.data_sets.get(domain, {})
    broken = {name: findings for (owner, name), findings in project.broken.items() if owner == domain}
    steps = graph.steps_of(domain)
    known: dict[str, dict[str, Record]] = {}
    for source in graph.sources_of(domain):
        known[source.asset] = books.latest_by_partition(instance, source.asset, data_sets, kind="seen")
    notes: dict[str, dict[str, Record]] = {}
    for step in steps:
        known[step.asset] = books.latest_by_partition(instance, step.asset, data_sets)
        notes[step.asset] = books.latest_by_partition(instance, step.asset, data_sets, kind="noted")
    for data in data_sets.values():
        states: dict[str, str] = {}
        for step in steps:
            inputs = {
                asset: as_input(asset, data.key, known.get(asset, {}).get(data.key)) for asset in step.after
            }
            judgement = _judge(
                step,
                data,
                known[step.asset].get(data.key),
                notes[step.asset].get(data.key),
                inputs,
                states,
                running=(step.asset, data.key) in running,
            )
            states[step.asset] = judgement.state
            yield judgement
    for name, findings in broken.items():
        for step in steps:
            yield Judgement(
                asset=step.asset, partition=name, state="broken", reasons=tuple(str(one) for one in findings)
            )


def _judge(
    step: Step,
    data: DataSet,
    record: Record | None,
    note: Record | None,
    inputs: Mapping[str, Input],
    states: Mapping[str, str],
    *,
    running: bool,
) -> Judgement:
    def answer(state: str, *reasons: str) -> Judgement:
        return Judgement(asset=step.asset, partition=data.key, state=state, reasons=reasons, record=record)

    if running:
        return answer("running", "a run is at it")
    if note is not None and (record is None or note.storage_id > record.storage_id):
        if note.kind == books.FAILED:
            return answer("failed", str(note.metadata.get("error", "")))
        if note.kind == books.CHECKPOINT:
            done, total = note.metadata.get("done"), note.metadata.get("total")
            return answer("interrupted", f"stopped at a checkpoint, {done} of {total}")
    waiting = tuple(
        f"{asset} is {states[asset]}" for asset in step.after if states.get(asset, "done") != "done"
    )
    if record is None:
        return answer("missing", *(waiting or ("never made",)))
    reasons = [*_changes(step, record, inputs), *_content(step, data, record)]
    if reasons or waiting:
        return answer("stale", *reasons, *waiting)
    return answer("done")


def _changes(step: Step, record: Record, inputs: Mapping[str, Input]) -> Iterator[str]:
    """Why the record's recipe is not today's."""
    if record.code_version != step.code_version:
        yield f"code version {record.code_version or 'unknown'} -> {step.code_version}"
    before = {one.asset: one for one in record.inputs}
    for asset, now in inputs.items():
        then = before.get(asset)
        if then is None:
            yield f"{asset} is a new input"
        elif then.sha256 != now.sha256:
            yield f"{asset} changed: {_short(then.sha256)} -> {_short(now.sha256)}"


def _content(step: Step, data: DataSet, record: Record) -> Iterator[str]:
    """Why what lies on disk is not what the record says."""
    try:
        standing = step.standing(data)
    except OSError as error:
        yield f"not whole on disk: {error}"
        return
    if standing is None:
        yield "its files are gone or not whole"
    elif standing.sha256 != record.version:
        yield f"its files changed outside: {_short(record.version)} -> {_short(standing.sha256)}"


def as_input(asset: str, partition: str, record: Record | None) -> Input:
    if record is None:
        return Input(path="", sha256="", asset=asset, partition=partition)
    return Input(
        path=str(record.metadata.get("path", "")),
        sha256=record.version,
        asset=asset,
        partition=partition,
        storage_id=record.storage_id,
        run_id=record.run_id,
    )


def _short(sha256: str) -> str:
    return sha256[:8] or "nothing"


def _running(instance: DagsterInstance) -> set[tuple[str, str]]:
    """``(asset, partition)`` of everything a live run has selected."""
    live = [DagsterRunStatus.STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.CANCELING]
    found = set()
    for run in instance.get_runs(RunsFilter(statuses=live), limit=200):
        partitions = _partitions_of_run(instance, run)
        for key in run.asset_selection or ():
            found |= {("/".join(key.path), partition) for partition in partitions}
    return found


def _partitions_of_run(instance: DagsterInstance, run) -> list[str]:
    if single := run.tags.get("dagster/partition"):
        return [single]
    begin, end = (
        run.tags.get("dagster/asset_partition_range_start"),
        run.tags.get("dagster/asset_partition_range_end"),
    )
    domains = {key.path[0] for key in run.asset_selection or ()}
    if begin is None or end is None or len(domains) != 1:
        return []
    keys = list(instance.get_dynamic_partitions(domains.pop()))
    return keys[keys.index(begin) : keys.index(end) + 1] if begin in keys and end in keys else []
