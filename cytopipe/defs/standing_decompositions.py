"""What a decompose directory says of itself: what it was made from, and what stands in it, vouched for.

Read from ``state.json`` and the manifests of the stages, never from names alone, and without running
anything. A directory written by `cytopipe decompose` is read the same as one made by a run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.defs.steps import Checked, Made
from cytopipe.errors import CytopipeError, DamagedError
from cytopipe.project import DataSet, Project
from cytopipe.project.digests import Digests
from cytopipe.provenance import sha256_bytes

if TYPE_CHECKING:
    from cytopipe.decompose import Decomposition, StageResult
    from cytopipe.decompose.layout import Stage
    from cytopipe.decompose.state import State

__all__ = ["described", "made_from", "standing", "versions"]

_AGREEMENT_WANTED = 0.5
_SAID_ALREADY = ("records", "clusters", "clustered_records", "unassigned_records")


def versions(project: Project, data: DataSet) -> dict[str, str]:
    """Digests of what the project file declares of a data set."""
    entry = data.entry
    targets = Digests(project.home).sha256(data.resolve(entry.targets)) if entry.targets else None
    return {
        "decompose/parameters": _parameters(
            entry.parameters.as_json(), targets or "", entry.max_clusters, entry.max_sequences
        ),
        "decompose/thresholds": _digest(list(entry.refine) or [entry.max_lump]),
    }


def made_from(state: State, stage: str) -> dict[str, str]:
    """Digests of the sources that a stage in this directory was made from, in the terms of `versions`."""
    if stage == "initial":
        limits = state.stages.initial_clustering
        return {
            "decompose/sequences": state.input.fasta_hash,
            "decompose/parameters": _parameters(
                state.parameters.as_json(),
                state.targets.fasta_hash if state.targets else "",
                limits.max_clusters_limit,
                limits.max_sequences_limit,
            ),
        }
    if stage == "refined":
        history = state.stages.close_cluster_refinement.refinement_history
        return {"decompose/thresholds": _digest([one.threshold for one in history])}
    return {}


def standing(stage: str) -> Callable[[DataSet], Made | None]:
    """A function that says what stands of a stage in the directory of a data set.

    It gives None where the stage is not finished, and raises `DamagedError` where its files hold damage that
    is no edit. Directories are looked at again only when something in them changed.
    """
    seen: dict[Path, tuple[object, Made | CytopipeError | None]] = {}

    def look(data: DataSet) -> Made | None:
        signature = _signature(data.folder)
        known = seen.get(data.folder)
        if known is None or known[0] != signature:
            try:
                found: Made | CytopipeError | None = _standing(data.folder, stage)
            except CytopipeError as error:
                found = error
            # Reading may have rolled a dead writer's journal forward, so the directory is looked at again.
            known = seen[data.folder] = (_signature(data.folder), found)
        if isinstance(known[1], CytopipeError):
            raise known[1]
        return known[1]

    return look


def described(data: DataSet, decomposition: Decomposition, result: StageResult) -> Made:
    """A stage's result as the asset's value, its invariants evaluated."""
    stage = result.stage
    size = sum((result.directory / name).stat().st_size for name in result.files)
    metrics = {name: value for name, value in result.metrics.items() if name not in _SAID_ALREADY}
    checks, notes = list(_invariants(decomposition, stage)), {}
    if stage == "final" and data.entry.truth:
        checked, notes = _agreement(data, decomposition)
        checks.append(checked)
    return Made(
        path=result.directory,
        sha256=result.sha256,
        size_bytes=size,
        counts={
            "n_clusters": result.n_clusters,
            "n_records": result.n_records,
            "n_unassigned": result.n_unassigned,
            **{name: value for name, value in metrics.items() if not isinstance(value, str)},
        },
        parameters={
            **decomposition.state.parameters.as_json(),
            "refine": [
                one.threshold
                for one in decomposition.state.stages.close_cluster_refinement.refinement_history
            ],
        },
        notes={
            **{name: value for name, value in metrics.items() if isinstance(value, str)},
            **notes,
            "n_files": len(result.files),
        },
        tables=result.tables,
        picture=_picture(result.figures),
        checks=tuple(checks),
        reused=result.resumed,
        made_from=made_from(decomposition.state, stage),
    )


def _standing(folder: Path, stage: str) -> Made | None:
    from cytopipe.decompose.layout import stage_named
    from cytopipe.decompose.partition import digest_of_files
    from cytopipe.decompose.state import parse_document
    from cytopipe.storage import Store

    document = folder / "state.json"
    if not document.is_file():
        return None
    found = Store(folder).classify_set(folder, stage)  # rolls a journal forward before anything is read
    state = parse_document(document.read_bytes(), where=str(document))
    wanted = stage_named(stage)
    entry = state.entry(wanted)
    if wanted not in state.stages_with_files() or not (entry.completed or _limited(state, stage)):
        return None
    if found.kind == "absent":
        return None
    if found.kind == "damaged":
        raise DamagedError(found.findings)
    sha256 = entry.files_digest if found.kind == "whole" else digest_of_files(found.contents)
    files = [one for one in found.files if one.kind != "removed"]
    return Made(
        path=folder,
        sha256=sha256,
        size_bytes=sum((folder / one.name).stat().st_size for one in files),
        counts=_counted(wanted, found.contents),
        parameters=state.parameters.as_json(),
        notes={"edited": _edits(found.differing)} if found.differing else {},
        made_from=made_from(state, stage),
        reused=True,
    )


def _counted(stage: Stage, contents: Mapping[str, bytes]) -> dict[str, int]:
    """What a stage's files hold, counted by their header lines."""
    records = {name: data.count(b"\n>") + data.startswith(b">") for name, data in contents.items()}
    clusters = [name for name in records if stage.is_cluster(name)]
    return {
        "n_clusters": len(clusters),
        "n_records": sum(records[name] for name in clusters),
        "n_unassigned": records.get(stage.unassigned_file, 0),
    }


