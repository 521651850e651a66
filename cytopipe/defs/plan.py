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

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from cytopipe.defs import books
from cytopipe.defs.books import Record
from cytopipe.defs.graph import Chain, Graph
from cytopipe.defs.steps import Gathering, Made, Step
from cytopipe.errors import CytopipeError
from cytopipe.project import DataSet, Project
from cytopipe.provenance import Input

__all__ = [
    "Judgement",
    "Place",
    "as_input",
    "failed_inputs",
    "judge",
    "judge_gathering",
    "judge_step",
    "present_inputs",
]

Place = tuple[str, str]
"""An asset and the key of one of its partitions; the key is empty where the asset has none."""

STATES = ("done", "stale", "missing", "failed", "interrupted", "running", "broken")


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """One partition of one asset: its state, the reasons, and the record it rests on.

    `partition` is empty for an asset that has none.
    """

    asset: str
    partition: str
    state: str
    reasons: tuple[str, ...] = ()
    record: Record | None = None

    @property
    def place(self) -> Place:
        return self.asset, self.partition

    @property
    def wanted(self) -> bool:
        """Whether materializing would do something."""
        return self.state in ("stale", "missing", "failed", "interrupted")


def judge(
    project: Project, instance: DagsterInstance, graph: Graph, *, domains: Iterable[str] = ()
) -> list[Judgement]:
    """Judge every partition of every step, in the order in which the data flows, then what gathers them.

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
    running = _running(instance, graph)
    judged: list[Judgement] = []
    for domain in dict.fromkeys(domains) or graph.domains:
        known: dict[str, dict[str, Record]] = {}
        states: dict[Place, str] = {}
        for chain in graph.chains_of(domain):
            judged += _judge_chain(project, instance, graph, chain, known, states, running)
        for gathering in (one for chain in graph.chains_of(domain) for one in chain.gathered):
            if places := gathering.inputs(project):
                _, judgement = judge_gathering(
                    project,
                    instance,
                    graph,
                    gathering,
                    places,
                    states=states,
                    running=(gathering.asset, "") in running,
                )
                judged.append(judgement)
    return judged


def judge_step(
    instance: DagsterInstance, graph: Graph, step: Step, data_sets: Sequence[DataSet]
) -> dict[str, tuple[tuple[Input, ...], Judgement]]:
    """Inputs and judgement of one step's partitions, by key, with a few queries for all of them.

    The inputs are taken as history knows them now, whatever their own state; a run asks this before it works.
    """
    made = books.latest_by_partition(instance, step.asset, [data.key for data in data_sets])
    known = {
        asset: books.latest_by_partition(
            instance,
            asset,
            {graph.input_key(step, asset, data) for data in data_sets},
            kind=_kind(graph, asset),
        )
        for asset in step.after
    }
    judged = {}
    for data in data_sets:
        inputs = _inputs(graph, step, data, known)
        standing = partial(step.standing, data)
        judgement = _judge(step, data.key, standing, made.get(data.key), None, inputs, {}, running=False)
        judged[data.key] = (tuple(inputs.values()), judgement)
    return judged


def failed_inputs(
    instance: DagsterInstance, graph: Graph, step: Step, data_sets: Sequence[DataSet]
) -> dict[str, str]:
    """By key, an input from another chain that could not be made when it was last tried, if there is one."""
    here = graph.chain_with(step.asset)
    found = {}
    for asset in (one for one in step.after if one in graph.steps and graph.chain_with(one) is not here):
        keys = {data.key: graph.input_key(step, asset, data) for data in data_sets}
        made = books.latest_by_partition(instance, asset, keys.values())
        notes = books.latest_by_partition(instance, asset, keys.values(), kind="noted")
        for key, one in keys.items():
            if _newer_note(made.get(one), notes.get(one)) == books.FAILED:
                found.setdefault(key, asset)
    return found


def judge_gathering(
    project: Project,
    instance: DagsterInstance,
    graph: Graph,
    gathering: Gathering,
    places: Sequence[Place],
    *,
    states: Mapping[Place, str] | None = None,
    running: bool = False,
) -> tuple[tuple[Input, ...], Judgement]:
    """Inputs and judgement of what is made from the partitions `places`, whatever their own state.

    With `states`, those of its inputs are reasons too.
    """
    inputs: dict[Place, Input] = {}
    for asset in dict.fromkeys(asset for asset, _ in places):
        keys = [key for one, key in places if one == asset]
        known = books.latest_by_partition(instance, asset, keys, kind=_kind(graph, asset))
        inputs |= {(asset, key): as_input(asset, key, known.get(key)) for key in keys}
    failed = books.records(instance, gathering.asset, kinds=(books.FAILED,), limit=1)
    judgement = _judge(
        gathering,
        "",
        lambda: gathering.standing(project),
        books.latest(instance, gathering.asset, ""),
        failed[0] if failed else None,
        inputs,
        states or {},
        running=running,
    )
    return tuple(inputs.values()), judgement


def present_inputs(instance: DagsterInstance, graph: Graph, step: Step, data: DataSet) -> tuple[Input, ...]:
    """The inputs of a partition as history knows them now; sources must have been observed before."""
    found = []
    for asset in step.after:
        key = graph.input_key(step, asset, data)
        found.append(as_input(asset, key, books.latest(instance, asset, key, seen=asset in graph.sources)))
    return tuple(found)


def _judge_chain(
    project: Project,
    instance: DagsterInstance,
    graph: Graph,
    chain: Chain,
    known: dict[str, dict[str, Record]],
    states: dict[Place, str],
    running: set[Place],
) -> Iterator[Judgement]:
    """Judge a chain; what is `known` of its assets, and their `states`, are added for the chains after it."""
    data_sets = project.data_sets.get(chain.partitions, {})
    for source in chain.sources:
        known[source.asset] = books.latest_by_partition(instance, source.asset, data_sets, kind="seen")
    notes: dict[str, dict[str, Record]] = {}
    for step in chain.steps:
        known[step.asset] = books.latest_by_partition(instance, step.asset, data_sets)
        notes[step.asset] = books.latest_by_partition(instance, step.asset, data_sets, kind="noted")
    for data in data_sets.values():
        for step in chain.steps:
            judgement = _judge(
                step,
                data.key,
                partial(step.standing, data),
                known[step.asset].get(data.key),
                notes[step.asset].get(data.key),
                _inputs(graph, step, data, known),
                states,
                running=(step.asset, data.key) in running,
            )
            states[judgement.place] = judgement.state
            yield judgement
    for (owner, name), findings in project.broken.items():
        for step in chain.steps if owner in (chain.domain, chain.partitions) else ():
            yield Judgement(
                asset=step.asset, partition=name, state="broken", reasons=tuple(str(one) for one in findings)
            )


def _inputs(
    graph: Graph, step: Step, data: DataSet, known: Mapping[str, Mapping[str, Record]]
) -> dict[Place, Input]:
    """The inputs of a partition by their places, from what is known of their assets."""
    places = [(asset, graph.input_key(step, asset, data)) for asset in step.after]
    return {(asset, key): as_input(asset, key, known[asset].get(key)) for asset, key in places}


def _kind(graph: Graph, asset: str) -> str:
    """The kind of event that says which version of an asset there is."""
    return "seen" if asset in graph.sources else "made"


def _judge(
    what: Step | Gathering,
    partition: str,
    standing: Callable[[], Made | None],
    record: Record | None,
    note: Record | None,
    inputs: Mapping[Place, Input],
    states: Mapping[Place, str],
    *,
    running: bool,
) -> Judgement:
    def answer(state: str, *reasons: str) -> Judgement:
        return Judgement(asset=what.asset, partition=partition, state=state, reasons=reasons, record=record)

    if running:
        return answer("running", "a run is at it")
    newer = _newer_note(record, note)
    if note is not None and newer == books.FAILED:
        return answer("failed", str(note.metadata.get("error", "")))
    if note is not None and newer == books.CHECKPOINT:
        done, total = note.metadata.get("done"), note.metadata.get("total")
        return answer("interrupted", f"stopped at a checkpoint, {done} of {total}")
    waiting = tuple(
        f"{_said(place, partition)} is {states[place]}"
        for place in inputs
        if states.get(place, "done") != "done"
    )
    if record is None:
        return answer("missing", *(waiting or ("never made",)))
    reasons = [*_changes(what, partition, record, inputs), *_content(standing, record)]
    if reasons or waiting:
        return answer("stale", *reasons, *waiting)
    return answer("done")


def _newer_note(record: Record | None, note: Record | None) -> str:
    """The kind of a note that came after the newest record: what ended the last attempt."""
    if note is None or (record is not None and note.storage_id < record.storage_id):
        return ""
    return note.kind


def _said(place: Place, partition: str) -> str:
    """An input in a reason: of a partition, its asset says enough."""
    return place[0] if partition else books.named(*place)


def _changes(
    what: Step | Gathering, partition: str, record: Record, inputs: Mapping[Place, Input]
) -> Iterator[str]:
    """Why the record's recipe is not today's."""
    if record.code_version != what.code_version:
        yield f"code version {record.code_version or 'unknown'} -> {what.code_version}"
    before = {(one.asset, one.partition): one for one in record.inputs}
    for place, now in inputs.items():
        then = before.pop(place, None)
        if then is None:
            yield f"{_said(place, partition)} is a new input"
        elif then.sha256 != now.sha256:
            yield f"{_said(place, partition)} changed: {_short(then.sha256)} -> {_short(now.sha256)}"
    for place in before:
        yield f"{_said(place, partition)} is no input any more"


def _content(standing: Callable[[], Made | None], record: Record) -> Iterator[str]:
    """Why what lies on disk is not what the record says."""
    try:
        found = standing()
    except (OSError, CytopipeError) as error:
        yield f"not whole on disk: {error}"
        return
    if found is None:
        yield "its files are gone or not whole"
    elif found.sha256 != record.version:
        yield f"its files changed outside: {_short(record.version)} -> {_short(found.sha256)}"


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


def _running(instance: DagsterInstance, graph: Graph) -> set[Place]:
    """Everything a live run has selected."""
    live = [DagsterRunStatus.STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.CANCELING]
    found = set()
    for run in instance.get_runs(RunsFilter(statuses=live), limit=200):
        assets = {"/".join(key.path) for key in run.asset_selection or ()}
        partitions = _partitions_of_run(instance, graph, run, assets & set(graph.steps))
        found |= {(asset, key) for asset in assets & set(graph.steps) for key in partitions}
        found |= {(asset, "") for asset in assets & set(graph.gatherings)}
    return found


def _partitions_of_run(instance: DagsterInstance, graph: Graph, run, assets: set[str]) -> list[str]:
    if single := run.tags.get("dagster/partition"):
        return [single]
    begin, end = (
        run.tags.get("dagster/asset_partition_range_start"),
        run.tags.get("dagster/asset_partition_range_end"),
    )
    names = {graph.chain_with(asset).partitions for asset in assets}
    if begin is None or end is None or len(names) != 1:
        return []
    keys = list(instance.get_dynamic_partitions(names.pop()))
    return keys[keys.index(begin) : keys.index(end) + 1] if begin in keys and end in keys else []
