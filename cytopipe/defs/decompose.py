"""Barcodes to species-like clusters, in four stages, and a report of the result.

    sequences, parameters, targets -> initial -> deconflicted -> refined -> final -> report
                                                   thresholds ---^           truth ---^

A partition is a data set of the project file. Its folder is that of `cytopipe decompose`, so work begun on
the command line goes on here and the other way round. The FASTA files are the truth: each stage is made
from the files of the one before, hand edits included.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.decompose.formats import CLUSTERS, REPORT
from cytopipe.defs.artifact import (
    Check,
    CheckResult,
    Described,
    Graph,
    Partitions,
    Source,
    Work,
    artifact,
)
from cytopipe.defs.overview import overview_of
from cytopipe.errors import CytopipeError
from cytopipe.project import DataSet, Project
from cytopipe.project.digests import Digests
from cytopipe.provenance import sha256_bytes

if TYPE_CHECKING:
    from cytopipe.decompose.clustering import Clustering
    from cytopipe.decompose.reports import Report, Truth
    from cytopipe.decompose.workspace import SequenceFile
    from cytopipe.project.decompose.entry import SequenceSet

__all__ = ["DATA_SETS", "DECOMPOSE"]

# As `cytopipe.decompose.stages.CODE_VERSION`, which a test compares: importing it from there costs every
# process that loads the definitions a second of numba.
_CODE = "3"
_AGREEMENT_WANTED = 0.5
_NOT_DECLARED = sha256_bytes(b"")

DATA_SETS = Partitions(name="decompose", title="set of sequences", per_run=50)

# ---------------------------------------------------------------------- what it is made from


def _file(data: DataSet, field: str) -> Path | None:
    name = getattr(data.entry, field)
    return data.resolve(name) if name else None


def _sequences(data: DataSet, field: str) -> SequenceFile | None:
    from cytopipe.decompose.workspace import SequenceFile

    path = _file(data, field)
    return None if path is None else SequenceFile.read(path)


def _truth(data: DataSet) -> Truth | None:
    from cytopipe.decompose.reports import Truth

    path = _file(data, "truth")
    return None if path is None else Truth.read(path)


def _about(project: Project, data: DataSet, field: str) -> Mapping[str, object]:
    path = _file(data, field)
    if path is None:
        return {"path": "none is declared"}
    shown: dict[str, object] = {"path": project.relative(path), "size_bytes": path.stat().st_size}
    if field == "input":
        from cytopipe.storage.fasta import read_fasta

        try:
            shown["n_records"] = sum(1 for _ in read_fasta(path))
        except CytopipeError as error:
            shown["not_usable"] = str(error)
    return shown


def _source(asset: str, field: str, description: str, load, kinds: tuple[str, ...] = ("fasta",)) -> Source:
    """A file that an entry names, perhaps."""
    return Source(
        asset=asset,
        by=DATA_SETS,
        description=description,
        load=load,
        files=lambda data: [path] if (path := _file(data, field)) else [],
        digest=lambda project, data: (
            Digests(project.home).sha256(path) if (path := _file(data, field)) else _NOT_DECLARED
        ),
        describe=lambda project, data: _about(project, data, field),
        kinds=kinds,
    )


SEQUENCES = _source(
    "decompose/sequences",
    "input",
    "The FASTA file of a data set, as the project file names it; never written.",
    lambda data: _sequences(data, "input"),
)
TARGETS = _source(
    "decompose/targets",
    "targets",
    "The records from which alone clusters are grown, where the project file names some.",
    lambda data: _sequences(data, "targets"),
)
TRUTH = _source(
    "decompose/truth",
    "truth",
    "The known species, where the project file names them; the result is compared with them.",
    _truth,
    ("table",),
)


def _parameters(data: DataSet) -> Mapping[str, object]:
    from cytopipe.decompose.state import declared

    entry = data.entry
    return declared(entry.parameters, entry.max_clusters, entry.max_sequences)


PARAMETERS = Source(
    asset="decompose/parameters",
    by=DATA_SETS,
    description="How the project file says a data set is clustered: distances, percentile, search, limits.",
    load=lambda data: data.entry,
    values=_parameters,
    describe=lambda project, data: {"parameters": dict(_parameters(data))},
    kinds=("yaml",),
)
THRESHOLDS = Source(
    asset="decompose/thresholds",
    by=DATA_SETS,
    description="Distances of the close-cluster refinements, in their order.",
    load=lambda data: _thresholds(data),
    values=lambda data: {"refine": list(_thresholds(data))},
    describe=lambda project, data: {"refine": list(_thresholds(data))},
    kinds=("yaml",),
)


def _thresholds(data: DataSet) -> tuple[float, ...]:
    return tuple(data.entry.refine) or (data.entry.parameters.lump,)


# ---------------------------------------------------------------------- what must hold


def _conserved(value: Clustering, sequences: SequenceFile) -> CheckResult:
    from cytopipe.decompose.partition import conservation_findings

    findings = conservation_findings(value.partition, sequences.records)
    return CheckResult(tuple(map(str, findings)), {"n_records": len(sequences.records)})


def _disjoint(value: Clustering) -> CheckResult:
    shared = value.partition.conflicts
    found = [f"record {record!r} is in {', '.join(files)}" for record, files in shared.items()]
    return CheckResult(tuple(found), {"n_shared": len(shared)})


def _agrees(value: Report, truth: Truth | None) -> CheckResult:
    index = value.summary.get("adjusted_rand_index") if truth is not None else None
    if index is None or index >= _AGREEMENT_WANTED:
        return CheckResult((), {} if index is None else {"adjusted_rand_index": index})
    return CheckResult((f"adjusted Rand index {index:.3f}",), {"adjusted_rand_index": index})


CONSERVED = Check(
    name="records_conserved",
    description="Every record of the input is in a cluster, unassigned or deleted by hand; nothing else is.",
    evaluate=_conserved,
)
DISJOINT = Check(name="clusters_disjoint", description="No record is in two clusters.", evaluate=_disjoint)
AGREES = Check(
    name="agrees_with_truth",
    description="Adjusted Rand index against the known species is at least 0.5, where they are known.",
    evaluate=_agrees,
    blocking=False,
)

# ---------------------------------------------------------------------- the protocol


@artifact(
    "decompose/initial",
    CLUSTERS,
    by=DATA_SETS,
    version=_CODE,
    place="decompose/{key}#initial",
    checks=(CONSERVED,),
    minutes="0.1 per 100 sequences",
)
def initial(
    data: DataSet,
    sequences: SequenceFile,
    parameters: SequenceSet,
    targets: SequenceFile | None,
    work: Work,
) -> Clustering:
    """Clusters grown from targets by the barcode gap.

    Each target gathers the sequences within `max_lump`, or within the distance that the set itself tells,
    and keeps those before the gap. Clusters may still share records. Files: `initial.cluster_0001.fasta` and
    so on; a checkpoint after every few targets.
    """
    from cytopipe.decompose.checkpoints import Kept
    from cytopipe.decompose.stages import begun, initial_clusters

    kept = Kept(work.scratch, sequences, work.saved)
    start = kept.newest() or begun(
        sequences,
        parameters.parameters,
        targets=targets,
        max_clusters=parameters.max_clusters,
        max_sequences=parameters.max_sequences,
    )
    every = parameters.checkpoint_interval
    return initial_clusters(sequences, start, work, targets=targets, every=every, keep=kept.save)


@artifact(
    "decompose/deconflicted",
    CLUSTERS,
    by=DATA_SETS,
    version=_CODE,
    place="decompose/{key}#deconflicted",
    checks=(CONSERVED, DISJOINT),
)
def deconflicted(
    data: DataSet, sequences: SequenceFile, initial: Clustering, parameters: SequenceSet, work: Work
) -> Clustering:
    """Every record in exactly one cluster.

    Clusters that share records are decomposed again together, whatever their size.
    """
    from cytopipe.decompose import stages

    return stages.deconflicted(sequences, initial, work, parameters=parameters.parameters)


@artifact(
    "decompose/refined",
    CLUSTERS,
    by=DATA_SETS,
    version=_CODE,
    place="decompose/{key}#refined",
    checks=(CONSERVED, DISJOINT),
)
def refined(
    data: DataSet,
    sequences: SequenceFile,
    deconflicted: Clustering,
    parameters: SequenceSet,
    thresholds: tuple[float, ...],
    work: Work,
) -> Clustering:
    """Clusters closer to each other than a threshold, looked at again together.

    One pass per threshold of the entry's `refine`, in its order; without any, one pass at `max_lump`, or at
    0.02.
    """
    from cytopipe.decompose import stages
    from cytopipe.decompose.checkpoints import Kept

    kept = Kept(work.scratch, sequences, work.saved)
    start = kept.newest() or deconflicted
    declared = parameters.parameters
    return stages.refined(sequences, start, thresholds, work, parameters=declared, keep=kept.save)


@artifact(
    "decompose/final",
    CLUSTERS,
    by=DATA_SETS,
    version=_CODE,
    place="decompose/{key}#final",
    checks=(CONSERVED, DISJOINT),
)
def final(data: DataSet, sequences: SequenceFile, refined: Clustering, work: Work) -> Clustering:
    """The result: clusters numbered by size, `cluster_001.fasta` the largest, and `unassigned.fasta`."""
    from cytopipe.decompose import stages

    return stages.final(sequences, refined, work)


@artifact(
    "decompose/report",
    REPORT,
    by=DATA_SETS,
    version=_CODE,
    place="decompose/{key}/report/final#report",
    checks=(AGREES,),
)
def report(
    data: DataSet,
    sequences: SequenceFile,
    final: Clustering,
    parameters: SequenceSet,
    truth: Truth | None,
    work: Work,
) -> Described:
    """Tables and figures of the final clusters: records, clusters, the barcode gap, the thresholds.

    Made from the files of the final stage, so that a hand edit of them makes it anew.
    """
    from cytopipe.decompose import reports

    found = reports.report(sequences, final, work, parameters=parameters.parameters, truth=truth)
    notes = {"worth_a_look": found.summary["worth_a_look"]}
    return Described(found, notes=notes, picture=found.files["histogram.png"])


DECOMPOSE = Graph(
    SEQUENCES,
    PARAMETERS,
    THRESHOLDS,
    TARGETS,
    TRUTH,
    initial,
    deconflicted,
    refined,
    final,
    report,
    overview_of("decompose/final"),
)
