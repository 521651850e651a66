"""A chain of steps as assets: one operation that takes many partitions through many steps.

One operation rather than one per asset, because a run costs seconds and an event milliseconds, and
because a bad partition must block its own descendants and nothing else: here each partition walks the
chain by itself, its materializations are logged one by one while the others go on, and what went wrong
is raised at the end. A single partition yields results instead, so that assets of other domains
downstream of it can share the run.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of contexts and resources.
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from dagster import (
    AllPartitionMapping,
    AssetCheckEvaluation,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetDep,
    AssetExecutionContext,
    AssetsDefinition,
    AssetSpec,
    BackfillPolicy,
    DagsterExecutionInterruptedError,
    DagsterRunStatus,
    DataVersion,
    Failure,
    MaterializeResult,
    MetadataValue,
    RetryRequested,
    multi_asset,
)

from cytopipe.defs import books, listening
from cytopipe.defs.dead_runs import claim
from cytopipe.defs.graph import Chain, Graph
from cytopipe.defs.observing import observe
from cytopipe.defs.partitions import partitions_of
from cytopipe.defs.plan import Judgement, failed_inputs, judge_step
from cytopipe.defs.resources import ProjectResource
from cytopipe.defs.steps import Made, Step, Working
from cytopipe.engine import Engine, open_engine
from cytopipe.errors import BusyError, CytopipeError, EngineError, Interrupted
from cytopipe.interrupts import stop_on_signals
from cytopipe.project import DataSet, Project
from cytopipe.provenance import Input

__all__ = ["OWNERS", "POOL", "chain_assets"]

OWNERS = ["team:cytopipe"]
POOL = "cytopipe.cpu"
_TRANSIENT = (EngineError, BusyError)  # what another attempt may cure
_RETRIES = 2
_FIRST_WAIT_S = 5.0
_SECONDS_BETWEEN_NOTES = 5.0


def chain_assets(graph: Graph, chain: Chain) -> AssetsDefinition:
    """The assets of a chain of the graph, with their checks, partitions and backfill policy."""

    @multi_asset(
        name=chain.partitions,
        description=chain.description,
        specs=[_spec(graph, chain, step) for step in chain.steps],
        check_specs=[
            AssetCheckSpec(
                guard.name,
                asset=books.asset_key(step.asset),
                description=guard.description,
                blocking=guard.blocking,
                partitions_def=partitions_of(chain.partitions),
            )
            for step in chain.steps
            for guard in step.guards
        ],
        can_subset=True,
        partitions_def=partitions_of(chain.partitions),
        backfill_policy=BackfillPolicy.multi_run(chain.partitions_per_run),
        pool=POOL,
    )
    def assets(context: AssetExecutionContext, project: ProjectResource):
        yield from _Run(context, graph, chain, project.read(context.instance)).events()

    return assets


def _spec(graph: Graph, chain: Chain, step: Step) -> AssetSpec:
    return AssetSpec(
        books.asset_key(step.asset),
        deps=[_dependency(graph, chain, one) for one in step.after],
        description=step.description,
        group_name=chain.domain,
        code_version=step.code_version,
        owners=OWNERS,
        kinds={"python", *step.kinds},
        metadata={"expected_minutes": step.minutes} if step.minutes else None,
        partitions_def=partitions_of(chain.partitions),
        skippable=True,
    )


def _dependency(graph: Graph, chain: Chain, asset: str) -> AssetDep:
    """An edge of the graph as the browser and its backfills see it.

    From a part to its data set, Dagster has no mapping that a web server and a daemon know: a mapping of our
    own would reach them as the identity, and a backfill would refuse keys that the other set lacks. So the
    edge goes to all partitions there, and a backfill of both waits for them; what a partition is really made
    from is in the books.
    """
    if graph.chain_with(asset) is chain:
        return AssetDep(books.asset_key(asset))
    return AssetDep(books.asset_key(asset), partition_mapping=AllPartitionMapping())


@dataclass
class _Run:
    """One execution of a chain's operation: the partitions of a run through the selected steps."""

    context: AssetExecutionContext
    graph: Graph
    chain: Chain
    project: Project
    failed: dict[tuple[str, str], BaseException] = field(default_factory=dict)

    def events(self) -> Iterator[MaterializeResult]:
        keys = list(self.context.partition_keys)
        instance = self.context.instance
        claim(instance, self.context.run.run_id)
        data_sets = dict(self._data_sets(keys))
        parents = {data.parent for data in data_sets.values()}
        looked_at = {self.chain.domain: parents, self.chain.partitions: set(data_sets)}
        observe(self.project, instance, self.graph, looked_at, run=self.context)
        with stop_on_signals(self._say) as stop, open_engine(self.project.settings.engine) as engine:
            for step in self._selected_steps():
                lost = failed_inputs(instance, self.graph, step, list(data_sets.values()))
                live = [data for key, data in data_sets.items() if not self._blocked(step, key, lost)]
                yield from self._take(step, live, engine, stop, single=len(keys) == 1)
        self._raise_what_failed()

    def _data_sets(self, keys: list[str]) -> Iterator[tuple[str, DataSet]]:
        for key in keys:
            try:
                yield key, self.project.data_set(self.chain.partitions, key)
            except CytopipeError as error:
                for step in self._selected_steps():
                    self._fail(step, key, error)

    def _selected_steps(self) -> list[Step]:
        wanted = {"/".join(key.path) for key in self.context.selected_asset_keys}
        return [step for step in self.chain.steps if step.asset in wanted]

    def _blocked(self, step: Step, key: str, lost: Mapping[str, str]) -> bool:
        """Whether an input failed, in this run or (`lost`) in one of the chain before."""
        blocking = [asset for asset in step.after if (asset, key) in self.failed or lost.get(key) == asset]
        if blocking and (step.asset, key) not in self.failed:
            self.failed[step.asset, key] = _Upstream(f"{blocking[0]} could not be made")
        return (step.asset, key) in self.failed

    def _take(
        self, step: Step, live: list[DataSet], engine: Engine, stop: Callable[[], bool], *, single: bool
    ) -> Iterator[MaterializeResult]:
        """Take the live partitions through one step."""
        judged = judge_step(self.context.instance, self.graph, step, live)
        works = [(data, self._working(step, data.key, *judged[data.key], engine, stop)) for data in live]
        began = time.monotonic()
        for number, (data, working, outcome) in enumerate(self._outcomes(step, works), start=1):
            listening.partition(step.asset, data.key, number, len(works))
            seconds, began = time.monotonic() - began, time.monotonic()
            if isinstance(outcome, Made):
                yield from self._publish(step, data, working, outcome, seconds, single=single)
            else:
                self._fail(step, data.key, outcome)

    def _outcomes(
        self, step: Step, works: list[tuple[DataSet, Working]]
    ) -> Iterator[tuple[DataSet, Working, Made | BaseException]]:
        if step.make_many is not None and len(works) > 1:
            by_key = {data.key: (data, working) for data, working in works}
            with self._interruptible():
                for key, outcome in step.make_many(works):
                    yield (*by_key.pop(key), outcome)
            return
        for data, working in works:
            listening.begin(step.asset, data.key)
            try:
                with self._interruptible():
                    if working.stop():
                        raise Interrupted(
                            f"stopped before {step.asset} [{data.key}]; what is finished is saved"
                        )
                    outcome: Made | BaseException = step.make(data, working)
            except DagsterExecutionInterruptedError:
                raise
            except Exception as error:
                outcome = error
            yield data, working, outcome

    def _working(
        self,
        step: Step,
        key: str,
        inputs: tuple[Input, ...],
        judgement: Judgement,
        engine: Engine,
        stop: Callable[[], bool],
    ) -> Working:
        return Working(
            project=self.project,
            engine=engine,
            inputs=inputs,
            run_id=self.context.run.run_id,
            progress=lambda what, done, total: listening.progress(step.asset, key, what, done, total),
            checkpoint=_Checkpoints(self.context, step.asset, key),
            stop=stop,
            changed=judgement.reasons,
        )

    def _publish(
        self, step: Step, data: DataSet, working: Working, made: Made, seconds: float, *, single: bool
    ) -> Iterator[MaterializeResult]:
        """Log one partition as made, unless a blocking invariant fails: then it is not."""
        blocking = {guard.name for guard in step.guards if guard.blocking}
        broken = [check for check in made.checks if not check.passed and check.name in blocking]
        if broken or not single:
            for check in made.checks:
                self.context.log_event(_evaluation(step, data, check, check.name in blocking))
        if broken:
            words = "; ".join(f"{check.name}: {check.description}" for check in broken)
            self._fail(step, data.key, _Upstream(f"an invariant does not hold: {words}"), made.sha256)
            return
        how = "vouched for again" if made.reused else "made"
        inputs = tuple(
            replace(one, sha256=made.made_from.get(one.asset, one.sha256)) for one in working.inputs
        )
        metadata = books.describe(
            self.project, made, code_version=step.code_version, inputs=inputs, duration_s=seconds, how=how
        )
        tags = books.version_tags(data.key, made.sha256, step.code_version, inputs)
        if not single:
            self.context.log_event(books.materialization(step.asset, data.key, metadata, tags))
            return
        yield MaterializeResult(
            asset_key=books.asset_key(step.asset),
            metadata=metadata,
            data_version=DataVersion(made.sha256),
            tags=tags,
            check_results=[
                AssetCheckResult(
                    asset_key=books.asset_key(step.asset),
                    check_name=check.name,
                    passed=check.passed,
                    description=check.description,
                    metadata=dict(check.metadata),
                )
                for check in made.checks
            ],
        )

    def _fail(self, step: Step, key: str, error: BaseException, rejected: str = "") -> None:
        self.failed[step.asset, key] = error
        brief = str(error) or type(error).__name__
        self.context.log_event(books.failure_note(step.asset, key, brief, rejected))
        expected = isinstance(error, CytopipeError | _Upstream)
        told = str(error) if expected else "".join(traceback.format_exception(error))
        self.context.log.error(f"{step.asset} [{key}]: {told}")

    def _raise_what_failed(self) -> None:
        """One failure that names every partition; retried only where another attempt may cure it.

        Not by a retry policy of Dagster's, which would also begin again what a person interrupted.
        """
        if not self.failed:
            return
        own = {place: error for place, error in self.failed.items() if not isinstance(error, _Upstream)}
        tried = self.context.retry_number
        if own and tried < _RETRIES and all(isinstance(error, _TRANSIENT) for error in own.values()):
            raise RetryRequested(max_retries=_RETRIES, seconds_to_wait=_FIRST_WAIT_S * 2**tried)
        lines = [f"{asset} [{key}]: {error}" for (asset, key), error in (own or self.failed).items()]
        raise Failure(
            description="\n".join(lines),
            metadata={"failed": MetadataValue.json([list(place) for place in self.failed])},
            allow_retries=False,
        )

    def _interruptible(self):
        return _interruptible(self.context)

    def _say(self, message: str) -> None:
        listening.say(message)
        self.context.log.info(message)


