"""state.json: what a decomposition was asked, how far it is, and how it got there.

It holds metadata, parameters and file patterns, and never which record is in which cluster: that is in
the FASTA files alone. The typed models below are the format: reading checks every field and reports all
faults at once, and the JSON Schema in docs/formats is generated from them. Keys are written in the order
of the models, so that two runs that did the same differ in their times and history only.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cytopipe import __version__
from cytopipe.decompose.layout import DECONFLICTED, FINAL, INITIAL, REFINED, STAGES, Stage, stage_named
from cytopipe.decompose.parameters import BarcodeGap, Parameters
from cytopipe.errors import Finding, ResumeError
from cytopipe.provenance import Input, digest_of, sha256_bytes
from cytopipe.storage.state import format_json, parse_json

__all__ = [
    "NOT_DECLARED",
    "STATE_VERSION",
    "Command",
    "Requests",
    "State",
    "declared",
    "format_document",
    "now",
    "parse_document",
    "state_schema",
]

STATE_VERSION = "1.0"
NOT_DECLARED = sha256_bytes(b"")
"""The digest of a file that may be declared and is not."""

Count = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Distance = Annotated[float, Field(ge=0.0, le=1.0)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class InputFacts(_Model):
    """The file that was decomposed."""

    fasta_path: str = Field(description="Absolute path, or a file name inside the directory itself.")
    fasta_hash: Sha256 = Field(description="SHA-256 of the file.")
    total_sequences: Count = Field(description="Records in the file.")
    deduplicated_sequences: Count = Field(description="Distinct sequences among them.")


class TargetFacts(_Model):
    """The file of targets, in directed mode."""

    fasta_path: str
    fasta_hash: Sha256
    total_sequences: Count


class DistanceFacts(_Model):
    """The file of ready-made distances, where one is used instead of alignment."""

    path: str
    sha256: Sha256


class InitialEntry(_Model):
    """Stage initial_clustering."""

    completed: bool = Field(False, description="True when nothing is left that a target could be grown from.")
    total_iterations: Count = 0
    total_sequences_processed: Count = Field(0, description="Records that are in at least one cluster.")
    coverage_percentage: float = Field(0.0, ge=0, le=100)
    total_clusters: Count = 0
    max_clusters_limit: int | None = Field(None, ge=1)
    max_sequences_limit: int | None = Field(None, ge=1)
    finder: str = Field(
        "", description="Who found similar sequences: blast, kmer, exhaustive, given distances."
    )
    barcode_gap: BarcodeGap | None = Field(
        None, description="Where the set was found to be cut, unless max_lump says so."
    )
    cluster_file_pattern: str = INITIAL.cluster_file_pattern
    unassigned_file: str = INITIAL.unassigned_file
    files_digest: str = Field("", description="Digest over names and bytes of the stage's files.")
    edited_by_hand: bool = Field(False, description="True once a hand edit of its files was taken over.")


class ConflictEntry(_Model):
    """Stage conflict_resolution."""

    completed: bool = False
    conflicts_before: Count = 0
    conflicts_after: Count = 0
    clusters_before: Count = 0
    clusters_after: Count = 0
    cluster_file_pattern: str = DECONFLICTED.cluster_file_pattern
    unassigned_file: str = DECONFLICTED.unassigned_file
    source_digest: str = Field("", description="files_digest of the stage it was made from.")
    files_digest: str = ""
    edited_by_hand: bool = False


class Refinement(_Model):
    """One close-cluster refinement."""

    threshold: Distance
    timestamp: str
    clusters_before: Count = 0
    clusters_after: Count = 0


class RefinementEntry(_Model):
    """Stage close_cluster_refinement."""

    completed: bool = False
    threshold: Distance | None = Field(None, description="The threshold of the last refinement.")
    clusters_before: Count = 0
    clusters_after: Count = 0
    cluster_file_pattern: str = REFINED.cluster_file_pattern
    unassigned_file: str = REFINED.unassigned_file
    refinement_history: list[Refinement] = []
    source_digest: str = Field("", description="files_digest of the stage the first refinement read.")
    files_digest: str = ""
    edited_by_hand: bool = False


class FinalEntry(_Model):
    """Stage finalized."""

    completed: bool = False
    clusters: Count = 0
    cluster_file_pattern: str = FINAL.cluster_file_pattern
    unassigned_file: str = FINAL.unassigned_file
    source_stage: str = ""
    source_digest: str = ""
    cleaned: bool = Field(False, description="True once --cleanup has removed the stages it was made from.")
    files_digest: str = ""
    edited_by_hand: bool = False


class StageEntries(_Model):
    """One entry per stage."""

    initial_clustering: InitialEntry = Field(default_factory=InitialEntry)
    conflict_resolution: ConflictEntry = Field(default_factory=ConflictEntry)
    close_cluster_refinement: RefinementEntry = Field(default_factory=RefinementEntry)
    finalized: FinalEntry = Field(default_factory=FinalEntry)


class Requests(_Model):
    """What was asked for, so that an interrupted run is continued to the end it was given."""

    resolve_conflicts: bool = False
    refine_close_clusters: list[Distance] = Field(
        [], description="Thresholds in the order they are applied; those beyond refinement_history wait."
    )
    finalize: bool = False
    cleanup: bool = False
    checkpoint_interval: int = Field(5, ge=1)
    keep_blast_db: bool = True


class Command(_Model):
    """One command that worked on this directory."""

    command: str
    timestamp: str


class Metadata(_Model):
    """Who worked on this directory, when, with what."""

    command_history: list[Command] = []
    start_time: str
    last_checkpoint: str
    version: str = __version__
    provenance: dict[str, Any] = Field({}, description="Inputs, parameters and library versions.")


class State(_Model):
    """The document state.json."""

    version: Literal["1.0"] = STATE_VERSION
    status: Literal["in_progress", "completed"] = "in_progress"
    stage: Literal["initial_clustering", "conflict_resolution", "close_cluster_refinement", "finalized"] = (
        "initial_clustering"
    )
    input: InputFacts
    targets: TargetFacts | None = None
    distances: DistanceFacts | None = None
    parameters: Parameters
    requests: Requests = Field(default_factory=Requests)
    stages: StageEntries = Field(default_factory=StageEntries)
    metadata: Metadata

    @property
    def companions(self) -> dict[str, tuple[str, str]]:
        """Path and digest of the files beside the input, ("", "") where there is none."""
        targets, distances = self.targets, self.distances
        return {
            "targets": (targets.fasta_path, targets.fasta_hash) if targets else ("", ""),
            "distances": (distances.path, distances.sha256) if distances else ("", ""),
        }

    def entry(self, stage: Stage) -> InitialEntry | ConflictEntry | RefinementEntry | FinalEntry:
        return getattr(self.stages, stage.name)

    @property
    def gap(self) -> BarcodeGap | None:
        """Where the set was found to be cut; None where parameters say so, or nobody has looked."""
        return self.stages.initial_clustering.barcode_gap if self.parameters.asks_the_set else None

    @property
    def newest(self) -> Stage:
        """The stage whose files are the newest."""
        return stage_named(self.stage)

    def as_of(self, stage: Stage) -> State:
        """A copy in which `stage` is the newest and nothing is known of later ones."""
        state = self.model_copy(deep=True)
        for one in STAGES:
            if one.order > stage.order:
                setattr(state.stages, one.name, type(state.entry(one))())
        state.stage, state.status = stage.name, "in_progress"
        return state

    def with_later(self, later: State) -> State:
        """A copy that knows of later stages what `later` does, if they were made from these very files."""
        state = self.model_copy(deep=True)
        for stage in STAGES[self.newest.order + 1 :]:
            entry, source = later.entry(stage), later.source_of(stage)
            if entry.files_digest and entry.source_digest == state.entry(source).files_digest:
                setattr(state.stages, stage.name, entry)
                state.stage = stage.name
                state.status = "completed" if stage is FINAL else state.status
        return state

    def source_of(self, stage: Stage) -> Stage:
        """The stage that a later one was made from."""
        if stage is FINAL and self.stages.finalized.source_stage:
            return stage_named(self.stages.finalized.source_stage)
        return STAGES[stage.order - 1]

    def made_from(self, stage: Stage) -> tuple[Input, ...]:
        """The inputs of a stage by their digests, under the names of the project's assets."""
        inputs = [
            Input(path=self.input.fasta_path, sha256=self.input.fasta_hash, asset="decompose/sequences")
        ]
        if stage is not FINAL:
            inputs.append(self._parameters)
        if stage is INITIAL:
            path, digest = self.companions["targets"]
            inputs.append(Input(path=path, sha256=digest or NOT_DECLARED, asset="decompose/targets"))
            if self.distances is not None:
                inputs.append(Input(path=self.distances.path, sha256=self.distances.sha256))
            return tuple(inputs)
        if stage is REFINED:
            history = self.stages.close_cluster_refinement.refinement_history
            thresholds = digest_of({"refine": [one.threshold for one in history]})
            inputs.append(Input(path="", sha256=thresholds, asset="decompose/thresholds"))
        source = f"decompose/{self.source_of(stage).asset}"
        return (*inputs, Input(path="", sha256=self.entry(stage).source_digest, asset=source))

    @property
    def _parameters(self) -> Input:
        limits = self.stages.initial_clustering
        values = declared(self.parameters, limits.max_clusters_limit, limits.max_sequences_limit)
        return Input(path="", sha256=digest_of(values), asset="decompose/parameters")

    def report_made_from(self, stage: Stage, truth: str) -> tuple[Input, ...]:
        """The inputs of the report of a stage; `truth` is the digest of the known clusters, if any."""
        return (
            Input(path=self.input.fasta_path, sha256=self.input.fasta_hash, asset="decompose/sequences"),
            self._parameters,
            Input(path="", sha256=self.entry(stage).files_digest, asset=f"decompose/{stage.asset}"),
            Input(path="", sha256=truth or NOT_DECLARED, asset="decompose/truth"),
        )

    def stages_with_files(self) -> list[Stage]:
        """The stages that have files now, in order."""
        return [
            stage for stage in STAGES if self.entry(stage).files_digest and stage.order <= self.newest.order
        ]


