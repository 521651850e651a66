"""The report of a stage: tables for programs and figures for people, made from its clusters.

    records.tsv       every record of the input once: cluster, representative, identity to it
    clusters.tsv      every cluster: medoid, spread, nearest cluster, gap, confidence
    conflicts.tsv     records that several initial clusters claim
    histogram.tsv     distances within clusters and to the nearest sequences of others, counted
    thresholds.tsv    clusters at every threshold, by single linkage
    partitions.tsv    the thresholds with the widest relative gap, ranked
    alternatives.tsv  the cluster of every record in each of those
    agreement.tsv     comparison with names in the headers, where there are any
    *.png             the same for the eye
    summary.json      the numbers of the whole, and which files they were measured on

All of it is a function of the stage files: written again, it is the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cytopipe.decompose import figures
from cytopipe.decompose.by_sequence import SequenceClusters, clusters_by_sequence
from cytopipe.decompose.cluster_quality import Measures, measure
from cytopipe.decompose.clustering import Clustering
from cytopipe.decompose.compare import compare_partitions, names_in_headers, read_assignment
from cytopipe.decompose.curve import Curve, cut, threshold_curve
from cytopipe.decompose.parameters import Parameters
from cytopipe.decompose.partition import Partition
from cytopipe.decompose.state import State
from cytopipe.decompose.workspace import SequenceFile, Work, Workspace, opened, stop_if_asked
from cytopipe.provenance import sha256_file
from cytopipe.storage.fasta import FastaRecord
from cytopipe.storage.formats.table import format_tsv
from cytopipe.storage.state import format_json, parse_json

__all__ = ["Report", "Truth", "report"]

SUMMARY = "summary.json"
HISTOGRAM_BINS = 100
HISTOGRAM_TOP = 0.25


@dataclass(frozen=True)
class Truth:
    """Known clusters to compare with.

    Parameters
    ----------
    sha256 : str
        Digest of the file they were read from.
    cluster_of : mapping of str to str
        The known cluster of each record.
    """

    sha256: str
    cluster_of: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> Truth:
        """From whatever says which record is in which cluster; see `cytopipe.decompose.compare`."""
        return cls(sha256_file(path) if path.is_file() else str(path), read_assignment(path))


@dataclass(frozen=True)
class Report:
    """The files of a report: ``<name>.tsv``, ``<name>.png`` and ``summary.json``."""

    files: Mapping[str, bytes]

    @cached_property
    def summary(self) -> Mapping[str, Any]:
        """The numbers of the whole, and which files they were measured on."""
        return parse_json(self.files[SUMMARY], where=SUMMARY)

    @property
    def metrics(self) -> dict[str, int | float]:
        """The numbers alone."""
        return {name: value for name, value in self.summary.items() if not isinstance(value, str)}

    def is_of(self, files_digest: str, truth: Truth | None = None) -> bool:
        """Whether it was made from these very files, and compared with this truth if one is given."""
        summary = self.summary
        return summary.get("files_digest") == files_digest and (
            truth is None or summary.get("truth") == truth.sha256
        )


def report(
    sequences: SequenceFile,
    clusters: Clustering,
    work: Work,
    *,
    parameters: Parameters | None = None,
    truth: Truth | None = None,
) -> Report:
    """Measure the clusters of a stage: tables and figures.

    Parameters
    ----------
    parameters : Parameters, optional
        Those of today, where they are not the ones in the state.
    truth : Truth, optional
        Known clusters to compare with; names in the headers of the input where it is None.
    """

    def told(done: int, total: int) -> None:
        work.progress("measuring clusters", done, total)
        stop_if_asked(work)

    partition, state = clusters.partition, clusters.state
    if parameters is not None:
        state = state.model_copy(update={"parameters": parameters})
    with opened(
        sequences, state, work, deleted=partition.deleted, aligning="measuring clusters"
    ) as workspace:
        by_sequence = clusters_by_sequence(partition, workspace.sequences)
        measures = measure(
            by_sequence.clusters,
            workspace.weights,
            workspace.distances,
            workspace.measuring_neighbours,
            percentile=state.parameters.target_percentile,
            progress=told,
        )
        rows = record_rows(partition, by_sequence, workspace, measures, sequences.records)
    curve = threshold_curve(len(workspace.sequences), [measures.within, measures.between])
    within, between = measures.within[2], measures.between[2]
    rows_of_clusters = _cluster_rows(partition, by_sequence, workspace, measures)
    ranked = curve.alternatives(
        lowest=state.parameters.min_split, highest=max(0.05, 2 * state.parameters.lump)
    )
    histogram = _histogram(within, between)
    tables: dict[str, Any] = {
        "records": rows,
        "clusters": rows_of_clusters,
        "histogram": histogram,
        "thresholds": {"threshold": curve.thresholds, "clusters": curve.clusters},
        "partitions": {
            name: [getattr(one, name) for one in ranked]
            for name in ("rank", "threshold", "next_threshold", "clusters", "gap_width", "relative_gap")
        },
        "alternatives": _alternative_rows(curve, [one.threshold for one in ranked], workspace),
    }
    if partition.stage.overlaps:
        conflicts = partition.conflicts
        tables["conflicts"] = {
            "record": list(conflicts),
            "clusters": [";".join(map(_name_in(partition), files)) for files in conflicts.values()],
        }
    agreement = _agreement(partition, sequences.records, truth)
    if agreement is not None:
        tables["agreement"] = {name: [value] for name, value in agreement.items()}
    summary = {
        "stage": partition.stage.name,
        "files_digest": clusters.files_digest,
        "truth": truth.sha256 if truth is not None else "",
        **_summary_numbers(partition, rows_of_clusters, state),
        **({name: agreement[name] for name in _AGREEMENT} if agreement else {}),
    }
    files = {f"{name}.tsv": format_tsv(table) for name, table in tables.items()}
    files |= figures.all_of(histogram, curve, rows_of_clusters, state)
    files[SUMMARY] = format_json(summary)
    return Report(files)


_AGREEMENT = ("adjusted_rand_index", "homogeneity", "completeness")


def record_rows(
    partition: Partition,
    by_sequence: SequenceClusters,
    workspace: Workspace,
    measures: Measures,
    records: Mapping[str, FastaRecord],
) -> dict[str, list[Any]]:
    """The complete table: every record of the input once, by id."""
    sequences, name = workspace.sequences, _name_in(partition)
    representative = representatives(partition, by_sequence, workspace, measures)
    index_of = {record.id: at for at, found in enumerate(sequences.records) for record in found}
    claims = partition.conflicts
    unassigned, rows = set(partition.unassigned), []
    for one in sorted(records):
        file = partition.cluster_of.get(one)
        at = index_of.get(one)
        to_medoid = measures.to_medoid[at] if file and at is not None else np.nan
        if file is not None and by_sequence.pinned.get(one) is not None:
            medoid = index_of[representative[file]]
            to_medoid = float(workspace.distances.pairs([at], [medoid])[0])
        status = "clustered" if file else "unassigned" if one in unassigned else "deleted"
        rows.append(
            {
                "record": one,
                "cluster": name(file) if file else "",
                "stage": partition.stage.asset,
                "status": status,
                "length_bp": len(records[one].sequence),
                "representative": representative[file] if file else "",
                "identity_to_representative": None if np.isnan(to_medoid) else round(1 - float(to_medoid), 6),
                "medoid": bool(file) and representative[file] == one,
                "nearest_outside": None
                if at is None or np.isnan(measures.outside[at])
                else float(measures.outside[at]),
                "claimed_by": ";".join(map(name, claims.get(one, ()))),
            }
        )
    return {column: [row[column] for row in rows] for column in rows[0]} if rows else {}


def representatives(
    partition: Partition, by_sequence: SequenceClusters, workspace: Workspace, measures: Measures
) -> dict[str, str]:
    """The medoid record of every cluster file: of the medoid sequence, the first record by id in the file."""
    found = {}
    for number, file in enumerate(by_sequence.files):
        members = set(partition.clusters[file])
        medoid = measures.clusters[number].medoid
        own = (
            [record.id for record in workspace.sequences.records[medoid] if record.id in members]
            if medoid >= 0
            else []
        )
        found[file] = own[0] if own else min(members)
    return found


def _cluster_rows(
    partition: Partition, by_sequence: SequenceClusters, workspace: Workspace, measures: Measures
) -> dict[str, list[Any]]:
    name = _name_in(partition)
    representative = representatives(partition, by_sequence, workspace, measures)
    rows = []
    for number, file in enumerate(by_sequence.files):
        one = measures.clusters[number]
        rows.append(
            {
                "cluster": name(file),
                "file": file,
                "records": len(partition.clusters[file]),
                "unique_sequences": len(by_sequence.clusters[number]),
                "medoid": representative[file],
                "mean_within": one.mean_within,
                "percentile_within": one.percentile_within,
                "max_within": one.max_within,
                "nearest_cluster": name(by_sequence.files[one.nearest]) if one.nearest >= 0 else "",
                "min_between": one.min_between,
                "gap": one.gap,
                "confidence": round(one.confidence, 6),
                "measured_sequences": one.measured,
            }
        )
    columns = rows[0] if rows else dict.fromkeys(_CLUSTER_COLUMNS)
    return {column: [row[column] for row in rows] for column in columns}


_CLUSTER_COLUMNS = (
    *("cluster", "file", "records", "unique_sequences", "medoid", "mean_within", "percentile_within"),
    *("max_within", "nearest_cluster", "min_between", "gap", "confidence", "measured_sequences"),
)


def _histogram(within: np.ndarray, between: np.ndarray) -> dict[str, Any]:
    edges = np.linspace(0, HISTOGRAM_TOP, HISTOGRAM_BINS + 1)
    top = np.nextafter(HISTOGRAM_TOP, 0)
    return {
        "from": np.round(edges[:-1], 6),
        "to": np.round(edges[1:], 6),
        "within": np.histogram(np.minimum(within, top), edges)[0],
        "between": np.histogram(np.minimum(between, top), edges)[0],
    }


def _alternative_rows(curve: Curve, thresholds: Sequence[float], workspace: Workspace) -> dict[str, Any]:
    index_of = {record.id: at for at, found in enumerate(workspace.sequences.records) for record in found}
    ordered = sorted(index_of)
    places = np.array([index_of[record] for record in ordered], np.int64)
    table: dict[str, Any] = {"record": ordered}
    for rank, threshold in enumerate(thresholds, start=1):
        table[f"rank_{rank}"] = cut(curve, threshold)[places]
    return table


def _agreement(
    partition: Partition, records: Mapping[str, FastaRecord], truth: Truth | None
) -> dict[str, int | float] | None:
    if truth is not None:
        return compare_partitions(partition.cluster_of, truth.cluster_of).as_row()
    names = names_in_headers(records[one] for one in sorted(records))
    if len(set(names.values())) < 2 or not partition.cluster_of.keys() & names.keys():
        return None
    return compare_partitions(partition.cluster_of, names).as_row()


def _summary_numbers(partition: Partition, clusters: Mapping[str, list[Any]], state: State) -> dict[str, Any]:
    sizes = sorted(map(len, partition.clusters.values()), reverse=True)
    gaps = [gap for gap in clusters["gap"] if gap is not None and not np.isnan(gap)]
    return {
        "records": state.input.total_sequences,
        "unique_sequences": state.input.deduplicated_sequences,
        "clusters": partition.n_clusters,
        "clustered_records": partition.n_clustered,
        "unassigned_records": len(partition.unassigned),
        "deleted_records": len(partition.deleted),
        "conflicted_records": len(partition.conflicts),
        "largest_cluster": sizes[0] if sizes else 0,
        "singletons": sizes.count(1),
        "median_gap": round(float(np.median(gaps)), 6) if gaps else 0.0,
        "clusters_with_gap": sum(gap > 0 for gap in gaps),
        "clusters_without_gap": sum(gap <= 0 for gap in gaps),
        "worth_a_look": _worth_a_look(clusters),
        "mean_confidence": round(float(np.mean(clusters["confidence"])), 6)
        if clusters["confidence"]
        else 0.0,
    }


_NAMED_AT_MOST = 5


def _worth_a_look(clusters: Mapping[str, list[Any]]) -> str:
    """The largest clusters that no barcode gap separates from their nearest one, in words."""
    rows = zip(*(clusters[name] for name in ("records", "cluster", "nearest_cluster", "gap")), strict=True)
    close = [row for row in rows if row[3] is not None and row[3] <= 0]  # NaN is no gap that was measured
    if not close:
        return "every cluster that could be measured has a gap to its nearest one"
    close.sort(key=lambda row: (-row[0], row[1]))
    told = [
        f"{name} ({counted} records; gap {gap:.4f} to {nearest})"
        for counted, name, nearest, gap in close[:_NAMED_AT_MOST]
    ]
    more = f" and {len(close) - _NAMED_AT_MOST} more" if len(close) > _NAMED_AT_MOST else ""
    return f"no gap to the nearest cluster: {', '.join(told)}{more}"


def _name_in(partition: Partition) -> Callable[[str], str]:
    prefix = partition.stage.prefix
    return lambda file: file.removeprefix(prefix).removesuffix(".fasta")
