"""What a domain declares: sets of partitions, sources, artifacts, checks. Plain values around plain
functions.

    TILES = Partitions("screen_tiles", within={WELLS: lambda tile: tile.entry.well})

    @artifact("screen/aligned", TIFF, by=TILES, version="1", checks=(SAME_SHAPE,))
    def aligned(tile, raw: Image, settings: AlignSettings) -> Image: ...

The first parameter is the partition; every other one names what the artifact is made from: `raw` is the asset
``screen/raw``. An input arrives loaded; annotated `Handle`, to be loaded when it is needed; annotated
``Mapping[str, Handle]``, as handles by key, where it is made from many. A parameter `work` is the `Work` of
the run: progress, checkpoints, the engine. Where a function without it takes long, the runner calls it for
several partitions at once. The decorated function stays callable in a notebook and in a test.

Nothing here imports Dagster: `cytopipe.defs.assets` turns these values into its assets,
`cytopipe.defs.batch` runs them, `cytopipe.defs.ledger` says which partitions are fresh.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cytopipe.provenance import digest_of
from cytopipe.storage.formats import Format

if TYPE_CHECKING:
    from cytopipe.engine import Engine
    from cytopipe.project import DataSet, Project

__all__ = [
    "Artifact",
    "Check",
    "CheckResult",
    "Described",
    "Graph",
    "Nothing",
    "Outside",
    "Partitions",
    "Source",
    "Twin",
    "When",
    "Work",
    "arrives",
    "artifact",
    "asking_for",
    "hint_of",
]


@dataclass(frozen=True, eq=False, kw_only=True)
class Partitions:
    """A set of partitions: what a person names in the project file.

    Parameters
    ----------
    name : str
        The set's name in `Project.data_sets`, and in Dagster.
    title : str
        What one of them is called: ``level of an atlas``.
    within : mapping of Partitions to callable
        For each coarser set, the key there to which a partition belongs: ``within={WELLS: lambda tile:
        ...}``.
    dimensions : (str, str), optional
        Names of the two dimensions of a dense set, sorted; its keys are ``a|b``.
    per_run : int
        How many partitions a backfill gives to one run: one to ten minutes of work, since a run costs 2-4 CPU
        seconds and an event a few milliseconds.
    """

    name: str
    title: str = "data set"
    within: Mapping[Partitions, Callable[[DataSet], str]] = field(default_factory=dict)
    dimensions: tuple[str, str] | None = None
    per_run: int = 50

    def keys(self, project: Project) -> Sequence[str]:
        """The keys that the project file declares, in its order."""
        return list(project.data_sets.get(self.name, ()))


@dataclass(frozen=True, eq=False, kw_only=True)
class When:
    """That the settings of an entry decide whether something is made, or whether an input is read.

    Parameters
    ----------
    of : Partitions
        Where it is decided: a set to which the artifact's partitions belong, or their own.
    unused : callable
        ``unused(data_set)``: why it is not made or read there, in words; empty text where it is.
    """

    of: Partitions
    unused: Callable[[DataSet], str]


@dataclass(frozen=True, eq=False, kw_only=True)
class Source:
    """Something that assets are made from and that we never write: a user's file, or what the project file
    declares.

    Parameters
    ----------
    asset : str
        ``domain/name``.
    by : Partitions or None
    description : str
        What it is, for the browser.
    load : callable
        ``load(data_set)``: what a function that names it is given.
    files : callable
        ``files(data_set)``: the files it consists of. They are watched by size and time.
    digest : callable
        ``digest(project, data_set)``: SHA-256 of its content, asked when `files` changed; None where there
        is nothing to read.
    values : callable
        ``values(data_set)``: instead of files, the JSON values that the project file declares. Reasons name
        them.
    describe : callable
        ``describe(project, data_set)``: what to show of it.
    absent : callable
        ``absent(data_set)``: why there is none, and never was; what is made from it then waits. Empty text
        where there should be one.
    kinds : tuple of str
        What Dagster's page shows beside it, at most two.
    """

    asset: str
    by: Partitions | None
    description: str
    load: Callable[[DataSet], Any]
    files: Callable[[DataSet], Iterable[Path]] = lambda data: ()
    digest: Callable[[Project, DataSet], str | None] | None = None
    values: Callable[[DataSet], Mapping[str, object]] | None = None
    describe: Callable[[Project, DataSet], Mapping[str, object]] = lambda project, data: {}
    absent: Callable[[DataSet], str] = lambda data: ""
    kinds: tuple[str, ...] = ()

    def version(self, project: Project, data: DataSet) -> str | None:
        """Digest of its present content; None where there is nothing to read."""
        if self.values is not None:
            return digest_of(self.values(data))
        assert self.digest is not None
        return self.digest(project, data)


@dataclass(frozen=True)
class CheckResult:
    """What a check found; `findings` in words, none where all is well."""

    findings: tuple[str, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return not self.findings

    @property
    def words(self) -> str:
        shown = "; ".join(self.findings[:10])
        more = len(self.findings) - 10
        return (f"{shown}; and {more} more" if more > 0 else shown) or "holds"


@dataclass(frozen=True, kw_only=True)
class Check:
    """A condition that an artifact must meet. It is tested on the written files, before they are published.

    Parameters
    ----------
    name, description : str
    evaluate : callable
        ``evaluate(value, **inputs) -> CheckResult``. `value` is read back from the draft; the other
        parameters name inputs of the artifact, or are ``data`` (the partition).
    blocking : bool
        Whether an artifact that fails is not published. The version before stands then.
    """

    name: str
    description: str
    evaluate: Callable[..., CheckResult]
    blocking: bool = True


@dataclass(frozen=True)
class Described:
    """A value with what is worth showing of it.

    Parameters
    ----------
    value : object
        What the format writes.
    counts : mapping of str to number
        By the field's names: ``n_clusters``.
    notes : mapping of str to JSON value
    picture : bytes, optional
        A PNG, where people would rather look than read.
    """

    value: Any
    counts: Mapping[str, int | float] = field(default_factory=dict)
    notes: Mapping[str, object] = field(default_factory=dict)
    picture: bytes | None = None


@dataclass(frozen=True)
class Nothing:
    """The outcome for a partition of which the project file asks nothing: `words` say so. No file is
    written.
    """

    words: str

    @property
    def version(self) -> str:
        return hashlib.sha256(self.words.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a long function may use while it works.

    Parameters
    ----------
    engine : Engine
        Where heavy work runs.
    scratch : Path
        A folder for checkpoints, named after the recipe: the same work finds it again, other work does not.
    cache : Path
        A folder for what can be computed again and is found by its content, such as distances of sequences:
        all artifacts of this partition in this domain share it.
    progress : callable
        ``progress(what, done, total)``: shown to whoever watches.
    saved : callable
        ``saved(what, done, total)`` after a checkpoint was written: an event in the history.
    stop : callable
        Whether a stop was asked for: finish the iteration, save, raise `Interrupted`.
    wants : callable
        ``wants(asset, key)``: whether a pass is to make this; what it does not, stands and is fresh.
    """

    engine: Engine
    scratch: Path
    cache: Path
    progress: Callable[[str, int, int], None] = lambda what, done, total: None
    saved: Callable[[str, int, int], None] = lambda what, done, total: None
    stop: Callable[[], bool] = lambda: False
    wants: Callable[[str, str], bool] = lambda asset, key: True


