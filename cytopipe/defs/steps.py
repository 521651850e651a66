"""What a domain's file in this room is written with: sources, steps, gatherings, and what a step made.

A `Source` is something we observe and never make: a user's file, the entry in the project file. A `Step`
makes one partition of one asset from partitions of other assets: those of the same key, or of the data set
of which this is a part. A `Gathering` has no partitions and is made from those of many data sets. All are
values; `cytopipe.defs.chain` turns steps into assets. A step's function is the thin part: fetch, call the
domain, describe. Its docstring is what the asset says of itself in the browser.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.errors import CytopipeError
from cytopipe.project import DataSet, Project
from cytopipe.provenance import Input

if TYPE_CHECKING:
    from cytopipe.engine import Engine

__all__ = ["Checked", "Gathering", "Guard", "Made", "Source", "Step", "Working", "step"]


@dataclass(frozen=True, kw_only=True)
class Checked:
    """The outcome of one invariant: `name` is that of the step's :class:`Guard`."""

    name: str
    passed: bool
    description: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Guard:
    """An invariant a step must keep; a `blocking` one that fails leaves the partition unmade."""

    name: str
    description: str
    blocking: bool = True


@dataclass(frozen=True, kw_only=True)
class Made:
    """One partition of one asset, as it lies on disk.

    Parameters
    ----------
    path : Path
        The file, or the folder that holds it.
    sha256 : str
        Digest of its content, independent of when it was made: the asset's data version.
    size_bytes : int
        Size of the artifact.
    counts : mapping of str to number
        What there is to count, by the field's names: ``n_clusters``.
    parameters : mapping of str to JSON value
        What decided the bytes.
    notes : mapping of str to text, number, bool, or JSON value
        Anything else worth showing.
    tables : mapping of str to Path
        Tables and other files beside the artifact; shown under the names of their files.
    picture : Path, optional
        A PNG or SVG, where people would rather look than read.
    checks : tuple of Checked
        The step's invariants, evaluated.
    reused : bool
        Whether it was there already and only had to be vouched for.
    made_from : mapping of asset to digest
        The versions of inputs it was really made from, where the artifact itself says so; they outrank what
        history believed when the work began.
    """

    path: Path
    sha256: str
    size_bytes: int
    counts: Mapping[str, int | float] = field(default_factory=dict)
    parameters: Mapping[str, object] = field(default_factory=dict)
    notes: Mapping[str, object] = field(default_factory=dict)
    tables: Mapping[str, Path] = field(default_factory=dict)
    picture: Path | None = None
    checks: tuple[Checked, ...] = ()
    reused: bool = False
    made_from: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Working:
    """What a step may use while it works.

    Parameters
    ----------
    project : Project
        The project, as it was read when the run began.
    engine : Engine
        Where heavy work runs.
    inputs : tuple of Input
        What the partition is made from: assets, partitions and digests, for its provenance.
    run_id : str
        The Dagster run.
    progress : callable
        ``progress(what, done, total)``: shown as a bar to whoever watches.
    checkpoint : callable
        ``checkpoint(what, done, total)`` after work was saved: an event in the history.
    stop : callable
        Whether a stop was asked for: finish the iteration, save, raise `Interrupted`.
    changed : tuple of str
        Why the partition is not up to date; empty if history says it is.
    """

    project: Project
    engine: Engine
    inputs: tuple[Input, ...]
    run_id: str
    progress: Callable[[str, int, int], None]
    checkpoint: Callable[[str, int, int], None]
    stop: Callable[[], bool]
    changed: tuple[str, ...] = ()


Batch = Callable[[Sequence[tuple[DataSet, Working]]], Iterator[tuple[str, "Made | CytopipeError"]]]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Something a domain's assets begin with and that we only observe.

    Parameters
    ----------
    asset : str
        ``domain/name``.
    description : str
        What it is, for the browser.
    version : callable
        Digest of its present content for a data set; None where there is nothing to read.
    describe : callable
        What to show of it: text, numbers, JSON values.
    kinds : tuple of str
        Badges in the browser.
    """

    asset: str
    description: str
    version: Callable[[Project, DataSet], str | None]
    describe: Callable[[Project, DataSet], Mapping[str, object]] = lambda project, data: {}
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Step:
    """One asset of a chain.

    Parameters
    ----------
    asset : str
        ``domain/name``.
    after : tuple of str
        The assets, sources included, it is made from: their partition of the same key, or of the data set
        of which this is a part, where they have one per data set.
    make : callable
        ``make(data_set, working) -> Made``. Must be idempotent: a finished partition is vouched for again,
        not made again.
    make_many : callable, optional
        ``make_many([(data_set, working), ...])`` yields ``(key, Made or CytopipeError)``, for a step that
        serves many partitions in one pass; taken instead of `make` when a run has several.
    standing : callable
        ``standing(data_set) -> Made | None``: what lies on disk now, whoever made it, if it is whole.
    code_version : str
        Raised when the same inputs and parameters would give other bytes.
    guards : tuple of Guard
        Invariants evaluated with every partition.
    """

    asset: str
    after: tuple[str, ...]
    make: Callable[[DataSet, Working], Made]
    standing: Callable[[DataSet], Made | None]
    code_version: str
    description: str
    guards: tuple[Guard, ...] = ()
    kinds: tuple[str, ...] = ()
    minutes: str = ""
    make_many: Batch | None = None


@dataclass(frozen=True, kw_only=True)
class Gathering:
    """An asset without partitions, made from partitions of many data sets of a domain.

    Parameters
    ----------
    asset : str
        ``domain/name``.
    inputs : callable
        ``inputs(project)``: asset and key of every partition it is made from; none where there is nothing to
        make.
    needs : str
        What the project must have for that, in words.
    standing : callable
        ``standing(project) -> Made | None``: what lies on disk now, if it is whole.
    folder : callable
        ``folder(project)``: where its files lie, and no others.
    code_version : str
    """

    asset: str
    inputs: Callable[[Project], tuple[tuple[str, str], ...]]
    needs: str
    standing: Callable[[Project], Made | None]
    folder: Callable[[Project], Path]
    code_version: str


def step(
    asset: str,
    *,
    after: tuple[str, ...],
    standing: Callable[[DataSet], Made | None],
    code_version: str,
    guards: tuple[Guard, ...] = (),
    kinds: tuple[str, ...] = (),
    minutes: str = "",
    make_many: Batch | None = None,
) -> Callable[[Callable[[DataSet, Working], Made]], Step]:
    """Make a :class:`Step` of a function; its docstring becomes the asset's description."""

    def build(make: Callable[[DataSet, Working], Made]) -> Step:
        return Step(
            asset=asset,
            after=after,
            make=make,
            standing=standing,
            code_version=code_version,
            description=_unwrapped(make),
            guards=guards,
            kinds=kinds,
            minutes=minutes,
            make_many=make_many,
        )

    return build


def _unwrapped(function: Callable) -> str:
    """The docstring as Markdown: lines of one paragraph joined."""
    paragraphs = re.split(r"\n\s*\n", inspect.getdoc(function) or "")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
