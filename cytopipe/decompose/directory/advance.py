"""Walking through the stages of a directory: what has to be done, done; what is done, left.

A stage is fresh if it is finished and the files it was made from are still what they were; a stage that is
not is made, and the ones after it with it, unless a person edited them, which is then said instead.
Everything is committed where a kill may come: every few iterations of the initial clustering, and after
each stage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.decompose import reports, stages
from cytopipe.decompose.checkpoints import Checkpoint
from cytopipe.decompose.clustering import Clustering
from cytopipe.decompose.directory import opening
from cytopipe.decompose.directory.stage_result import StageResult
from cytopipe.decompose.layout import DECONFLICTED, FINAL, INITIAL, REFINED, STAGES, Stage
from cytopipe.decompose.workspace import SequenceFile, Work
from cytopipe.errors import Finding, Interrupted, ParameterError, ResumeError

if TYPE_CHECKING:
    from cytopipe.decompose.directory.decomposition import Decomposition

__all__ = ["Advance"]


class Advance:
    """One walk; see :meth:`Decomposition.advance` for the parameters."""

    def __init__(
        self,
        decomposition: Decomposition,
        work: Work,
        *,
        interval: int,
        on_checkpoint: Callable[[Checkpoint], None],
        command: str,
    ) -> None:
        self._of, self._work = decomposition, work
        self._interval = interval
        self._on_checkpoint = on_checkpoint
        self._command = command

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
        _check_limits(max_clusters, max_sequences)
        try:
            made = self._grow(max_clusters, max_sequences)
            if stage.order >= DECONFLICTED.order:
                made = self._resolve() or made
            if stage is REFINED or (
                stage is FINAL and (thresholds or self._of.state.requests.refine_close_clusters)
            ):
                made = self._refine(thresholds) or made
            if stage is FINAL:
                made = self._finalize() or made
            if report:
                self._report(stage, truth)
        except Interrupted as error:
            raise Interrupted(
                error.findings[0].what,
                where=str(self._of.directory),
                next=f"Go on with: cytopipe decompose --resume {self._of.directory}",
            ) from error
        result = self._of.result(stage.asset, resumed=not made)
        if stage is FINAL and self._of.state.requests.cleanup:
            self._clean_up()
        return result

    # ------------------------------------------------------------------ the stages

    def _grow(self, max_clusters: int | None, max_sequences: int | None) -> bool:
        """The initial clustering, until nothing is left or a limit is reached."""
        of = self._of
        before = of.state.stages.initial_clustering.model_copy()
        self._limit(max_clusters, max_sequences)
        if stages.is_grown(of.clusters):
            if of.state.stages.initial_clustering != before:
                of.state = of.folder.save_state(of.state)
            return False
        self._go_back_to(INITIAL)
        self._limit(max_clusters, max_sequences)
        named = of.state.targets
        grown = stages.initial_clusters(
            of.sequences,
            of.clusters,
            self._work,
            targets=None if named is None else SequenceFile.read(Path(named.fasta_path)),
            every=self._interval,
            keep=self._commit,
        )
        done = grown.state.stages.initial_clustering.completed
        self._commit(grown, "stage initial finished" if done else "limit reached", point=True)
        return True

    def _limit(self, max_clusters: int | None, max_sequences: int | None) -> None:
        entry = self._of.state.stages.initial_clustering
        if max_clusters is not None:
            entry.max_clusters_limit = max_clusters or None
        if max_sequences is not None:
            entry.max_sequences_limit = max_sequences or None

    def _resolve(self) -> bool:
        """Conflict resolution, if it was not made from the initial clusters as they are."""
        of = self._of
        if self._fresh(DECONFLICTED):
            return False
        self._go_back_to(INITIAL)
        made = stages.deconflicted(of.sequences, of.clusters, self._work)
        self._commit(made, "stage deconflicted finished", point=True)
        return True

    def _refine(self, thresholds: Sequence[float] | None) -> bool:
        """Close-cluster refinements, those that are not made yet."""
        of = self._of
        entry = of.state.stages.close_cluster_refinement
        wanted = list(
            thresholds
            or of.state.requests.refine_close_clusters
            or stages.default_thresholds(of.state.parameters)
        )
        stages.check_thresholds(wanted)
        made = [one.threshold for one in entry.refinement_history]
        fresh = self._fresh(REFINED) and wanted[: len(made)] == made
        if fresh and len(wanted) == len(made):
            return False
        self._go_back_to(REFINED if fresh else DECONFLICTED)
        of.state.requests.refine_close_clusters = wanted
        stages.refined(
            of.sequences,
            of.clusters,
            wanted,
            self._work,
            keep=lambda clusters, why: self._commit(clusters, why, point=True),
        )
        return True

    def _finalize(self) -> bool:
        """The newest stage, numbered by size."""
        of = self._of
        if self._fresh(FINAL):
            return False
        self._go_back_to(REFINED if of.state.stages.close_cluster_refinement.completed else DECONFLICTED)
        made = stages.final(of.sequences, of.clusters, self._work)
        self._commit(made, "stage final finished", point=True)
        return True

    def _report(self, stage: Stage, truth: Path | None) -> None:
        """Measure a stage, unless that was done for these very files."""
        of = self._of
        known = None if truth is None else reports.Truth.read(truth)
        clusters = of.clusters_of(stage)
        found = of.folder.report(stage)
        if found is None or not found.is_of(clusters.files_digest, known):
            made = reports.report(of.sequences, clusters, self._work, truth=known)
            inputs = of.state.report_made_from(stage, known.sha256 if known else "")
            provenance = replace(of.provenance_of(stage, self._command), inputs=inputs)
            of.folder.publish_report(stage, made, provenance)

    def _clean_up(self) -> None:
        """Remove what led to the result; the points to roll back to stay."""
        of = self._of
        for stage in (INITIAL, DECONFLICTED, REFINED):
            of.folder.remove_stage(stage, of.provenance_of(stage, self._command))
        of.folder.remove_caches()
        if not of.state.stages.finalized.cleaned:
            of.state.stages.finalized.cleaned = True
            of.state = of.folder.save_state(of.state)

    # ------------------------------------------------------------------ between the stages

    def _fresh(self, stage: Stage) -> bool:
        """Whether a stage is finished and what it was made from is still what it was."""
        of = self._of
        entry = of.state.entry(stage)
        if of.state.stages.finalized.cleaned:
            return True
        return entry.completed and of.folder.digest(of.state.source_of(stage)) == entry.source_digest

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
            if reading.edits.verdict == "edited":
                of.folder.accept(stage, of.provenance_of(stage, self._command))
                of.state.entry(stage).edited_by_hand = True
            if reading.edits.added:
                of.state.stages.initial_clustering.completed &= stage is not INITIAL
        of.state = of.state.as_of(stage)
        of.stand_on(partition, on_disk=on_disk)
        self._commit(of.clusters, f"back to stage {stage.asset}")
        for one in begun:
            of.folder.remove_stage(one, of.provenance_of(one, self._command))

    def _commit(self, clusters: Clustering, why: str, *, point: bool = False) -> None:
        of = self._of
        of.state = clusters.state
        checkpoint = of.commit(
            clusters.partition, why, of.provenance_of(clusters.stage, self._command), point=point
        )
        self._on_checkpoint(checkpoint)


def _check_limits(max_clusters: int | None, max_sequences: int | None) -> None:
    findings = [
        Finding(what=f"{name} is out of range", expected="a whole number, 0 for no limit", found=repr(value))
        for name, value in (("--max-clusters", max_clusters), ("--max-sequences", max_sequences))
        if value is not None and value < 0
    ]
    if findings:
        raise ParameterError(findings)