@dataclass(frozen=True, eq=False, kw_only=True)
class Twin:
    """That an artifact holds the value of one of its inputs, too, in another format; what reads the input may
    read the twin.

    Parameters
    ----------
    of : str
        The asset whose value it holds.
    format : Format
        Reads that value, equal in every byte, from the artifact; it writes nothing.
    is_preferred : callable
        ``is_preferred(data_set)``: whether it is read while both stand. Where `of` was removed it is read
        anyway.
    """

    of: str
    format: Format
    is_preferred: Callable[[DataSet], bool]


@dataclass(frozen=True, kw_only=True)
class Outside:
    """A partition of an asset that somebody else made: its files lie outside of the project, where they are
    read, and never written nor removed.

    Parameters
    ----------
    files : tuple of Path
    load : callable
        ``load()``: the value, as the asset's own format would give it; it can be sent to a worker.
    digest : callable
        ``digest()``: stands for the content of the files; None where they cannot be read.
    """

    files: tuple[Path, ...]
    load: Callable[[], Any]
    digest: Callable[[], str | None]


@dataclass(frozen=True, eq=False, kw_only=True)
class Artifact:
    """A function and the artifacts it makes; see :func:`artifact`."""

    makes: Mapping[str, Format]
    by: Partitions | None
    function: Callable[..., Any]
    inputs: Mapping[str, str]
    places: Mapping[str, str]
    version: str
    checks: Mapping[str, tuple[Check, ...]] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()
    dispensable: frozenset[str] = frozenset()
    outside: Mapping[str, Callable[[DataSet], Outside | None]] = field(default_factory=dict)
    outside_when: When | None = None
    chosen: Mapping[str, Callable[[DataSet], Sequence[str]]] = field(default_factory=dict)
    one_pass: Callable[[DataSet], str] | None = None
    twins: tuple[Twin, ...] = ()
    made_by: str = ""
    held: Callable[[DataSet], str] | None = None
    when: When | None = None
    reads_when: Mapping[str, When] = field(default_factory=dict)
    minutes: str = ""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    @property
    def asset(self) -> str:
        """The first artifact it makes."""
        return next(iter(self.makes))

    @property
    def domain(self) -> str:
        return self.asset.split("/")[0]

    @property
    def description(self) -> str:
        """The docstring as Markdown: lines of one paragraph joined."""
        paragraphs = re.split(r"\n\s*\n", inspect.getdoc(self.function) or "")
        return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)

    @cached_property
    def code_version(self) -> str:
        """Version of the algorithm, and of each format that is not at its first."""
        formats = [f"{one.name}/{one.version}" for one in self.makes.values() if one.version != "1"]
        return " ".join([self.version, *dict.fromkeys(formats)])

    @cached_property
    def wants_work(self) -> bool:
        return "work" in inspect.signature(self.function).parameters


