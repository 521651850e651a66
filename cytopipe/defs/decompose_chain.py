"""Barcodes to species-like clusters, in four stages: the decompose domain as a chain.

    sequences, parameters -> initial -> deconflicted -> refined -> final
                                              thresholds ---^

A partition is a data set of the project file; its directory is byte for byte that of `cytopipe decompose`, so
work begun on the command line goes on here and the other way round. The FASTA files are the truth: each
stage reads the files of the one before, hand edits included.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from cytopipe.defs.graph import Chain
from cytopipe.defs.standing_decompositions import described, standing, versions
from cytopipe.defs.steps import Guard, Made, Source, Working, step
from cytopipe.errors import CytopipeError
from cytopipe.project import DataSet, Project
from cytopipe.project.digests import Digests

__all__ = ["DECOMPOSE"]

# As `cytopipe.decompose.stages.CODE_VERSION`, which a test compares: importing it from there costs every
# process that loads the definitions a second of numba.
_CODE = "2"
_CONSERVED = Guard(
    name="records_conserved",
    description="Every record of the input is in a cluster or unassigned, and nothing else is there.",
)
_DISJOINT = Guard(name="clusters_disjoint", description="No record is in two clusters.")
_AGREES = Guard(
    name="agrees_with_truth",
    description="Adjusted Rand index against the known species is at least 0.5, where they are known.",
    blocking=False,
)


@step(
    "decompose/initial",
    after=("decompose/sequences", "decompose/parameters"),
    standing=standing("initial"),
    code_version=_CODE,
    guards=(_CONSERVED,),
    kinds=("fasta",),
    minutes="0.1 per 100 sequences",
)
def initial(data: DataSet, at: Working) -> Made:
    """Clusters grown from targets by the barcode gap.

    Each target gathers the sequences within `max_lump`, and keeps those before the widest gap. Clusters may
    still share records. Files: `initial.cluster_0001.fasta` and so on; a checkpoint after every few targets.
    """
    return _advance(data, at, "initial", restart=bool(at.changed))


@step(
    "decompose/deconflicted",
    after=("decompose/initial",),
    standing=standing("deconflicted"),
    code_version=_CODE,
    guards=(_CONSERVED, _DISJOINT),
    kinds=("fasta",),
)
def deconflicted(data: DataSet, at: Working) -> Made:
    """Every record in exactly one cluster.

    Clusters that share records are decomposed again together, whatever their size.
    """
    return _advance(data, at, "deconflicted")


@step(
    "decompose/refined",
    after=("decompose/deconflicted", "decompose/thresholds"),
    standing=standing("refined"),
    code_version=_CODE,
    guards=(_CONSERVED, _DISJOINT),
    kinds=("fasta",),
)
def refined(data: DataSet, at: Working) -> Made:
    """Clusters closer to each other than a threshold, looked at again together.

    One pass per threshold of the entry's `refine`, in its order; without any, one pass at `max_lump`.
    """
    return _advance(data, at, "refined")


@step(
    "decompose/final",
    after=("decompose/refined",),
    standing=standing("final"),
    code_version=_CODE,
    guards=(_CONSERVED, _DISJOINT, _AGREES),
    kinds=("fasta",),
)
def final(data: DataSet, at: Working) -> Made:
    """The result: clusters numbered by size, `cluster_001.fasta` the largest, and `unassigned.fasta`."""
    return _advance(data, at, "final")


def _advance(data: DataSet, at: Working, stage: str, *, restart: bool = False) -> Made:
    """Take one data set to a stage, and describe what came out."""
    from cytopipe.decompose import Decomposition

    entry = data.entry
    decomposition = Decomposition.adopt(
        data.folder,
        data.resolve(entry.input),
        entry.parameters,
        restart=restart,
        targets=data.resolve(entry.targets) if entry.targets else None,
        max_clusters=entry.max_clusters,
        max_sequences=entry.max_sequences,
        command=f"dagster run {at.run_id}",
    )
    result = decomposition.advance(
        stage,
        engine=at.engine,
        progress=at.progress,
        stop=at.stop,
        thresholds=entry.refine or None,
        checkpoint_interval=entry.checkpoint_interval,
        on_checkpoint=lambda checkpoint: at.checkpoint(
            checkpoint.reason,
            checkpoint.state.stages.initial_clustering.total_sequences_processed,
            checkpoint.state.input.total_sequences,
        ),
        command=f"dagster run {at.run_id}",
    )
    return described(data, decomposition, result)


def _sequences(project: Project, data: DataSet) -> str | None:
    return Digests(project.home).sha256(data.resolve(data.entry.input))


def _about_sequences(project: Project, data: DataSet) -> Mapping[str, object]:
    from cytopipe.storage.fasta import read_fasta

    path = data.resolve(data.entry.input)
    try:
        records = sum(1 for _ in read_fasta(path))
    except CytopipeError as error:
        return {"path": project.relative(path), "not_usable": str(error)}
    return {"n_records": records, "path": project.relative(path), "size_bytes": path.stat().st_size}


def _asset_of(path: PurePath) -> str | None:
    from cytopipe.decompose.layout import REPORT_FOLDER, owner, stage_named

    if path.parts[:1] == (REPORT_FOLDER,) and len(path.parts) > 1:
        return f"decompose/{stage_named(path.parts[1]).asset}"
    stage = owner(path.name) if len(path.parts) == 1 else None
    return f"decompose/{stage.asset}" if stage else None


DECOMPOSE = Chain(
    domain="decompose",
    partitions="decompose",
    description="DNA barcodes decomposed into species-like clusters by the barcode gap.",
    sources=(
        Source(
            asset="decompose/sequences",
            description="The FASTA file of a data set, as the project file names it; never written.",
            version=_sequences,
            describe=_about_sequences,
            kinds=("fasta",),
        ),
        Source(
            asset="decompose/parameters",
            description="How the project file says a data set is clustered: distances, percentile, neighbour "
            "search, targets, limits.",
            version=lambda project, data: versions(project, data)["decompose/parameters"],
            describe=lambda project, data: {"parameters": data.entry.parameters.as_json()},
            kinds=("yaml",),
        ),
        Source(
            asset="decompose/thresholds",
            description="What the project file says about the close-cluster refinement: its thresholds.",
            version=lambda project, data: versions(project, data)["decompose/thresholds"],
            describe=lambda project, data: {"refine": list(data.entry.refine)},
            kinds=("yaml",),
        ),
    ),
    steps=(initial, deconflicted, refined, final),
    partitions_per_run=50,
    asset_of=_asset_of,
)
