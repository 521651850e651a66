"""Walking through the stages: what has to be done, done; what is done, left.

What comes in is an opened decomposition and how far to go. A stage is fresh if it is finished and the files
it was made from are still what they were; a stage that is not is made, and the ones after it with it, unless
a person edited them, which is then said instead. Everything is committed where a kill may come: every few
iterations of the initial clustering, and after each stage.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.decompose import opening, reports, steps
from cytopipe.decompose.checkpoints import Checkpoint
from cytopipe.decompose.layout import DECONFLICTED, FINAL, INITIAL, REFINED, STAGES, Stage, stage_named
from cytopipe.decompose.parameters import Parameters
from cytopipe.decompose.partition import Partition
from cytopipe.decompose.progress import Progress
from cytopipe.decompose.state import (
    ConflictEntry,
    FinalEntry,
    InitialEntry,
    Refinement,
    now,
)
from cytopipe.decompose.workspace import Workspace
from cytopipe.engine import Engine
from cytopipe.errors import Finding, Interrupted, ParameterError, ResumeError

if TYPE_CHECKING:
    from cytopipe.decompose.run import Decomposition, StageResult

__all__ = ["Advance", "default_thresholds"]

#: A checkpoint that takes longer than this is made no more often than every ten times its cost.
_CHEAP_CHECKPOINT_S = 1.0
_MANY_ALIGNMENTS = 2_000


def default_thresholds(parameters: Parameters) -> tuple[float, ...]:
    """The refinements of a run that was asked for none in particular: clusters within `max_lump`."""
    return (parameters.max_lump,)


class Advance:
    """One walk; see :meth:`Decomposition.advance` for the parameters."""

    def __init__(
        self,
        decomposition: Decomposition,
        *,
        engine: Engine | None,
        progress: Progress,
        stop: Callable[[], bool],
        interval: int,
        on_checkpoint: Callable[[Checkpoint], None],
        command: str,
    ) -> None:
        self._of = decomposition
        self._engine = engine
        self._progress = progress
        self._stop = stop
        self._interval = interval
        self._on_checkpoint = on_checkpoint
        self._command = command
        self._workspace: Workspace | None = None
        self._aligning = ""  # the step that large alignments are reported under
        self._may_stop_inside = False

    def to(
        self,
        stage: Stage,
        *,
        max_clusters: int | None,
        max_sequences: int | None,
        thresholds: Sequence[float] | None,
        report: bool,
        truth: Path | None,
    ) -> StageResult:
        """Go as far as `stage`."""
        self._check_limits(max_clusters, max_sequences)
        try:
            made = self._grow(max_clusters, max_sequences)
            if stage.order >= DECONFLICTED.order:
                made = self._resolve() or made
            if stage is REFINED:
                made = self._refine(thresholds) or made
            if stage is FINAL:
                if self._of.state.requests.refine_close_clusters or thresholds:
                    made = self._refine(thresholds) or made
                made = self._finalize() or made
            result = self._of.result(stage.asset, resumed=not made)
            if report:
                result = self._report(stage, result, truth)
            if stage is FINAL and self._of.state.requests.cleanup:
                self._clean_up()
        finally:
            if self._workspace is not None:
                self._workspace.save()
        return result

    # ------------------------------------------------------------------ the stages

    def _grow(self, max_clusters: int | None, max_sequences: int | None) -> bool:
        """The initial clustering, until nothing is left or a limit is reached."""
        of = self._of
        entry = of.state.stages.initial_clustering.model_copy()
        if max_clusters is not None:
            entry.max_clusters_limit = max_clusters or None
        if max_sequences is not None:
            entry.max_sequences_limit = max_sequences or None
        initial = of.partition if of.partition.stage is INITIAL else None
        n_clusters = initial.n_clusters if initial else entry.total_clusters
        n_clustered = initial.n_clustered if initial else entry.total_sequences_processed
        if entry.completed or _limit_reached(entry, n_clusters, n_clustered):
            if entry != of.state.stages.initial_clustering:
                of.state.stages.initial_clustering = entry
                of.state = of.folder.save_state(of.state)
            return False
        self._go_back_to(INITIAL)
        growing = _Growing(of.partition, entry, self._work())
        targets = opening.target_positions(of.state, growing.workspace.sequences)
        for file, members in steps.clusters_grown(of.partition, growing.workspace, targets):
            growing.add(file, members)
            self._progress.step("initial clustering: records", growing.n_clustered, growing.n_records)
            if growing.limit_reached:
                break
            if self._stop():
                self._save(growing, "stopped on request")
                raise Interrupted(
                    f"stopped after {growing.iterations} iterations, and saved",
                    where=str(of.directory),
                    next=f"Go on with: cytopipe decompose --resume {of.directory}",
                )
            if growing.since_saved >= self._interval and growing.may_save():
                self._save(growing, f"after {growing.iterations} iterations")
        growing.completed = not growing.limit_reached or not growing.unassigned
        self._save(growing, "stage initial finished" if growing.completed else "limit reached", point=True)
        return True

    def _save(self, growing: _Growing, reason: str, *, point: bool = False) -> None:
        began = time.monotonic()
        growing.workspace.save()
        self._of.state.stages.initial_clustering = growing.entry()
        self._commit(growing.partition(), reason, point=point)
        growing.saved(time.monotonic() - began)

    def _resolve(self) -> bool:
        """Conflict resolution, if it was not made from the initial clusters as they are."""
        of = self._of
        if self._fresh(DECONFLICTED):
            return False
        self._go_back_to(INITIAL)
        before = of.partition
        entry = ConflictEntry(
            conflicts_before=len(before.conflicts),
            clusters_before=before.n_clusters,
            source_digest=of.state.entry(INITIAL).files_digest,
        )
        workspace = self._work("resolving conflicts: alignments")
        with self._stoppable():
            after = steps.conflicts_resolved(before, workspace, self._tell("resolving conflicts: components"))
        entry.completed = True
        entry.conflicts_after, entry.clusters_after = len(after.conflicts), after.n_clusters
        of.state.stages.conflict_resolution = entry
        of.state.requests.resolve_conflicts = True
        self._commit(after, "stage deconflicted finished", point=True)
        return True

    def _refine(self, thresholds: Sequence[float] | None) -> bool:
        """Close-cluster refinements, those that are not made yet."""
        of = self._of
        entry = of.state.stages.close_cluster_refinement
        wanted = (
            thresholds or of.state.requests.refine_close_clusters or default_thresholds(of.state.parameters)
        )
        for threshold in wanted:
            if not 0 <= threshold <= 1:
                raise ParameterError(
                    "a refinement distance is out of range",
                    where="--refine-close-clusters",
                    expected="a distance between 0 and 1",
                    found=repr(threshold),
                )
        made = [one.threshold for one in entry.refinement_history]
        fresh = self._fresh(REFINED) and list(wanted[: len(made)]) == made
        if fresh and len(wanted) == len(made):
            return False
        self._go_back_to(REFINED if fresh else DECONFLICTED)
        of.state.requests.refine_close_clusters = list(wanted)
        if not fresh:
            made = []
        for threshold in wanted[len(made) :]:
            self._refine_once(threshold)
        return True

    def _refine_once(self, threshold: float) -> None:
        of = self._of
        before = of.partition
        entry = of.state.stages.close_cluster_refinement.model_copy(deep=True)
        if not entry.refinement_history:
            entry.source_digest = of.state.entry(DECONFLICTED).files_digest
        workspace = self._work(f"refining clusters within {threshold:g}: alignments")
        with self._stoppable():
            close = self._tell(f"refining clusters within {threshold:g}: close clusters")
            after = steps.refined(before, workspace, threshold, close)
        entry.completed, entry.threshold = True, threshold
        entry.clusters_before, entry.clusters_after = before.n_clusters, after.n_clusters
        entry.refinement_history.append(
            Refinement(
                threshold=threshold,
                timestamp=now(),
                clusters_before=before.n_clusters,
                clusters_after=after.n_clusters,
            )
        )
        of.state.stages.close_cluster_refinement = entry
        self._commit(after, f"stage refined finished at {threshold:g}", point=True)

    def _finalize(self) -> bool:
        """The newest stage, numbered by size."""
        of = self._of
        if self._fresh(FINAL):
            return False
        source = REFINED if of.state.stages.close_cluster_refinement.completed else DECONFLICTED
        self._go_back_to(source)
        before = of.partition
        after = steps.numbered_by_size(before, self._work())
        of.state.stages.finalized = FinalEntry(
            completed=True,
            clusters=after.n_clusters,
            source_stage=source.name,
            source_digest=of.state.entry(source).files_digest,
        )
        of.state.status = "completed"
        self._commit(after, "stage final finished", point=True)
        return True

    def _clean_up(self) -> None:
        """Remove what led to the result; the points to roll back to stay."""
        of = self._of
        for stage in (INITIAL, DECONFLICTED, REFINED):
            of.folder.remove_stage(stage, of.provenance_of(stage, self._command))
        if self._workspace is not None:
            self._workspace.save()
            self._workspace = None
        of.folder.remove_caches()
        if not of.state.stages.finalized.cleaned:
            of.state.stages.finalized.cleaned = True
            of.state = of.folder.save_state(of.state)

    # ------------------------------------------------------------------ between the stages

    def _check_limits(self, max_clusters: int | None, max_sequences: int | None) -> None:
        findings = [
            Finding(
                what=f"{name} is out of range", expected="a whole number, 0 for no limit", found=repr(value)
            )
            for name, value in (("--max-clusters", max_clusters), ("--max-sequences", max_sequences))
            if value is not None and value < 0
        ]
        if findings:
            raise ParameterError(findings)

    def _fresh(self, stage: Stage) -> bool:
        """Whether a stage is finished and what it was made from is still what it was."""
        of = self._of
        entry = of.state.entry(stage)
        if of.state.stages.finalized.cleaned:
            return True
        if not entry.completed:
            return False
        source = {DECONFLICTED: INITIAL, REFINED: DECONFLICTED}.get(stage)
        if source is None:
            source = stage_named(entry.source_stage)
        return of.folder.digest(source) == entry.source_digest

    def _go_back_to(self, stage: Stage) -> None:
        """Make `stage` the newest one: later ones are removed, unless a person edited them."""
        of = self._of
        begun = [one for one in STAGES if one.order > stage.order and of.state.entry(one).files_digest]
        if of.partition.stage is stage and not begun:
            return
        if of.state.stages.finalized.cleaned:
            raise ResumeError(
                f"the files of stage {stage.asset} were removed by --cleanup",
                where=str(of.directory),
                next=f"Bring them back with: cytopipe decompose rollback {of.directory} --to {stage.asset}",
            )
        opening.refuse_edited(of.folder, of.state, begun, of.records)
        partition, on_disk = of.partition, True
        if partition.stage is not stage:
            reading = of.folder.read(stage, of.records)
            partition = reading.or_raise()
            on_disk = not reading.edits.added
            of.folder.remember(stage)
            if reading.edits.verdict == "edited":
                of.folder.accept(stage, of.provenance_of(stage, self._command))
                of.state.entry(stage).edited_by_hand = True
            if reading.edits.added:
                of.state.stages.initial_clustering.completed &= stage is not INITIAL
        opening.reset_after(of.state, stage)
        of.stand_on(partition, on_disk=on_disk)
        self._commit(partition, f"back to stage {stage.asset}")
        for one in begun:
            of.folder.remove_stage(one, of.provenance_of(one, self._command))

    def _commit(self, partition: Partition, reason: str, *, point: bool = False) -> None:
        checkpoint = self._of.commit(
            partition,
            reason,
            self._of.provenance_of(partition.stage, self._command),
            point=point,
        )
        self._on_checkpoint(checkpoint)

    def _work(self, aligning: str = "") -> Workspace:
        """The workspace of the records in play: those that were not deleted."""
        self._aligning = aligning
        gone = set(self._of.partition.deleted)
        kept = [record for record in self._of.records.values() if record.id not in gone]
        if self._workspace is None or self._workspace.sequences.n_records != len(kept):
            if self._workspace is not None:
                self._workspace.save()
            given = self._of.state.distances
            self._workspace = Workspace(
                kept,
                self._of.state.parameters,
                self._of.directory,
                engine=self._engine,
                given=None if given is None else Path(given.path),
                progress=self._aligned,
            )
        return self._workspace

    def _aligned(self, done: int, total: int) -> None:
        if self._aligning and total >= _MANY_ALIGNMENTS:
            self._progress.step(self._aligning, done, total)
        if self._may_stop_inside:
            self._stop_if_asked()

    def _tell(self, name: str) -> Callable[[int, int], None]:
        def tell(done: int, total: int) -> None:
            self._progress.step(name, done, total)
            self._stop_if_asked()

        return tell

    @contextlib.contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Within: a stop is obeyed between components and alignments, whose results are kept.

        Nothing of the stage is committed then; made again from the kept distances it is the same.
        """
        self._may_stop_inside = True
        try:
            yield
            self._stop_if_asked()
        finally:
            self._may_stop_inside = False

    def _stop_if_asked(self) -> None:
        if self._stop():
            raise Interrupted(
                "stopped on request; the stages before and the distances are saved",
                where=str(self._of.directory),
                next=f"Go on with: cytopipe decompose --resume {self._of.directory}",
            )

    def _report(self, stage: Stage, result: StageResult, truth: Path | None) -> StageResult:
        """Measure a stage and write its tables and figures, unless that was done for these very files."""
        of = self._of
        if reports.is_current(of.directory, stage, result.sha256, truth):
            return reports.attached(result)
        partition = (
            of.partition if of.partition.stage is stage else of.folder.read(stage, of.records).partition
        )
        with self._stoppable():
            reports.write(
                of.folder,
                partition,
                self._work("measuring clusters: alignments"),
                of.state,
                of.provenance_of(stage, self._command),
                of.records,
                truth=truth,
                progress=self._tell("measuring clusters"),
            )
        return reports.attached(result)


