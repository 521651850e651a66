"""The report of a stage: `DIR/report/<stage>/`, tables for programs and figures for people.

What comes in is the partition of a stage and its workspace; what leaves is one transaction of files:

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
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cytopipe.decompose import figures
from cytopipe.decompose.compare import compare, names_in_headers, read_assignment
from cytopipe.decompose.curve import Curve, cut, threshold_curve
from cytopipe.decompose.folder import Folder
from cytopipe.decompose.layout import REPORT_FOLDER, Stage
from cytopipe.decompose.measures import Measures, measure
from cytopipe.decompose.partition import Partition
from cytopipe.decompose.placement import Placement, place
from cytopipe.decompose.state import State
from cytopipe.decompose.workspace import Workspace
from cytopipe.errors import CytopipeError
from cytopipe.provenance import Provenance, sha256_file
from cytopipe.storage.fasta import FastaRecord
from cytopipe.storage.formats.table import format_tsv
from cytopipe.storage.state import format_json, read_json

if TYPE_CHECKING:
    from cytopipe.decompose.run import StageResult

__all__ = ["attached", "is_current", "write"]

SUMMARY = "summary.json"
HISTOGRAM_BINS = 100
HISTOGRAM_TOP = 0.25


def is_current(directory: Path, stage: Stage, files_digest: str, truth: Path | None = None) -> bool:
    """Whether the report was made from these very files, and compared with this truth if one is given."""
    summary = _summary_at(directory / REPORT_FOLDER / stage.asset)
    if summary.get("files_digest") != files_digest:
        return False
    return truth is None or summary.get("truth") == _truth_digest(truth)


def attached(result: StageResult) -> StageResult:
    """A result with the report that belongs to it, if there is one."""
    folder = result.directory / REPORT_FOLDER / result.stage
    summary = _summary_at(folder)
    if summary.get("files_digest") != result.sha256:
        return result
    return replace(
        result,
        metrics={
            name: value for name, value in summary.items() if name not in ("files_digest", "stage", "truth")
        },
        tables={path.stem: path for path in sorted(folder.glob("*.tsv"))},
        figures={path.stem: path for path in sorted(folder.glob("*.png"))},
    )


def write(
    folder: Folder,
    partition: Partition,
    workspace: Workspace,
    state: State,
    provenance: Provenance,
    records: Mapping[str, FastaRecord],
    *,
    truth: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Measure a stage and write its report in one transaction.

    Parameters
    ----------
    truth : Path, optional
        Known clusters to compare with; names in the headers of the input where it is None.
    """
    placement = place(partition, workspace.sequences)
    measures = measure(
        placement.clusters,
        workspace.weights,
        workspace.distances,
        workspace.measuring_neighbours,
        percentile=state.parameters.target_percentile,
        progress=progress,
    )
    curve = threshold_curve(len(workspace.sequences), [measures.within, measures.between])
    within, between = measures.within[2], measures.between[2]
    rows = record_rows(partition, placement, workspace, measures, records)
    clusters = _cluster_rows(partition, placement, workspace, measures)
    ranked = curve.alternatives(
        lowest=state.parameters.min_split, highest=max(0.05, 2 * state.parameters.max_lump)
    )
    histogram = _histogram(within, between)
    tables: dict[str, Any] = {
        "records": rows,
        "clusters": clusters,
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
    agreement = _agreement(partition, records, truth)
    if agreement is not None:
        tables["agreement"] = {name: [value] for name, value in agreement.items()}
    summary = {
        "stage": partition.stage.name,
        "files_digest": state.entry(partition.stage).files_digest,
        "truth": _truth_digest(truth) if truth is not None else "",
        **_summary_numbers(partition, clusters, state),
        **({name: agreement[name] for name in _AGREEMENT} if agreement else {}),
    }
    files = {f"{name}.tsv": format_tsv(table) for name, table in tables.items()}
    files |= figures.all_of(histogram, curve, clusters, state.parameters)
    files[SUMMARY] = format_json(summary)
    folder.publish_report(partition.stage, files, provenance)


_AGREEMENT = ("adjusted_rand_index", "homogeneity", "completeness")


def record_rows(
    partition: Partition,
    placement: Placement,
    workspace: Workspace,
    measures: Measures,
    records: Mapping[str, FastaRecord],
) -> dict[str, list[Any]]:
    """The complete table: every record of the input once, by id."""
    sequences, name = workspace.sequences, _name_in(partition)
    representative = representatives(partition, placement, workspace, measures)
    index_of = {record.id: at for at, found in enumerate(sequences.records) for record in found}
    claims = partition.conflicts
    unassigned, rows = set(partition.unassigned), []
    for one in sorted(records):
        file = partition.cluster_of.get(one)
        at = index_of.get(one)
        to_medoid = measures.to_medoid[at] if file and at is not None else np.nan
        if file is not None and placement.pinned.get(one) is not None:
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
    partition: Partition, placement: Placement, workspace: Workspace, measures: Measures
) -> dict[str, str]:
    """The medoid record of every cluster file: of the medoid sequence, the first record by id in the file."""
    found = {}
    for number, file in enumerate(placement.files):
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
    partition: Partition, placement: Placement, workspace: Workspace, measures: Measures
) -> dict[str, list[Any]]:
    name = _name_in(partition)
    representative = representatives(partition, placement, workspace, measures)
    rows = []
    for number, file in enumerate(placement.files):
        one = measures.clusters[number]
        rows.append(
            {
                "cluster": name(file),
                "file": file,
                "records": len(partition.clusters[file]),
                "unique_sequences": len(placement.clusters[number]),
                "medoid": representative[file],
                "mean_within": one.mean_within,
                "percentile_within": one.percentile_within,
                "max_within": one.max_within,
                "nearest_cluster": name(placement.files[one.nearest]) if one.nearest >= 0 else "",
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
    partition: Partition, records: Mapping[str, FastaRecord], truth: Path | None
) -> dict[str, int | float] | None:
    if truth is not None:
        return compare(partition.cluster_of, read_assignment(truth)).as_row()
    names = names_in_headers(records[one] for one in sorted(records))
    if len(set(names.values())) < 2 or not partition.cluster_of.keys() & names.keys():
        return None
    return compare(partition.cluster_of, names).as_row()


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
        "mean_confidence": round(float(np.mean(clusters["confidence"])), 6)
        if clusters["confidence"]
        else 0.0,
    }


def _name_in(partition: Partition) -> Callable[[str], str]:
    prefix = partition.stage.prefix
    return lambda file: file.removeprefix(prefix).removesuffix(".fasta")


def _truth_digest(truth: Path) -> str:
    return sha256_file(truth) if truth.is_file() else str(truth)


def _summary_at(folder: Path) -> dict[str, Any]:
    if not (folder / SUMMARY).is_file():
        return {}
    try:
        document = read_json(folder / SUMMARY)
    except CytopipeError:
        return {}  # a damaged report is made again
    return document if isinstance(document, dict) else {}
