"""The one runner: many partitions through many artifacts, each failing alone.

It runs inside one operation of Dagster's, because Dagster abandons every later operation of a run when one
raises. For each artifact, in the order of the flow, and each partition of the run:

1. what failed, or is made from what failed, is kept aside;
2. what the ledger calls done is said again and not made again;
3. inputs are loaded, the function is called, its value goes out through the IO manager of its format;
4. the materialization is logged, with its inputs, its checks and a picture.

What failed is raised at the end, in one failure that names every partition. Where one call took more than a
second, the calls for the other partitions run over the engine, several at a time; events and files are still
written here, one after the other.
"""

from __future__ import annotations

import inspect
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from dagster import (
    AssetCheckEvaluation,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetExecutionContext,
    DagsterExecutionInterruptedError,
    DagsterRunStatus,
    DataVersion,
    Failure,
    MaterializeResult,
    MetadataValue,
    RetryRequested,
)

from cytopipe.defs import progress
from cytopipe.defs.artifact import (
    Artifact,
    Check,
    CheckResult,
    Described,
    Nothing,
    Work,
    arrives,
)
from cytopipe.defs.calls import Call, carry_out, is_sendable
from cytopipe.defs.dead_runs import claim
from cytopipe.defs.describe import described, picture_of
from cytopipe.defs.event import CHECKPOINT, EDITED, FAILED, MADE, REMOVED, Event, named
from cytopipe.defs.history import as_dagster, asset_key, metadata_value, one_connection, tags_of
from cytopipe.defs.inputs import Inputs, NotReady
from cytopipe.defs.ledger import Ledger, Read
from cytopipe.defs.stamps import stamp_of_place
from cytopipe.engine import Engine, open_engine
from cytopipe.errors import BusyError, CytopipeError, EngineError, InputError, Interrupted, ResumeError
from cytopipe.interrupts import stop_on_signals
from cytopipe.provenance import Input, Provenance, library_versions
from cytopipe.storage.archive import Receipt
from cytopipe.storage.formats import SetFormat

__all__ = ["Batch"]

_TRANSIENT = (EngineError, BusyError)  # what another attempt may cure
_RETRIES = 2
_FIRST_WAIT_S = 5.0
_SECONDS_BETWEEN_CHECKPOINT_EVENTS = 5.0
_WORTH_A_WORKER_S = 1.0  # a worker starts in about as long, and its value has to come back
_LIBRARIES = (
    "numpy",
    "scipy",
    "numba",
    "pandas",
    "anndata",
    "h5py",
    "edlib",
    "tifffile",
    "zarr",
    "scikit-image",
)


class _NotMade(Exception):
    """A partition that was left because of one before it, or because a check failed."""


_LEFT = (_NotMade, NotReady)


@dataclass
class _Result:
    """What became of one partition of one asset."""

    receipt: Receipt | None
    shown: Described
    checks: Mapping[str, CheckResult] = field(default_factory=dict)


