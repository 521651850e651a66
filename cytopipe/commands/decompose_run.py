"""What ``cytopipe decompose`` does with its options: it begins or continues a run, or says what it would do.

Left to itself a run makes what is most useful: initial clusters, conflicts resolved, close clusters refined
once. Asking for particular steps gives exactly those; a limit gives the initial clusters only, to look at
first. What was asked is written into the state before work begins, so that an interrupted run is continued to
the end it was given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from cytopipe.commands.options import said
from cytopipe.commands.paths import absolute, paste
from cytopipe.commands.progress import open_display
from cytopipe.commands.words import counted
from cytopipe.decompose.checkpoints import describe as describe_checkpoints
from cytopipe.decompose.directory import preconditions
from cytopipe.decompose.directory.decomposition import Decomposition, StageResult
from cytopipe.decompose.directory.folder import Folder
from cytopipe.decompose.layout import (
    DECONFLICTED,
    DEFAULT_DIRECTORY,
    FINAL,
    INITIAL,
    REFINED,
    REPORT_FOLDER,
    SET_ASIDE_FOLDER,
    Stage,
)
from cytopipe.decompose.parameters import Parameters
from cytopipe.decompose.stages import default_thresholds
from cytopipe.decompose.state import Requests
from cytopipe.decompose.workspace import SequenceFile
from cytopipe.engine import open_engine
from cytopipe.errors import Finding, InputError, ParameterError, ResumeError
from cytopipe.interrupts import stop_on_signals

__all__ = ["Session", "describe", "describe_edits", "describe_points", "summary"]


class Session:
    """One run of the command.

    Parameters
    ----------
    given : mapping
        The options by name, None where one was not given.
    command : str
        The command line, for the history.
    """

    def __init__(self, given: Mapping[str, Any], command: str) -> None:
        self._given = dict(given)
        self._parameters = said(Parameters, self._given)
        self._command = command
        self._check()
        self.directory: Path = given["resume"] or given["output"] or absolute(Path(DEFAULT_DIRECTORY))

    def run(self) -> int:
        """Do what was asked; returns the exit code."""
        given = self._given
        if given["truth"] is not None:
            self._check_truth(given["truth"])
        if given["dry_run"]:
            for line in self._plan():
                click.echo(line)
            return 0
        with (
            open_engine(given["engine"]) as engine,  # before anything is written: it may not be there
            open_display(quiet=given["quiet"]) as progress,
            stop_on_signals(progress.say) as stop,
        ):
            others = other_files(self.directory)
            found = self._open()
            for message in (*others, *found.messages):
                progress.say(message)
            requests = found.state.requests
            result = found.advance(
                _last(requests).asset,
                engine=engine,
                progress=progress.step,
                stop=stop,
                max_clusters=given["max_clusters"],
                max_sequences=given["max_sequences"],
                report=not given["no_report"],
                truth=given["truth"],
            )
        if not requests.keep_blast_db:
            found.folder.remove_caches(distances=False)
        if not given["quiet"]:
            click.echo(summary(found, result))
        return 0

    # ------------------------------------------------------------------ what was asked

    def _check(self) -> None:
        """Options that contradict each other, all of them."""
        given, findings = self._given, list(self._given["faults"])
        if given["fasta"] is None and given["resume"] is None:
            findings.append(
                Finding(
                    what="there is nothing to decompose",
                    expected="INPUT.fasta, or --resume DIR",
                    next="See cytopipe decompose --help.",
                )
            )
        if given["resume"] is not None and given["output"] is not None and given["output"] != given["resume"]:
            findings.append(
                Finding(
                    what="--resume and --output name different directories",
                    expected="one of them",
                    found=f"{given['resume']} and {given['output']}",
                )
            )
        if given["force_input_change"] and given["resume"] is None:
            findings.append(Finding(what="--force-input-change needs --resume DIR"))
        if given["cleanup"] and not given["finalize"] and given["resume"] is None:
            findings.append(Finding(what="--cleanup needs --finalize", next="Add --finalize."))
        if findings:
            raise ParameterError(findings)

    def _check_truth(self, truth: Path) -> None:
        """Refuse a table of known clusters that cannot be used, before any work instead of after it."""
        from cytopipe.decompose.compare import read_assignment

        known = read_assignment(truth)
        fasta = self._given["fasta"]
        if fasta is not None and not known.keys() & SequenceFile.read(fasta).records.keys():
            raise InputError(
                "names no record of the input",
                where=str(truth),
                expected=f"record ids of {fasta}",
                found=", ".join(list(known)[:3]),
            )

    def _requests(self, before: Requests | None) -> Requests:
        """What is to be done: of a new run, by what was asked; of a resumed one, in addition to before."""
        given = self._given
        asked = Requests(
            resolve_conflicts=given["resolve_conflicts"] or bool(given["refine"]),
            refine_close_clusters=list(given["refine"]),
            finalize=given["finalize"],
            cleanup=given["cleanup"],
            checkpoint_interval=given["checkpoint_interval"] or (before.checkpoint_interval if before else 5),
            keep_blast_db=(before.keep_blast_db if before else True)
            if given["keep_blast_db"] is None
            else given["keep_blast_db"],
        )
        if before is not None:
            return asked.model_copy(
                update={
                    "resolve_conflicts": asked.resolve_conflicts
                    or before.resolve_conflicts
                    or asked.finalize,
                    "refine_close_clusters": before.refine_close_clusters + asked.refine_close_clusters,
                    "finalize": asked.finalize or before.finalize,
                    "cleanup": asked.cleanup or before.cleanup,
                }
            )
        limited = bool(given["max_clusters"] or given["max_sequences"])
        if (
            not asked.resolve_conflicts
            and not self._parameters.get("parity")
            and (asked.finalize or not limited)
        ):
            asked.resolve_conflicts = True
            asked.refine_close_clusters = list(default_thresholds(Parameters(**self._parameters)))
        asked.resolve_conflicts |= asked.finalize
        return asked

    # ------------------------------------------------------------------ the directory

    def _open(self) -> Decomposition:
        given = self._given
        if given["resume"] is None:
            return Decomposition.adopt(
                self.directory,
                given["fasta"],
                Parameters(**self._parameters),
                targets=given["targets"],
                distances=given["distances"],
                max_clusters=given["max_clusters"] or None,
                max_sequences=given["max_sequences"] or None,
                requests=self._requests(None),
                accept_missing=given["accept_missing"],
                command=self._command,
            )
        found = self._resumed()
        self._refuse_other_companions(found)
        self._refuse_idle_parameters(found)
        if given["force_input_change"]:
            found.folder.remove_caches(distances=False)
        found.prepare(requests=self._requests(found.state.requests), command=self._command)
        return found

    def _resumed(self) -> Decomposition:
        return Decomposition.open(
            self.directory,
            fasta=self._given["fasta"],
            parameters=self._parameters,
            accept_missing=self._given["accept_missing"],
            force_input_change=self._given["force_input_change"],
        )

    def _refuse_idle_parameters(self, found: Decomposition) -> None:
        """Refuse another parameter where nothing is left to be made with it."""
        stored = Folder(self.directory).read_state()[0].parameters
        changed = {name: value for name, value in self._parameters.items() if getattr(stored, name) != value}
        if not changed or any(_steps(self._requests(found.state.requests), self._given, found)):
            return
        raise ParameterError(
            Finding(
                what="nothing is left to be made with another value",
                where=f"--{name.replace('_', '-')}",
                expected=f"{getattr(stored, name)!r}, with which it was made",
                found=repr(value),
                next=f"Go back first: cytopipe decompose rollback {paste(self.directory)} --to initial",
            )
            for name, value in changed.items()
        )

    def _refuse_other_companions(self, found: Decomposition) -> None:
        """Targets and distances are chosen when a decomposition begins."""
        from cytopipe.provenance import sha256_file

        findings = []
        for name, (_, had) in found.state.companions.items():
            path = self._given[name]
            if path is not None and (not path.is_file() or sha256_file(path) != had):
                findings.append(
                    Finding(
                        what=f"--{name} may not change on resume",
                        where=str(path),
                        expected="the file it began with" if had else "none, as it began without",
                        next="Leave the option out, or start again in another directory.",
                    )
                )
        if findings:
            raise ResumeError(findings)

    # ------------------------------------------------------------------ dry run

    def _plan(self) -> Iterator[str]:
        from cytopipe.decompose.distance import projected_bytes

        given = self._given
        if given["resume"] is None and not preconditions.is_begun(self.directory):
            preconditions.refuse_occupied(self.directory)
            source = SequenceFile.read(given["fasta"])
            parameters = Parameters(**self._parameters)
            requests, begun = self._requests(None), None
        else:
            found = self._resumed()
            source, parameters = SequenceFile(Path(), "", found.records), found.state.parameters
            requests = self._requests(found.state.requests if given["resume"] else None)
            begun = found
        sequences = source.unique()
        mean_bp = sum(map(len, sequences.sequences)) / len(sequences)
        yield f"input      {len(source.records)} records, {len(sequences)} unique, mean {mean_bp:.0f} bp"
        yield from other_files(self.directory) if begun is None else ()
        yield f"directory  {self.directory}" + (
            f" (stage {begun.partition.stage.asset}: {begun.partition.n_clusters} clusters)"
            if begun
            else " (new)"
        )
        shown = ", ".join(
            f"{name} {value}" for name, value in parameters.as_json().items() if value is not None
        )
        yield f"parameters {shown}"
        yield from (f"step       {step}" for step in _steps(requests, given, begun))
        needed = projected_bytes(len(sequences), mean_length_bp=mean_bp)
        yield f"memory     about {needed / 2**20:.0f} MiB"


def _steps(requests: Requests, given: Mapping[str, Any], begun: Decomposition | None) -> Iterator[str]:
    """The steps that are still to be made, in words."""
    entries = begun.state.stages if begun else None
    limits = [
        f"{given[name]} {what}"
        for name, what in (("max_clusters", "clusters"), ("max_sequences", "records"))
        if given[name]
    ]
    until = f", until {' or '.join(limits)} exist" if limits else ""
    if entries is None or not entries.initial_clustering.completed:
        yield f"initial clustering{until}"
    if requests.resolve_conflicts and not (entries and entries.conflict_resolution.completed):
        yield "conflict resolution"
    made = len(entries.close_cluster_refinement.refinement_history) if entries else 0
    for threshold in requests.refine_close_clusters[made:]:
        yield f"refinement of clusters within {threshold:g}"
    if requests.finalize and not (entries and entries.finalized.completed):
        yield "finalize" + (" and clean up" if requests.cleanup else "")


def _last(requests: Requests) -> Stage:
    if requests.finalize:
        return FINAL
    if requests.refine_close_clusters:
        return REFINED
    return DECONFLICTED if requests.resolve_conflicts else INITIAL


# ---------------------------------------------------------------------- telling


def other_files(directory: Path) -> list[str]:
    """A sentence about what lies already in a directory that is no decomposition yet."""
    if not directory.is_dir() or preconditions.is_begun(directory):
        return []
    names = sorted(path.name for path in directory.iterdir() if not path.name.startswith("."))
    if not names:
        return []
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return [f"{directory} holds {counted(len(names), 'other file')} ({shown}): they stay beside the result"]


def set_aside_in(directory: Path) -> list[Path]:
    """Files that `restore` has moved out of the way, oldest first."""
    return sorted(path for path in (directory / SET_ASIDE_FOLDER).rglob("*") if path.is_file())


def summary(found: Decomposition, result: StageResult | None = None) -> str:
    """What a person wants to know at the end: how many clusters, where, and what can be done next."""
    partition, directory = found.partition, found.directory
    lines = [
        f"{partition.stage.asset}: {partition.n_clusters} clusters of {partition.n_clustered} records, "
        f"{len(partition.unassigned)} unassigned"
        + (f", {len(partition.conflicts)} in several clusters" if partition.conflicts else "")
        + (f", {len(partition.deleted)} deleted by hand" if partition.deleted else "")
        + (" (nothing was left to do)" if result is not None and result.resumed else "")
    ]
    lines.append(f"files:  {directory / partition.stage.cluster_file_pattern}")
    if result is not None and result.tables:
        lines.append(f"report: {directory / REPORT_FOLDER / partition.stage.asset}")
    if result is not None and "adjusted_rand_index" in result.metrics:
        lines.append(f"agreement with the names given: ARI {result.metrics['adjusted_rand_index']:.4f}")
    entry = found.state.stages.initial_clustering
    if not entry.completed:
        lines.append(
            f"the initial clustering is unfinished ({entry.coverage_percentage:.1f}% of the records): "
            f"cytopipe decompose --resume {paste(directory)} --max-clusters N (0: no limit)"
        )
    elif partition.stage is not FINAL:
        lines.append(f"next:   cytopipe decompose --resume {paste(directory)} --finalize")
    return "\n".join(lines)


def describe(directory: Path) -> Iterator[str]:
    """The lines of ``cytopipe decompose status``."""
    found = Decomposition.inspect(directory)
    state = found.state
    yield f"directory  {found.directory}"
    yield f"status     {state.status}, stage {found.partition.stage.asset}"
    yield f"input      {state.input.fasta_path} ({state.input.total_sequences} records)"
    initial = state.stages.initial_clustering
    yield (
        f"initial    {initial.total_clusters} clusters, {initial.coverage_percentage:.1f}% of the records"
        + ("" if initial.completed else ", unfinished")
    )
    conflicts = state.stages.conflict_resolution
    if conflicts.completed:
        yield f"conflicts  {conflicts.conflicts_before} resolved, {conflicts.clusters_after} clusters"
    for one in state.stages.close_cluster_refinement.refinement_history:
        known = f"{one.clusters_before} -> {one.clusters_after} clusters"
        numbers = known if one.clusters_after else "numbers are not known"
        yield f"refined    within {one.threshold:g}: {numbers}"
    if state.stages.finalized.completed:
        yield f"final      {state.stages.finalized.clusters} clusters"
    if process := found.folder.worker():
        yield f"at work    process {process}: numbers are those of its last checkpoint"
    else:
        yield f"by hand    {found.edits.verdict}"
        for line in list(_edits(found))[1:]:
            yield f"           {line.strip()}"
    for message in found.messages:
        yield f"note       {message}"
    yield f"checkpoint {state.metadata.last_checkpoint}"
    for line in describe_points(directory):
        yield f"point      {line}"


def describe_edits(directory: Path) -> Iterator[str]:
    """The lines of ``cytopipe decompose edits``."""
    yield from _edits(Decomposition.inspect(directory))


def _edits(found: Decomposition) -> Iterator[str]:
    """What was edited in the newest stage; of earlier ones, what was edited and what follows from it."""
    yield from found.edits.lines()
    newest = found.partition.stage
    for stage in found.state.stages_with_files()[:-1]:
        edits = found.folder.read(stage, found.records)
        if edits.verdict == "whole":
            continue
        yield from edits.lines()
        yield (
            f"  {newest.asset} was made before that: `cytopipe decompose --resume {paste(found.directory)}` "
            "makes what follows again from the edited files"
            if edits.verdict == "edited" and not found.state.stages.finalized.cleaned
            else f"  {newest.asset} was made before that and is not touched by it"
        )


def describe_points(directory: Path) -> Iterator[str]:
    """One line per point that can be gone back to."""
    preconditions.refuse_absent(directory)
    yield from describe_checkpoints(Folder(directory).checkpoints.points())