class _Growing:
    """The initial clustering between two checkpoints: what it holds, and when the next one is due."""

    def __init__(self, partition: Partition, entry: InitialEntry, workspace: Workspace) -> None:
        self.workspace = workspace
        self.n_records = workspace.sequences.n_records
        self.clusters = dict(partition.clusters)
        self.unassigned = dict.fromkeys(partition.unassigned)
        self.iterations = entry.total_iterations
        self.since_saved = 0
        self.completed = False
        self._deleted = partition.deleted
        self._clustered = set(partition.memberships)
        self._entry = entry
        self._saved_at = time.monotonic()
        self._cost_s = 0.0

    @property
    def n_clustered(self) -> int:
        return len(self._clustered)

    @property
    def limit_reached(self) -> bool:
        return _limit_reached(self._entry, len(self.clusters), len(self._clustered))

    def add(self, file: str, members: Sequence[str]) -> None:
        self.clusters[file] = tuple(members)
        self._clustered.update(members)
        for record in members:
            self.unassigned.pop(record, None)
        self.iterations += 1
        self.since_saved += 1

    def may_save(self) -> bool:
        """On large sets a checkpoint costs seconds: then at most a tenth of the time is spent on them."""
        return self._cost_s < _CHEAP_CHECKPOINT_S or time.monotonic() - self._saved_at > 10 * self._cost_s

    def saved(self, cost_s: float) -> None:
        self._saved_at, self._cost_s, self.since_saved = time.monotonic(), cost_s, 0

    def partition(self) -> Partition:
        return Partition(INITIAL, dict(self.clusters), tuple(self.unassigned), self._deleted)

    def entry(self) -> InitialEntry:
        return self._entry.model_copy(
            update={
                "completed": self.completed,
                "finder": self.workspace.finder or self._entry.finder,
                "total_iterations": self.iterations,
                "total_sequences_processed": len(self._clustered),
                "coverage_percentage": round(100 * len(self._clustered) / max(1, self.n_records), 4),
                "total_clusters": len(self.clusters),
            }
        )


def _limit_reached(entry: InitialEntry, n_clusters: int, n_clustered: int) -> bool:
    """Limits are absolute: how many clusters, or clustered records, are to exist."""
    return (entry.max_clusters_limit is not None and n_clusters >= entry.max_clusters_limit) or (
        entry.max_sequences_limit is not None and n_clustered >= entry.max_sequences_limit
    )