def arrives(function: Callable[..., Any], name: str) -> str:
    """How an input reaches a function or a check, by its annotation: ``value``, ``handle`` or ``handles``."""
    hint = hint_of(function, name)
    return "handles" if "Mapping[" in hint else "handle" if "Handle" in hint else "value"


def asking_for(function: Callable[..., Any], hints: Mapping[str, str]) -> Callable[..., Any]:
    """A function that takes any inputs as ``**inputs``, made to ask the runner for these.

    Parameters
    ----------
    function : callable
        The parameters that it names itself stay, before the others.
    hints : mapping of str to str
        The annotation of each input by name: how it arrives, see `arrives`.
    """
    own = [one for one in inspect.signature(function).parameters.values() if one.kind is not one.VAR_KEYWORD]
    named = {one.name for one in own}
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=hint)
        for name, hint in hints.items()
        if name not in named
    ]
    function.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]
    return function


def hint_of(function: Callable[..., Any], name: str) -> str:
    """The annotation of a parameter, as text."""
    return str(inspect.signature(function).parameters[name].annotation)


def artifact(
    asset: str | Mapping[str, Format],
    format: Format | None = None,
    *,
    by: Partitions | None = None,
    version: str = "1",
    place: str | Mapping[str, str] = "",
    inputs: Mapping[str, str] | None = None,
    optional: Iterable[str] = (),
    dispensable: Iterable[str] = (),
    chosen: Mapping[str, Callable[[DataSet], Sequence[str]]] | None = None,
    checks: Sequence[Check] | Mapping[str, Sequence[Check]] = (),
    one_pass: Callable[[DataSet], str] | None = None,
    twins: Sequence[Twin] = (),
    made_by: str = "",
    held: Callable[[DataSet], str] | None = None,
    when: When | None = None,
    reads_when: Mapping[str, When] | None = None,
    minutes: str = "",
) -> Callable[[Callable[..., Any]], Artifact]:
    """Make an :class:`Artifact` of a function.

    Parameters
    ----------
    asset : str, or mapping of asset to Format
        ``domain/name``; several where one pass makes several.
    format : Format
        How the one asset is stored.
    by : Partitions, optional
        Its set of partitions; none: there is one artifact for the whole project.
    version : str
        Raised when the same inputs would give other bytes.
    place : str, or mapping of asset to str
        Template of its path below the output root: ``atlas/{atlas}/{key}.h5ad``, with ``#name`` at the end
        for the set `name` in a folder. The names are those of `DataSet.names`. By default
        ``domain/name/{key}`` and the suffix.
    inputs : mapping of parameter to asset, optional
        Where the parameter's name does not say it: by default it is the asset of that name beside this one,
        ``screen/sbs/images`` for ``screen/sbs/aligned``.
    optional : iterable of str
        Parameters of which parts may be missing: they are left out of the mapping. Where no part can be made,
        the artifact waits.
    dispensable : iterable of str
        Those of them without which it is made all the same.
    chosen : mapping of parameter to callable, optional
        ``chosen(data_set)``: the keys it is made from, for parents that are chosen for every partition; for
        an artifact without partitions ``chosen(project)``.
    checks : sequence of Check, or mapping of asset to such
        Of the one asset; of each of several.
    one_pass : callable, optional
        ``one_pass(data_set)`` names the group of partitions that one call serves. The function is then given
        a mapping of key to data set, and yields ``(asset, key, value)``.
    twins : sequence of Twin
        Inputs of which it holds the value, too.
    made_by : str
        ``a person``, where only people make it: then it is never planned as missing.
    held : callable, optional
        ``held(data_set)``: what a person has to do before this partition, and all that is made from it, goes
        on; empty text where it is made like any other. Materialized alone, it is made all the same: that is
        how a person approves.
    when : When, optional
        Where the settings of an entry decide whether it is made at all: where they do not use it, there is no
        partition of it, nothing is planned and no event is written. An input that is not made arrives as
        nothing: None, or an empty mapping.
    reads_when : mapping of parameter to When, optional
        Inputs that the settings may leave unread. They arrive as nothing there, and make nothing stale; what
        decides it must be an input, too.
    minutes : str
        Expected duration, in words.
    """

    def build(function: Callable[..., Any]) -> Artifact:
        makes = asset if isinstance(asset, Mapping) else {asset: format}
        beside = next(iter(makes)).rpartition("/")[0]
        named = [
            one for one in list(inspect.signature(function).parameters)[1 if by else 0 :] if one != "work"
        ]
        given = place if isinstance(place, Mapping) else {next(iter(makes)): place}
        tail = "/{key}" if by else ""
        return Artifact(
            makes=makes,
            by=by,
            function=function,
            inputs={one: (inputs or {}).get(one, f"{beside}/{one}") for one in named},
            places={one: given.get(one) or f"{one}{tail}{kind.suffix}" for one, kind in makes.items()},
            version=version,
            checks={
                one: tuple(some)
                for one, some in (
                    checks if isinstance(checks, Mapping) else {next(iter(makes)): checks}
                ).items()
            },
            optional=frozenset(optional),
            dispensable=frozenset(dispensable),
            chosen=chosen or {},
            one_pass=one_pass,
            twins=tuple(twins),
            made_by=made_by,
            held=held,
            when=when,
            reads_when=reads_when or {},
            minutes=minutes,
        )

    return build