@dataclass
class Batch:
    """One execution: the partitions of a run through the selected artifacts.

    Parameters
    ----------
    context : AssetExecutionContext
    ledger : Ledger
    steps : tuple of Artifact
        Those of one set of partitions, in the order of the flow.
    """

    context: AssetExecutionContext
    ledger: Ledger
    steps: tuple[Artifact, ...]
    failed: dict[tuple[str, str], BaseException] = field(default_factory=dict)
    _scratch: dict[str, list[str]] = field(default_factory=dict)  # by recipe, the partitions worked on there

    def events(self) -> Iterator[MaterializeResult]:
        """Run, and yield what Dagster has to be told: results of a single partition, events of several are
        logged.
        """
        claim(self.context.instance, self.context.run.run_id)
        self.ledger.refresh()
        if not self._wanted:
            self._check_again()
            return
        with (
            one_connection(self.context.instance),
            stop_on_signals(self._say) as stop,
            open_engine(self.ledger.project.settings.engine) as engine,
        ):
            for step in self.steps:
                for result in self._take(step, engine, stop):
                    stop.hold_back()  # Dagster would receive them itself while it takes a result
                    yield result
                    stop.listen()
        self._raise_what_failed()

    @cached_property
    def _inputs(self) -> Inputs:
        return Inputs(self.ledger)

    @property
    def _wanted(self) -> set[str]:
        return {"/".join(key.path) for key in self.context.selected_asset_keys}

    @cached_property
    def _keys(self) -> list[str]:
        """The partitions of the run; of artifacts without partitions, the empty key."""
        return [str(key) for key in self.context.partition_keys] if self.steps[0].by else [""]

    def _take(self, step: Artifact, engine: Engine, stop: Callable[[], bool]) -> Iterator[MaterializeResult]:
        """Take the partitions of the run through one artifact."""
        assets = [asset for asset in step.makes if asset in self._wanted]
        relations = self.ledger.relations
        made = relations.made_set(step)
        for key in self._keys:
            for asset in assets if key not in made else ():
                yield from self._answer_gap(step, asset, key)
        live = [key for key in self._keys if key in made and assets]
        to_make: dict[str, list[str]] = {}
        for key in live:
            inside = [asset for asset in assets if self.ledger.outside(asset, key) is None]
            blocked = bool(inside) and self._is_blocked(step, inside, key)
            for asset in assets:
                if blocked and asset in inside:
                    continue
                if self.ledger.status(asset, key).state == "done":
                    yield from self._say_again(step, asset, key)
                elif absent := self.ledger.absent(asset, key):
                    self._fail(asset, key, NotReady("; ".join(absent)))
                elif self.ledger.status(asset, key).state == "held" and not self._is_approval(step):
                    self._fail(asset, key, NotReady("; ".join(self.ledger.status(asset, key).reasons)))
                elif self.ledger.is_edited(asset, key):
                    self._fail(asset, key, _over_an_edit(self.ledger, asset, key))
                else:
                    to_make.setdefault(key, []).append(asset)
        began = time.monotonic()
        asked = Counter(asset for some in to_make.values() for asset in some)
        ended: Counter[str] = Counter()
        for asset, key, outcome, reads in self._outcomes(step, to_make, engine, stop):
            seconds, began = time.monotonic() - began, time.monotonic()
            ended[asset] += 1
            progress.partition(asset, key, ended[asset], asked[asset])
            try:
                if isinstance(outcome, BaseException):
                    raise outcome
                with self.ledger.publishing(self.ledger.places.place(asset, key)) as told:
                    result = self._publish(step, asset, key, outcome, reads)
            except (DagsterExecutionInterruptedError, Interrupted):
                raise
            except Exception as error:
                self._fail(asset, key, error)
                continue
            yield from self._log(step, asset, key, result, reads, seconds)
            told()
        for recipe, keys in self._scratch.items():
            if not any((asset, key) in self.failed for asset in step.makes for key in keys):
                self.ledger.archive.forget(recipe)
        self._scratch.clear()
        self.ledger.catch_up()

    def _is_approval(self, step: Artifact) -> bool:
        """Whether a person asked for what this artifact makes and for nothing else."""
        if step.held is None:
            return False
        number = self.context.run.tags.get("dagster/backfill")
        backfill = self.context.instance.get_backfill(number) if number else None
        of_run = self.context.job_def.asset_layer.selected_asset_keys
        chosen = (backfill.asset_selection if backfill else None) or of_run
        return set(chosen) <= {asset_key(asset) for asset in step.makes}

    # ------------------------------------------------------------------ calling the function

    def _outcomes(
        self, step: Artifact, to_make: Mapping[str, list[str]], engine: Engine, stop: Callable[[], bool]
    ) -> Iterator[tuple[str, str, Any, Mapping[str, Read]]]:
        """(asset, key, value or error, inputs) of every partition that is to be made."""
        if step.one_pass is not None:
            groups: dict[str, list[str]] = {}
            for key in to_make:
                groups.setdefault(step.one_pass(self._inputs.partition(step, key)), []).append(key)
            for keys in groups.values():
                yield from self._pass(step, {key: to_make[key] for key in keys}, engine, stop)
            return
        keys = list(to_make)
        for number, key in enumerate(keys, start=1):
            reads: Mapping[str, Read] = {}
            progress.begin(step.asset, key)
            began = time.monotonic()
            try:
                with self._interruptible():
                    self._stop_before(step, key, stop)
                    reads = self._inputs.reads(step, key)
                    given = {
                        name: self._inputs.value(step, name, reads[name], arrives(step.function, name))
                        for name in step.inputs
                    }
                    if step.wants_work:
                        given["work"] = self._work(step, [key], reads, engine, stop)
                    outcome = (
                        step.function(self._inputs.partition(step, key), **given)
                        if step.by
                        else step.function(**given)
                    )
            except DagsterExecutionInterruptedError:
                raise
            except Exception as error:
                outcome = error
            seconds = time.monotonic() - began
            yield from _by_asset(step, to_make[key], key, outcome, reads)
            some = seconds > _WORTH_A_WORKER_S and engine.workers > 1 and is_sendable(step)
            if some and len(keys) - number > 1:
                yield from self._over_engine(step, {one: to_make[one] for one in keys[number:]}, engine, stop)
                return

    def _over_engine(
        self, step: Artifact, to_make: Mapping[str, list[str]], engine: Engine, stop: Callable[[], bool]
    ) -> Iterator[tuple[str, str, Any, Mapping[str, Read]]]:
        """As `_outcomes`, several partitions at a time."""
        reads: dict[str, Mapping[str, Read]] = {}
        calls: dict[str, Call] = {}
        for key in to_make:
            progress.begin(step.asset, key)
            try:
                reads[key] = self._inputs.reads(step, key)
                given = {name: self._inputs.sent(step, name, read) for name, read in reads[key].items()}
                calls[key] = Call.of(step, self._inputs.partition(step, key), given)
            except Exception as error:
                yield from _by_asset(step, to_make[key], key, error, reads.get(key, {}))
        outcomes = engine.map(carry_out, list(calls.values()))
        broken: EngineError | None = None
        for key in calls:
            with self._interruptible():
                self._stop_before(step, key, stop)
            try:
                outcome = next(outcomes) if broken is None else broken
            except EngineError as error:
                outcome = broken = error
            yield from _by_asset(step, to_make[key], key, outcome, reads[key])

    def _stop_before(self, step: Artifact, key: str, stop: Callable[[], bool]) -> None:
        if stop():
            raise Interrupted(f"stopped before {named(step.asset, key)}; what is finished is saved")

    def _pass(
        self, step: Artifact, to_make: Mapping[str, list[str]], engine: Engine, stop: Callable[[], bool]
    ) -> Iterator[tuple[str, str, Any, Mapping[str, Read]]]:
        """One call that serves many partitions; a value is published before the next one is asked for."""
        left = {(asset, key) for key, assets in to_make.items() for asset in assets}
        reads: dict[str, Mapping[str, Read]] = {}
        for key in to_make:
            progress.begin(step.asset, key)
            try:
                reads[key] = self._inputs.reads(step, key)
            except (CytopipeError, NotReady) as error:
                for asset in to_make[key]:
                    left.discard((asset, key))
                    yield asset, key, error, {}
        if not reads:
            return
        try:
            with self._interruptible():
                given = {name: self._inputs.value_of_pass(step, name, reads) for name in step.inputs}
                if step.wants_work:
                    work = self._work(step, list(reads), next(iter(reads.values())), engine, stop)
                    wanted = frozenset(left)
                    given["work"] = replace(work, wants=lambda asset, key: (asset, key) in wanted)
                for asset, key, value in step.function(
                    {key: self._inputs.partition(step, key) for key in reads}, **given
                ):
                    if (asset, key) in left:
                        left.discard((asset, key))
                        yield asset, key, value, reads[key]
            error: Exception = InputError("was not made by the pass over its group", where=step.asset)
        except DagsterExecutionInterruptedError:
            raise
        except Exception as raised:
            error = raised
        for asset, key in sorted(left):
            yield asset, key, error, reads.get(key, {})

    def _work(
        self,
        step: Artifact,
        keys: list[str],
        reads: Mapping[str, Read],
        engine: Engine,
        stop: Callable[[], bool],
    ) -> Work:
        # Checkpoints of a pass serve whichever of its partitions are still to be made.
        of = keys if step.one_pass is None else step.one_pass(self._inputs.partition(step, keys[0]))
        versions = sorted(
            (name, read.version)
            for name, read in reads.items()
            if step.one_pass is None or not self._inputs.is_by_key(step, name)
        )
        recipe = f"{step.asset} {step.code_version} {of} {versions}"
        self._scratch[recipe] = keys
        last = [float("-inf")]

        def saved(what: str, done: int, total: int) -> None:
            if time.monotonic() - last[0] < _SECONDS_BETWEEN_CHECKPOINT_EVENTS and not stop():
                return
            last[0] = time.monotonic()
            words, facts = f"{what}: {done} of {total}", {"step": what, "done": done, "total": total}
            for asset in step.makes:
                for key in keys:
                    event = Event(asset=asset, key=key, kind=CHECKPOINT, words=words, metadata=facts)
                    self._log_event(event)

        def tell(what: str, done: int, total: int) -> None:
            for key in keys[:1]:
                progress.progress(step.asset, key, what, done, total)

        return Work(
            engine=engine,
            scratch=self.ledger.archive.scratch(recipe),
            cache=self.ledger.archive.scratch(f"{step.domain} {keys}"),
            progress=tell,
            saved=saved,
            stop=stop,
        )

    # ------------------------------------------------------------------ publishing

    def _publish(
        self, step: Artifact, asset: str, key: str, outcome: Any, reads: Mapping[str, Read]
    ) -> _Result:
        """Write a value through its format; a blocking check that fails leaves the version before in
        place.
        """
        shown = outcome if isinstance(outcome, Described) else Described(outcome)
        if isinstance(shown.value, Nothing):
            return _Result(None, shown)
        if isinstance(format := step.makes[asset], SetFormat):
            shown = replace(shown, counts={**format.counts(shown.value), **shown.counts})
        results: dict[str, CheckResult] = {}
        checks = step.checks.get(asset, ())

        def check(read: Callable[[], Any]) -> None:
            results.update(self._checked(step, asset, key, read(), reads))
            broken = [one for one in checks if one.blocking and not results[one.name].passed]
            if broken:
                self._log_checks(asset, step, key, results)
                words = "; ".join(f"{one.name}: {results[one.name].words}" for one in broken)
                raise _NotMade(f"a check failed: {words}")

        io = getattr(self.context.resources, step.makes[asset].name)
        receipt = io.save(
            self.ledger.archive,
            self.ledger.places.place(asset, key),
            shown.value,
            self._provenance(step, asset, key, reads, shown.counts),
            check=check if checks else None,
        )
        return _Result(receipt, shown, results)

    def _checked(
        self, step: Artifact, asset: str, key: str, value: Any, reads: Mapping[str, Read]
    ) -> dict[str, CheckResult]:
        return {one.name: self._evaluated(step, one, key, value, reads) for one in step.checks.get(asset, ())}

    def _evaluated(
        self, step: Artifact, check: Check, key: str, value: Any, reads: Mapping[str, Read]
    ) -> CheckResult:
        given = {
            name: self._inputs.value(step, name, reads[name], arrives(check.evaluate, name))
            for name in _read_by([check])
        }
        if "data" in inspect.signature(check.evaluate).parameters:
            given["data"] = self._inputs.partition(step, key)
        return check.evaluate(value, **given)

    def _provenance(
        self,
        step: Artifact,
        asset: str,
        key: str,
        reads: Mapping[str, Read],
        facts: Mapping[str, int | float],
    ) -> Provenance:
        inputs = tuple(
            Input(path="", sha256=version, asset=step.inputs[name], partition=part)
            for name, read in reads.items()
            for part, version in read.parts.items()
        )
        return Provenance(
            what=named(asset, key),
            parameters=self._inputs.parameters(reads),
            inputs=inputs,
            code_version=step.code_version,
            asset=asset,
            partition=key,
            run_id=self.context.run.run_id,
            libraries=library_versions(_LIBRARIES),
            facts=facts,
        )

    def _log(
        self, step: Artifact, asset: str, key: str, result: _Result, reads: Mapping[str, Read], seconds: float
    ) -> Iterator[MaterializeResult]:
        """Say that a partition was made."""
        receipt, shown, relations = result.receipt, result.shown, self.ledger.relations
        version = receipt.version if receipt else shown.value.version
        metadata = described(
            self.ledger,
            asset,
            key,
            receipt,
            shown,
            picture=picture_of(self.ledger, asset, key, shown.picture, version),
            parameters=self._inputs.parameters(reads),
            inputs={step.inputs[name]: read.parts for name, read in reads.items()},
            code_version=step.code_version,
            how="made",
            duration_s=seconds,
        )
        if failed := [f"{name}: {one.words}" for name, one in result.checks.items() if not one.passed]:
            metadata["failed_checks"] = "; ".join(failed)
        place, format = self.ledger.places.place(asset, key), step.makes[asset]
        event = Event(
            asset=asset,
            key=key,
            kind=MADE,
            version=version,
            code_version=step.code_version,
            inputs=relations.in_use({step.inputs[name]: read.version for name, read in reads.items()}),
            cursors={step.inputs[name]: read.cursor for name, read in reads.items()},
            stamp=stamp_of_place(self.ledger.archive.root, place, format) if receipt else "",
            metadata=metadata,
        )
        yield from self._told(step, event, result.checks)

    def _answer_gap(self, step: Artifact, asset: str, key: str) -> Iterator[MaterializeResult]:
        """Answer for a place of a grid where the project has nothing, or where settings do not use the
        artifact, and somebody asked for it all the same: Dagster wants to hear of it.
        """
        is_there = key in self.ledger.relations.declared[step.by]
        nothing = Nothing("settings do not use it" if is_there else "the project has no such partition")
        metadata = {"nothing": nothing.words, "how": "nothing to make"}
        event = Event(
            asset=asset,
            key=key,
            kind=MADE,
            version=nothing.version,
            code_version=step.code_version,
            metadata=metadata,
        )
        yield from self._told(step, event, {})

    def _say_again(self, step: Artifact, asset: str, key: str) -> Iterator[MaterializeResult]:
        """Say of a partition that is up to date what was said when it was made: Dagster wants to hear of
        it.
        """
        made = next(one for one in self.ledger.events.events(asset, key) if one.kind == MADE)
        reads = {name: self.ledger.read(step, name, key) for name in step.inputs}
        checks: Mapping[str, CheckResult] = {}
        lies_here = made.stamp and "outside" not in made.metadata
        if len(self._keys) == 1 and step.checks.get(asset) and lies_here:
            format, place = step.makes[asset], self.ledger.places.place(asset, key)
            if self._inputs.stand(step, key, _read_by(step.checks[asset])):
                checks = self._checked(step, asset, key, self.ledger.archive.get(place, format), reads)
        cursors = {step.inputs[name]: read.cursor for name, read in reads.items()}
        how = str(made.metadata.get("how", ""))
        kept = how.startswith((EDITED, REMOVED)) or "outside" in made.metadata
        again = how if kept else "up to date, not made again"
        metadata = {**made.metadata, "how": again}
        inputs = self.ledger.relations.in_use(made.inputs)
        yield from self._told(step, replace(made, inputs=inputs, cursors=cursors, metadata=metadata), checks)

    def _told(
        self, step: Artifact, event: Event, checks: Mapping[str, CheckResult]
    ) -> Iterator[MaterializeResult]:
        """Log the event of one of many partitions; yield the result of a single one: others follow."""
        if len(self._keys) > 1:
            self._log_checks(event.asset, step, event.key, checks)
            self._log_event(event)
            return
        yield MaterializeResult(
            asset_key=asset_key(event.asset),
            metadata={name: metadata_value(value) for name, value in event.metadata.items()},
            data_version=DataVersion(event.version),
            tags=tags_of(event),
            check_results=[
                _check_result(event.asset, one, checks[one.name])
                for one in step.checks.get(event.asset, ())
                if checks
            ],
        )

    def _check_again(self) -> None:
        """Evaluate checks alone on what stands, its bytes compared with the manifest first."""
        chosen = {(key.asset_key, key.name) for key in self.context.selected_asset_check_keys}
        for step in self.steps:
            for asset, checks in step.checks.items():
                some = [one for one in checks if (asset_key(asset), one.name) in chosen]
                for key in self._present_keys(step, asset) if some else ():
                    for check, result in self._checked_again(step, asset, some, key):
                        self.context.log_event(_evaluation(asset, key, check, result))

    def _present_keys(self, step: Artifact, asset: str) -> list[str]:
        """The partitions of the run that were made; all that were, where the run names none."""
        relations = self.ledger.relations
        made = relations.made_set(step)
        keys = (
            [one for one in self._keys if one in made] if self._is_partitioned else relations.made_keys(step)
        )
        records = {key: self.ledger.book.record(asset, key, MADE) for key in keys}
        return [
            key
            for key, record in records.items()
            if record is not None
            and not {"removed", "outside"} & set(record.facts)
            and self._inputs.stand(step, key, _read_by(step.checks[asset]))
        ]

    def _checked_again(
        self, step: Artifact, asset: str, checks: list[Check], key: str
    ) -> list[tuple[Check, CheckResult]]:
        try:
            reads = self._inputs.reads(step, key)
            value = self.ledger.archive.get(self.ledger.places.place(asset, key), step.makes[asset])
            return [(one, self._evaluated(step, one, key, value, reads)) for one in checks]
        except CytopipeError as error:
            return [(one, CheckResult((str(error),))) for one in checks]

    @property
    def _is_partitioned(self) -> bool:
        return self.context.has_partition_key or self.context.has_partition_key_range

    def _log_checks(self, asset: str, step: Artifact, key: str, results: Mapping[str, CheckResult]) -> None:
        for one in step.checks.get(asset, ()):
            if one.name in results:
                self.context.log_event(_evaluation(asset, key, one, results[one.name]))

    # ------------------------------------------------------------------ what went wrong

    def _is_blocked(self, step: Artifact, assets: list[str], key: str) -> bool:
        """Whether an input of a partition failed in this run."""
        bad = next(
            (
                (upstream, part)
                for name, upstream in step.inputs.items()
                if name not in step.optional
                for part in self.ledger.relations.parents(step, name, key)
                if (upstream, part) in self.failed
            ),
            None,
        )
        if bad is not None:
            for asset in assets:
                self.failed[asset, key] = _NotMade(f"{named(*bad)} could not be made")
        return bad is not None

    def _fail(self, asset: str, key: str, error: BaseException) -> None:
        self.failed[asset, key] = error
        expected = isinstance(error, (CytopipeError, *_LEFT))
        words = str(error) or type(error).__name__
        if not isinstance(error, NotReady):
            self._log_event(Event(asset=asset, key=key, kind=FAILED, words=words, metadata={"error": words}))
        told = words if expected else "".join(traceback.format_exception(error))
        self.context.log.error(f"{named(asset, key)}: {told}")

    def _raise_what_failed(self) -> None:
        """One failure that names every partition; tried again only where another attempt may cure it.

        Not by a retry policy of Dagster's, which would also begin again what a person interrupted.
        """
        if not self.failed:
            return
        own = {place: error for place, error in self.failed.items() if not isinstance(error, _LEFT)}
        tried = self.context.retry_number
        if own and tried < _RETRIES and all(isinstance(error, _TRANSIENT) for error in own.values()):
            raise RetryRequested(max_retries=_RETRIES, seconds_to_wait=_FIRST_WAIT_S * 2**tried)
        lines = [f"{named(*place)}: {error}" for place, error in (own or self.failed).items()]
        raise Failure(
            description="\n".join(lines),
            metadata={"failed": MetadataValue.json([list(place) for place in self.failed])},
            allow_retries=False,
        )

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Turn `Interrupted` into Dagster's own interruption, so that the run ends as canceled."""
        try:
            yield
        except Interrupted as error:
            instance = self.context.instance
            run = instance.get_run_by_id(self.context.run.run_id)
            if run is not None and run.status is DagsterRunStatus.STARTED:
                # Dagster calls an interruption that no person asked for a failure; the signal did ask.
                instance.report_run_canceling(run, message=str(error))
            raise DagsterExecutionInterruptedError(str(error)) from error

    def _log_event(self, event: Event) -> None:
        self.context.log_event(as_dagster(event))

    def _say(self, message: str) -> None:
        progress.say(message)
        self.context.log.info(message)


