"""Walking through the stages of a directory: what has to be done, done; what is done, left.

A stage is fresh if it is finished and the files it was made from are still what they were; a stage that is
not is made, and the ones after it with it, unless a person edited them, which is then said instead.
Everything is committed where a kill may come: every few iterations of the initial clustering, and after
each stage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.decompose import reports, stages
from cytopipe.decompose.checkpoints import Checkpoint
from cytopipe.decompose.clustering import Clustering
from cytopipe.decompose.directory import preconditions
from cytopipe.decompose.layout import DECONFLICTED, FINAL, INITIAL, REFINED, STAGES, Stage
from cytopipe.decompose.workspace import SequenceFile, Work
from cytopipe.errors import Finding, Interrupted, ParameterError, ResumeError

if TYPE_CHECKING:
    from cytopipe.decompose.directory.decomposition import Decomposition, StageResult

__all__ = ["Advance"]


@dataclass(frozen=True)
class Advance:
    """One walk; see :meth:`Decomposition.advance` for the parameters."""

    of: Decomposition
    work: Work
    on_checkpoint: Callable[[Checkpoint], None]
    command: str

    def to(
        self,
        stage: Stage,
        *,
        limits: Mapping[str, int | None],
        interval: int,
        thresholds: Sequence[float] | None,
        report: bool,
        truth: Path | None,
    ) -> StageResult:
        """Go as far as `stage`."""
        _check_limits(limits)
        of = self.of
        try:
            made = self._grow(limits, interval)
            if stage.order >= DECONFLICTED.order:
                made |= self._make(DECONFLICTED, INITIAL, stages.deconflicted)
            if stage is REFINED or (
                stage is FINAL and (thresholds or of.state.requests.refine_close_clusters)
            ):
                made |= self._refine(thresholds)
            if stage is FINAL:
                refined = of.state.stages.close_cluster_refinement.completed
                made |= self._make(FINAL, REFINED if refined else DECONFLICTED, stages.final)
            if report:
                self._report(stage, truth)
        except Interrupted as error:
            raise Interrupted(
                error.findings[0].what,
                where=str(of.directory),
                next=f"Go on with: cytopipe decompose --resume {of.directory}",
            ) from error
        result = of.result(stage.asset, resumed=not made)
        if stage is FINAL and of.state.requests.cleanup:
            self._clean_up()
        return result

    # ------------------------------------------------------------------ the stages

    def _grow(self, limits: Mapping[str, int | None], interval: int) -> bool:
        """The initial clustering, until nothing is left or a limit is reached."""
        of, entry = self.of, self.of.state.stages.initial_clustering
        new = {f"{name}_limit": limit or None for name, limit in limits.items() if limit is not None}
        changed = {name: limit for name, limit in new.items() if getattr(entry, name) != limit}
        for name, limit in changed.items():
            setattr(entry, name, limit)
        if stages.is_grown(of.clusters):
            if changed:
                of.state = of.folder.save_state(of.state)
            return False
        self._go_back_to(INITIAL)
        named = of.state.targets
        grown = stages.initial_clusters(
            of.sequences,
            of.clusters,
            self.work,
            targets=None if named is None else SequenceFile.read(Path(named.fasta_path)),
            every=interval,
            keep=self._commit,
        )
        done = grown.state.stages.initial_clustering.completed
        self._commit(grown, "stage initial finished" if done else "limit reached", point=True)
        return True

    def _make(
        self,
        stage: Stage,
        source: Stage,
        verb: Callable[[SequenceFile, Clustering, Work], Clustering],
    ) -> bool:
        """A stage, if it was not made from the files of its source as they are."""
        if self._fresh(stage):
            return False
        self._go_back_to(source)
        made = verb(self.of.sequences, self.of.clusters, self.work)
        self._commit(made, f"stage {stage.asset} finished", point=True)
        return True

    def _refine(self, thresholds: Sequence[float] | None) -> bool:
        """Close-cluster refinements, those that are not made yet."""
        of = self.of
        asked = thresholds or of.state.requests.refine_close_clusters
        wanted = list(asked or stages.default_thresholds(of.state.parameters))
        stages.check_thresholds(wanted)
        history = of.state.stages.close_cluster_refinement.refinement_history
        made = [one.threshold for one in history]
        fresh = self._fresh(REFINED) and wanted[: len(made)] == made
        if fresh and len(wanted) == len(made):
            return False
        self._go_back_to(REFINED if fresh else DECONFLICTED)
        of.state.requests.refine_close_clusters = wanted
        stages.refined(
            of.sequences,
            of.clusters,
            wanted,
            self.work,
            keep=lambda clusters, why: self._commit(clusters, why, point=True),
        )
        return True

    def _report(self, stage: Stage, truth: Path | None) -> None:
        """Measure a stage, unless that was done for these very files."""
        of = self.of
        known = None if truth is None else reports.Truth.read(truth)
        clusters, found = of.clusters_of(stage), of.folder.report(stage)
        if found is None or not found.is_of(clusters.files_digest, known):
            made = reports.report(of.sequences, clusters, self.work, truth=known)
            inputs = of.state.report_made_from(stage, known.sha256 if known else "")
            of.folder.publish_report(
                stage, made, replace(of.provenance_of(stage, self.command), inputs=inputs)
            )

    def _clean_up(self) -> None:
        """Remove what led to the result; the points to roll back to stay."""
        of = self.of
        for stage in (INITIAL, DECONFLICTED, REFINED):
            of.folder.remove_stage(stage, of.provenance_of(stage, self.command))
        of.folder.remove_caches()
        if not of.state.stages.finalized.cleaned:
            of.state.stages.finalized.cleaned = True
            of.state = of.folder.save_state(of.state)

    # ------------------------------------------------------------------ between the stages

    def _fresh(self, stage: Stage) -> bool:
        """Whether a stage is finished and what it was made from is still what it was."""
        state, entry = self.of.state, self.of.state.entry(stage)
        if state.stages.finalized.cleaned:
            return True
        return entry.completed and self.of.folder.digest(state.source_of(stage)) == entry.source_digest

    def _go_back_to(self, stage: Stage) -> None:
        """Make `stage` the newest one: later ones are removed, unless a person edited them."""
        of = self.of
        begun = [one for one in STAGES if one.order > stage.order and of.state.entry(one).files_digest]
        if of.partition.stage is stage and not begun:
            return
        if of.state.stages.finalized.cleaned:
            raise ResumeError(
                f"the files of stage {stage.asset} were removed by --cleanup",
                where=str(of.directory),
                next=f"Bring them back with: cytopipe decompose rollback {of.directory} --to {stage.asset}",
            )
        preconditions.refuse_edited(of.folder, of.state, begun, of.records)
        if of.partition.stage is not stage:
            edits = of.folder.read(stage, of.records)
            of.partition = edits.or_raise()
            if edits.verdict == "edited":
                of.folder.accept(stage, of.provenance_of(stage, self.command))
                of.state.entry(stage).edited_by_hand = True
            if edits.added:
                of.state.stages.initial_clustering.completed &= stage is not INITIAL
        of.state = of.state.as_of(stage)
        self._commit(of.clusters, f"back to stage {stage.asset}")
        for one in begun:
            of.folder.remove_stage(one, of.provenance_of(one, self.command))

    def _commit(self, clusters: Clustering, why: str, *, point: bool = False) -> None:
        self.of.state = clusters.state
        self.on_checkpoint(self.of.commit(clusters.partition, why, self.command, point=point))


def _check_limits(limits: Mapping[str, int | None]) -> None:
    findings = [
        Finding(
            what=f"--{name.replace('_', '-')} is out of range",
            expected="a whole number, 0 for no limit",
            found=repr(value),
        )
        for name, value in limits.items()
        if value is not None and value < 0
    ]
    if findings:
        raise ParameterError(findings)