class Graph:
    """Every source and artifact of every domain, in the order the data flows.

    Parameters
    ----------
    *members : Artifact or Source
    jobs : mapping of str to str
        Names of jobs that make all artifacts below a path, of whatever sets of partitions, with what these
        are made from: ``{"all_sbs_omezarr": "screen/sbs/omezarr"}``.

    Raises
    ------
    ValueError
        An asset is declared twice, or made from one that is not declared before it.
    """

    def __init__(self, *members: Artifact | Source, jobs: Mapping[str, str] | None = None) -> None:
        self.members, self.jobs = members, jobs or {}
        self.artifacts = tuple(one for one in members if isinstance(one, Artifact))
        self.sources = {one.asset: one for one in members if isinstance(one, Source)}
        self.makers: dict[str, Artifact] = {}
        self.by_asset: dict[str, Artifact | Source] = {}
        for one in members:
            for upstream in one.inputs.values() if isinstance(one, Artifact) else ():
                if upstream not in self.by_asset:
                    raise ValueError(f"{one.asset} is made from {upstream}, which is not declared before it")
            for asset in one.makes if isinstance(one, Artifact) else [one.asset]:
                if asset in self.by_asset:
                    raise ValueError(f"{asset} is declared twice")
                self.by_asset[asset] = one
                if isinstance(one, Artifact):
                    self.makers[asset] = one

    @cached_property
    def domains(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(asset.split("/")[0] for asset in self.by_asset))

    @cached_property
    def partitions(self) -> tuple[Partitions, ...]:
        """Every set of partitions, coarser ones that nothing is made for included."""
        found: dict[Partitions, None] = {}
        for one in self.by_asset.values():
            if one.by is not None:
                found |= dict.fromkeys((*one.by.within, one.by))
        return tuple(found)

    @cached_property
    def twins(self) -> Mapping[str, tuple[Artifact, Twin]]:
        """For an asset, the artifact that holds its value in another format."""
        return {twin.of: (one, twin) for one in self.artifacts for twin in one.twins}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[tuple[Artifact, str], ...]]:
        """For each asset, the artifacts made from it, with the parameter that names it."""
        found: dict[str, list[tuple[Artifact, str]]] = {asset: [] for asset in self.by_asset}
        for one in self.artifacts:
            for name, upstream in one.inputs.items():
                found[upstream].append((one, name))
        return {asset: tuple(some) for asset, some in found.items()}