class _Upstream(Exception):
    """A partition that was left because of one before it, or because an invariant failed."""


class _interruptible:
    """Turns `Interrupted` into Dagster's own interruption, so that the run ends as canceled."""

    def __init__(self, context: AssetExecutionContext) -> None:
        self.context = context

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, trace) -> None:
        if not isinstance(error, Interrupted):
            return
        instance = self.context.instance
        run = instance.get_run_by_id(self.context.run.run_id)
        if run is not None and run.status is DagsterRunStatus.STARTED:
            # Dagster calls an interruption nobody asked for a failure; the signal did ask.
            instance.report_run_canceling(run, message=str(error))
        raise DagsterExecutionInterruptedError(str(error)) from error


class _Checkpoints:
    """Checkpoints of one partition as events: the first, then one every few seconds."""

    def __init__(self, context: AssetExecutionContext, asset: str, key: str) -> None:
        self.context, self.asset, self.key = context, asset, key
        self.noted = float("-inf")

    def __call__(self, what: str, done: int, total: int) -> None:
        if time.monotonic() - self.noted >= _SECONDS_BETWEEN_NOTES:
            self.noted = time.monotonic()
            self.context.log_event(books.checkpoint_note(self.asset, self.key, what, done, total))


def _evaluation(step: Step, data: DataSet, check, blocking: bool) -> AssetCheckEvaluation:
    return AssetCheckEvaluation(
        asset_key=books.asset_key(step.asset),
        check_name=check.name,
        passed=check.passed,
        description=check.description,
        metadata=dict(check.metadata),
        partition=data.key,
        severity=AssetCheckSeverity.ERROR,
        blocking=blocking,
    )
