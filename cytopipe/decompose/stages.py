"""The four stages of a decomposition, as functions of values.

    begun -> initial_clusters -> deconflicted -> refined -> final

Each takes the clusters of the previous stage and the sequences, and returns the clusters of the next; none
writes a file of its own. Every record of the input is in the result. A stage that was stopped and begun
again, from what it kept or from nothing, gives the same clusters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import zip_longest

from cytopipe.decompose import steps
from cytopipe.decompose.clustering import Clustering, begun, target_positions
from cytopipe.decompose.layout import INITIAL, REFINED
from cytopipe.decompose.parameters import Parameters
from cytopipe.decompose.partition import Partition
from cytopipe.decompose.state import (
    ConflictEntry,
    FinalEntry,
    InitialEntry,
    Refinement,
    State,
    now,
)
from cytopipe.decompose.workspace import SequenceFile, Work, Workspace, opened, stop_if_asked
from cytopipe.errors import Finding, Interrupted, ParameterError

__all__ = [
    "CODE_VERSION",
    "begun",
    "deconflicted",
    "default_thresholds",
    "final",
    "initial_clusters",
    "is_grown",
    "refined",
]

CODE_VERSION = "3"
"""Raised when the same input and parameters would give other clusters."""

_CHEAP_CHECKPOINT_S = 1.0
"""A checkpoint that takes longer than this is made no more often than every ten times its cost."""

Keep = Callable[[Clustering, str], None]
"""``keep(clusters, why)``: called with what is finished, so that it need not be done again."""


def default_thresholds(parameters: Parameters) -> tuple[float, ...]:
    """The refinements of a run that was asked for none in particular: clusters within `max_lump`, or 0.02."""
    return (parameters.lump,)


def is_grown(clusters: Clustering) -> bool:
    """Whether the initial clustering is finished, or has come to its limits."""
    entry = clusters.state.stages.initial_clustering
    if clusters.stage is not INITIAL:
        return entry.completed or _limit_reached(entry, entry.total_clusters, entry.total_sequences_processed)
    partition = clusters.partition
    return entry.completed or _limit_reached(entry, partition.n_clusters, partition.n_clustered)


def initial_clusters(
    sequences: SequenceFile,
    start: Clustering,
    work: Work,
    *,
    targets: SequenceFile | None = None,
    every: int = 5,
    keep: Keep = lambda clusters, why: None,
) -> Clustering:
    """Clusters grown from targets, until every sequence is in one or a limit is reached; they may overlap.

    Parameters
    ----------
    start : Clustering
        Of :func:`begun`, or what was kept when the work was stopped.
    targets : SequenceFile, optional
        In directed mode, what is grown from.
    every : int
        Iterations after which `keep` is called.

    Raises
    ------
    Interrupted
        A stop was asked for; `keep` was called with what is finished.
    """
    if is_grown(start):
        return start
    with opened(sequences, start.state, work, deleted=start.partition.deleted) as workspace:
        growing = _Growing(start, workspace)
        positions = None if targets is None else target_positions(targets, workspace.sequences, partial=True)

        def save(why: str) -> None:
            began = time.monotonic()
            workspace.save()
            keep(growing.clusters_of(sequences), why)
            growing.saved(time.monotonic() - began)

        for file, members in steps.clusters_grown(start.partition, workspace, positions):
            growing.add(file, members)
            work.progress("initial clustering: records", growing.n_clustered, growing.n_records)
            if growing.limit_reached:
                break
            if work.stop():
                save("stopped on request")
                raise Interrupted(f"stopped after {growing.iterations} iterations, and saved")
            if growing.since_saved >= every and growing.may_save():
                save(f"after {growing.iterations} iterations")
        growing.completed = not growing.limit_reached or not growing.unassigned
        return growing.clusters_of(sequences)


def deconflicted(
    sequences: SequenceFile, initial: Clustering, work: Work, *, parameters: Parameters | None = None
) -> Clustering:
    """Every record in exactly one cluster: clusters that share sequences are partitioned anew, together."""
    before = initial.partition
    state = _state(initial, parameters)
    state.stages.conflict_resolution = entry = ConflictEntry(
        conflicts_before=len(before.conflicts),
        clusters_before=before.n_clusters,
        source_digest=initial.files_digest,
    )
    with opened(sequences, state, work, deleted=before.deleted, aligning="resolving conflicts") as workspace:
        told = _teller(work, "resolving conflicts: components")
        after = steps.conflicts_resolved(before, workspace, told)
        stop_if_asked(work)
    entry.completed = True
    entry.conflicts_after, entry.clusters_after = len(after.conflicts), after.n_clusters
    state.requests.resolve_conflicts = True
    return initial.followed_by(after, state, sequences.records)


def refined(
    sequences: SequenceFile,
    clusters: Clustering,
    thresholds: Sequence[float],
    work: Work,
    *,
    parameters: Parameters | None = None,
    keep: Keep = lambda clusters, why: None,
) -> Clustering:
    """Clusters whose medoids are within a threshold of each other, looked at again together.

    Parameters
    ----------
    clusters : Clustering
        Disjoint; or of this stage, where some of the thresholds were applied already.
    thresholds : sequence of float
        Applied in this order; `keep` is called after each.
    """
    check_thresholds(thresholds)
    for threshold in thresholds[len(_made(clusters, thresholds)) :]:
        clusters = _refined_once(sequences, clusters, threshold, thresholds, work, parameters)
        keep(clusters, f"stage refined finished at {threshold:g}")
    return clusters


def final(sequences: SequenceFile, clusters: Clustering, work: Work) -> Clustering:
    """The result: the same clusters numbered by size, ``cluster_001.fasta`` the largest."""
    before = clusters.partition
    state = _state(clusters, None)
    with opened(sequences, state, work, deleted=before.deleted) as workspace:
        after = steps.numbered_by_size(before, workspace)
    state.stages.finalized = FinalEntry(
        completed=True,
        clusters=after.n_clusters,
        source_stage=clusters.stage.name,
        source_digest=clusters.files_digest,
    )
    state.status = "completed"
    return clusters.followed_by(after, state, sequences.records)


def check_thresholds(thresholds: Sequence[float]) -> None:
    """Raise `ParameterError` where one is no distance."""
    findings = [
        Finding(
            what="a refinement distance is out of range",
            where="--refine-close-clusters",
            expected="a distance between 0 and 1",
            found=repr(threshold),
        )
        for threshold in thresholds
        if not 0 <= threshold <= 1
    ]
    if findings:
        raise ParameterError(findings)


def _made(clusters: Clustering, thresholds: Sequence[float]) -> list[float]:
    """The first ones of the thresholds, where these clusters were refined with just those."""
    if clusters.stage is not REFINED:
        return []
    made = [one.threshold for one in clusters.state.stages.close_cluster_refinement.refinement_history]
    if any(one != wanted for one, wanted in zip_longest(made, thresholds[: len(made)])):
        raise ParameterError(
            "the clusters were refined with other thresholds",
            expected=", ".join(f"{one:g}" for one in thresholds),
            found=", ".join(f"{one:g}" for one in made),
            next="Begin with the clusters of the stage before.",
        )
    return made


def _refined_once(
    sequences: SequenceFile,
    clusters: Clustering,
    threshold: float,
    wanted: Sequence[float],
    work: Work,
    parameters: Parameters | None,
) -> Clustering:
    before, state = clusters.partition, _state(clusters, parameters)
    entry = state.stages.close_cluster_refinement
    if before.stage is not REFINED:
        entry.source_digest = clusters.files_digest
    name = f"refining clusters within {threshold:g}"
    with opened(sequences, state, work, deleted=before.deleted, aligning=name) as workspace:
        after = steps.refined(before, workspace, threshold, _teller(work, f"{name}: close clusters"))
        stop_if_asked(work)
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
    state.requests.refine_close_clusters = list(wanted)
    return clusters.followed_by(after, state, sequences.records)


def _state(clusters: Clustering, parameters: Parameters | None) -> State:
    """The state to go on from: nothing is known of later stages, and the parameters are those of today."""
    state = clusters.state.as_of(clusters.stage)
    if parameters is not None:
        state.parameters = parameters
    return state


def _teller(work: Work, name: str) -> Callable[[int, int], None]:
    def tell(done: int, total: int) -> None:
        work.progress(name, done, total)
        stop_if_asked(work)

    return tell


class _Growing:
    """The initial clustering while it goes on: what it holds, and when it is to be kept."""

    def __init__(self, start: Clustering, workspace: Workspace) -> None:
        self._start, self._workspace = start, workspace
        self._entry = start.state.stages.initial_clustering
        self.n_records = workspace.sequences.n_records
        self.clusters = dict(start.partition.clusters)
        self.unassigned = dict.fromkeys(start.partition.unassigned)
        self.iterations = self._entry.total_iterations
        self.since_saved = 0
        self.completed = False
        self._clustered = set(start.partition.memberships)
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

    def clusters_of(self, sequences: SequenceFile) -> Clustering:
        """The clusters as they are now."""
        start = self._start.partition
        partition = Partition(INITIAL, dict(self.clusters), tuple(self.unassigned), start.deleted)
        state = self._start.state.as_of(INITIAL)
        state.stages.initial_clustering = self._entry.model_copy(
            update={
                "completed": self.completed,
                "finder": self._workspace.finder or self._entry.finder,
                "barcode_gap": self._workspace.known_gap,
                "total_iterations": self.iterations,
                "total_sequences_processed": len(self._clustered),
                "coverage_percentage": round(100 * len(self._clustered) / max(1, self.n_records), 4),
                "total_clusters": len(self.clusters),
            }
        )
        return self._start.followed_by(partition, state, sequences.records)


def _limit_reached(entry: InitialEntry, n_clusters: int, n_clustered: int) -> bool:
    """Limits are absolute: how many clusters, or clustered records, are to exist."""
    return (entry.max_clusters_limit is not None and n_clusters >= entry.max_clusters_limit) or (
        entry.max_sequences_limit is not None and n_clustered >= entry.max_sequences_limit
    )
