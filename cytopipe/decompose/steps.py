"""The four steps of a decomposition, each from the partition of one stage to that of the next.

The steps grow clusters from targets until nothing is left or a limit is reached, resolve the conflicts
between them, refine clusters that are close, and number them by size. Each is a pure function of a partition
and a workspace and writes nothing, so the caller decides when something is committed. It keeps all
records of its input and adds none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from cytopipe.decompose.by_sequence import clusters_by_sequence, partition_from
from cytopipe.decompose.conflicts import resolve_conflicts
from cytopipe.decompose.growth import grow_all
from cytopipe.decompose.layout import DECONFLICTED, FINAL, REFINED
from cytopipe.decompose.partition import Partition
from cytopipe.decompose.refinement import refine_close
from cytopipe.decompose.workspace import Workspace

__all__ = ["clusters_grown", "conflicts_resolved", "numbered_by_size", "refined"]

Progress = Callable[[int, int], None]


def clusters_grown(
    partition: Partition, workspace: Workspace, targets: Sequence[int] | None = None
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield one new cluster after the other, as its file and its records, until nothing is left.

    The next target is a function of what the partition covers, so that going on from a partition that
    was read from files is the same as never having stopped.
    """
    sequences = workspace.sequences
    covered = {index for cluster in clusters_by_sequence(partition, sequences).clusters for index in cluster}
    growths = grow_all(
        sequences.sequences,
        workspace.distances,
        workspace.neighbours,
        workspace.parameters,
        covered=frozenset(covered),
        targets=targets,
        gap=workspace.gap,
        among=lambda: workspace.candidates,
    )
    for number, growth in enumerate(growths, start=partition.next_number()):
        members = tuple(record.id for record in sequences.expand(growth.members))
        yield partition.stage.cluster_file(number), members


def conflicts_resolved(
    partition: Partition, workspace: Workspace, progress: Progress | None = None
) -> Partition:
    """Every record in one cluster: clusters that share sequences are partitioned anew."""
    by_sequence = clusters_by_sequence(partition, workspace.sequences)
    clusters = resolve_conflicts(
        by_sequence.clusters, workspace.distances, workspace.parameters, progress=progress, gap=workspace.gap
    )
    return partition_from(clusters, workspace.sequences, partition, by_sequence, DECONFLICTED)


def refined(
    partition: Partition, workspace: Workspace, threshold: float, progress: Progress | None = None
) -> Partition:
    """Clusters whose medoids are within `threshold` of each other, partitioned anew."""
    by_sequence = clusters_by_sequence(partition, workspace.sequences)
    clusters = refine_close(
        by_sequence.clusters,
        workspace.distances,
        workspace.neighbours,
        threshold,
        workspace.parameters,
        progress=progress,
        gap=workspace.gap,
    )
    return partition_from(clusters, workspace.sequences, partition, by_sequence, REFINED)


def numbered_by_size(partition: Partition, workspace: Workspace) -> Partition:
    """The same clusters under their final names: ``cluster_001.fasta`` is the largest."""
    rank = {
        record.id: at for at, record in enumerate(workspace.sequences.expand(range(len(workspace.sequences))))
    }
    members = [tuple(sorted(cluster, key=rank.__getitem__)) for cluster in partition.clusters.values()]
    members.sort(key=lambda one: (-len(one), rank[one[0]]))
    return Partition(
        stage=FINAL,
        clusters={FINAL.cluster_file(number): one for number, one in enumerate(members, start=1)},
        unassigned=partition.unassigned,
        deleted=partition.deleted,
    )