def _limited(state: State, stage: str) -> bool:
    """Whether the initial clustering stopped where it was told to."""
    entry = state.stages.initial_clustering
    reached = (entry.max_clusters_limit or 0) and entry.total_clusters >= (entry.max_clusters_limit or 0)
    full = (entry.max_sequences_limit or 0) and entry.total_sequences_processed >= (
        entry.max_sequences_limit or 0
    )
    return stage == "initial" and bool(reached or full)


def _signature(folder: Path) -> object:
    """Names, sizes and times of the files in a directory: what changes when anything in it is written."""
    try:
        with os.scandir(folder) as found:
            return sorted(
                (one.name, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)
                for one in found
                if one.is_file(follow_symlinks=False) and (facts := one.stat(follow_symlinks=False))
            )
    except OSError:
        return None


def _edits(files: Sequence) -> str:
    lines = []
    for one in files:
        moved = [f"+ {name}" for name in one.added] + [f"- {name}" for name in one.removed]
        moved += [f"~ {name}" for name in one.changed]
        lines.append(f"{one.name} ({one.kind})" + "".join(f"\n    {line}" for line in moved[:20]))
    return "\n".join(lines[:50])


def _invariants(decomposition: Decomposition, stage: str) -> Iterator[Checked]:
    from cytopipe.decompose.partition import conservation_findings

    if decomposition.partition.stage.asset != stage:
        return  # a later stage stands already: its own invariants imply these
    findings = conservation_findings(decomposition.partition, decomposition.records)
    yield Checked(
        name="records_conserved",
        passed=not findings,
        description="; ".join(str(one) for one in findings[:10]) or f"{len(decomposition.records)} records",
        metadata={"n_records": len(decomposition.records)},
    )
    if stage != "initial":
        shared = sorted(decomposition.partition.conflicts)
        yield Checked(
            name="clusters_disjoint",
            passed=not shared,
            description=f"{len(shared)} records in several clusters"
            if shared
            else "no record is in two clusters",
        )


def _agreement(data: DataSet, decomposition: Decomposition) -> tuple[Checked, dict[str, object]]:
    """The final clusters against the known species."""
    from cytopipe.decompose.compare import compare, read_assignment

    truth = read_assignment(data.resolve(data.entry.truth))
    clusters = decomposition.partition.clusters
    found = {record: name for name, records in clusters.items() for record in records}
    agreement = compare(found, truth)
    index = agreement.adjusted_rand_index
    return (
        Checked(
            name="agrees_with_truth",
            passed=index >= _AGREEMENT_WANTED,
            description=f"adjusted Rand index {index:.3f} over {agreement.records} records",
            metadata={"adjusted_rand_index": index},
        ),
        {
            "adjusted_rand_index": round(index, 4),
            "homogeneity": round(agreement.homogeneity, 4),
            "completeness": round(agreement.completeness, 4),
            "n_species": agreement.reference_clusters,
        },
    )


def _picture(figures: Mapping[str, Path]) -> Path | None:
    """The histogram of distances within and between clusters: the barcode gap as people know it."""
    return figures.get("histogram") or next(iter(figures.values()), None)


def _parameters(
    parameters: Mapping[str, object], targets: str, max_clusters: int | None, max_sequences: int | None
) -> str:
    return _digest([dict(parameters), targets, max_clusters, max_sequences])


def _digest(value: object) -> str:
    return sha256_bytes(json.dumps(value, sort_keys=True, allow_nan=False).encode())