def _by_asset(
    step: Artifact, assets: list[str], key: str, outcome: Any, reads: Mapping[str, Read]
) -> Iterator[tuple[str, str, Any, Mapping[str, Read]]]:
    """What one call gave, for each of the artifacts that it makes."""
    is_several = isinstance(outcome, dict) and set(outcome) == set(step.makes)
    values = outcome if is_several else {step.asset: outcome}
    for asset in assets:
        yield asset, key, values.get(asset, outcome), reads


def _read_by(checks: Iterable[Check]) -> list[str]:
    """The inputs that checks are given."""
    names = (name for one in checks for name in list(inspect.signature(one.evaluate).parameters)[1:])
    return [name for name in dict.fromkeys(names) if name != "data"]


def _over_an_edit(ledger: Ledger, asset: str, key: str) -> CytopipeError:
    place = ledger.places.place(asset, key)
    return ResumeError(
        "would be made again, but was edited by hand",
        where=str(ledger.archive.root / place.path),
        found="; ".join(ledger.status(asset, key).reasons),
        next="To go on from the edit, materialize what is made from it, without it; "
        f"to give the edit up, move its files away ({place}) and materialize again.",
    )


def _check_result(asset: str, check: Check, found: CheckResult) -> AssetCheckResult:
    return AssetCheckResult(**_outcome(asset, check, found))


def _evaluation(asset: str, key: str, check: Check, found: CheckResult) -> AssetCheckEvaluation:
    return AssetCheckEvaluation(
        **_outcome(asset, check, found), partition=key or None, blocking=check.blocking
    )


def _outcome(asset: str, check: Check, found: CheckResult) -> dict[str, Any]:
    """What a result and an event of a check say alike."""
    return {
        "asset_key": asset_key(asset),
        "check_name": check.name,
        "passed": found.passed,
        "severity": AssetCheckSeverity.ERROR if check.blocking else AssetCheckSeverity.WARN,
        "description": found.words,
        "metadata": {name: metadata_value(value) for name, value in found.facts.items()},
    }