def declared(
    parameters: Parameters, max_clusters: int | None = None, max_sequences: int | None = None
) -> dict[str, object]:
    """What is declared of a decomposition, as JSON values: parameters, and limits of the first stage."""
    return {**parameters.as_json(), "max_clusters": max_clusters, "max_sequences": max_sequences}


def now() -> str:
    """This moment, UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def format_document(state: State) -> bytes:
    """The bytes of state.json: two-space indents, keys in the order of the models, a final newline."""
    return format_json(state.model_dump(mode="json"))


def parse_document(data: bytes, *, where: str) -> State:
    """Read state.json.

    Raises
    ------
    ResumeError
        If it is no JSON, of another version, or has fields that are missing, unknown or wrong; all of
        them are listed.
    """
    document = parse_json(data, where=where)
    if isinstance(document, dict) and document.get("version") != STATE_VERSION:
        raise ResumeError(
            "the state was written in a format this version cannot continue",
            where=where,
            expected=f"version {STATE_VERSION!r}",
            found=repr(document.get("version")),
            next="Use the cytopipe it was made with, or `cytopipe decompose rebuild` with this one.",
        )
    try:
        return State.model_validate_json(json.dumps(document))
    except ValidationError as error:
        raise ResumeError(_finding(fault, where) for fault in error.errors()) from error


def state_schema() -> dict[str, Any]:
    """The JSON Schema of state.json (draft 2020-12), generated from the models above."""
    schema = State.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _finding(fault: Any, where: str) -> Finding:
    field = ".".join(str(part) for part in fault["loc"]) or "document"
    found = repr(fault["input"])
    return Finding(
        what=f"{field}: {fault['msg'][:1].lower()}{fault['msg'][1:]}",
        where=where,
        found=found if len(found) <= 80 else f"{found[:77]}...",
    )
