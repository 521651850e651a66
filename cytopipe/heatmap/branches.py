"""The workflow as a graph of checkpoints: which steps a branch has, and from what each of them is made.

    main     1 initial_clustering -> 2 revise_metaclusters -> 3 identify_mixed -> 5 finalize
    lineage  6 subset_lineage -> 7 lineage_recluster -> 8 lineage_revise -> 9 lineage_finalize
    mixed    10 mixed_recluster -> 11 mixed_finalize

Step 4 is the decision to begin another branch; it leaves no checkpoint. A branch has steps of one of the
three routes, in their order; steps may be left out. It begins at a checkpoint of another branch, written
``main.3``, with choices of its own. A merge puts finals together. Everything that is wrong is told at once.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from cytopipe.errors import Finding, ParameterError
from cytopipe.heatmap.choices import Finalization, MergeChoice, MixedChoice, Name, Revision, SubsetChoice
from cytopipe.heatmap.parameters import (
    FlowSOMSettings,
    HeatmapSettings,
    ReadingSettings,
    TransformSettings,
)
from cytopipe.heatmap.routes import FINALS, PARENTS_OF_STEP, ROUTES
from cytopipe.heatmap.state import STEP_NUMBERS, STEPS
from cytopipe.parameters import ParameterSet

if TYPE_CHECKING:
    from cytopipe.heatmap.cells import CellTable

__all__ = [
    "FILE",
    "KEEPS_CLUSTERS",
    "MERGED",
    "Branch",
    "Branches",
    "Fault",
    "Node",
    "Reference",
    "Workflow",
    "read_branches",
    "step_number",
]

_AFTER_ALL = 100

MERGED = "merged"
"""Step of a checkpoint that puts several together."""

KEEPS_CLUSTERS = frozenset(STEPS[number] for number in (2, 3, 5, 8, 9, 11))
"""Steps that keep the cells and clusters of their parent, and change what is said of them."""


def step_number(step: object) -> int:
    """The number of a step, given by its number or its name (``revise_metaclusters``).

    Raises
    ------
    ValueError
        There is none, or it leaves no checkpoint.
    """
    text = str(step).strip()
    number = int(text) if re.fullmatch(r"\d{1,3}", text) else STEP_NUMBERS.get(text, 0)
    if number == 4:
        raise ValueError("expected a step that leaves a checkpoint; 4 is the decision where to go on")
    if number not in PARENTS_OF_STEP or isinstance(step, bool | float):
        close = difflib.get_close_matches(text, STEP_NUMBERS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"expected a step: 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, or its name{hint}")
    return number


def _steps(value: object) -> object:
    if not isinstance(value, list | tuple):
        raise ValueError("expected a list of steps, such as [1, 2, 3, 5]")
    return [step_number(one) for one in value]


def _reference(value: object) -> object:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("expected a checkpoint, such as main.3")
    return value.strip()


Steps = Annotated[
    list[int],
    BeforeValidator(_steps),
    Field(max_length=10),
    WithJsonSchema({"type": "array", "items": {"type": ["integer", "string"]}}),
]
CheckpointName = Annotated[str, BeforeValidator(_reference)]


class Branch(ParameterSet):
    """One branch: where it begins, which steps it has, and what a person chose in them."""

    model_config = ConfigDict(populate_by_name=True)

    begins_at: CheckpointName | None = Field(default=None, alias="from")
    """The checkpoint of another branch at which it begins: main.3; none: at the cells."""

    steps: Steps = Field(default_factory=list)
    """Its steps, by number or name, in their order."""

    merge: list[CheckpointName] = Field(default_factory=list, max_length=1000)
    """Instead of steps: the finals that are put together, [main.5, t_cells.9]."""

    description: str = Field(default="", max_length=2000)
    """A sentence for people; it stands in every checkpoint of the branch."""

    markers: list[Name] | None = Field(default=None, min_length=1)
    """Markers that its cells are clustered by (steps 1, 7, 10); none: those of the data set."""

    flowsom: FlowSOMSettings | None = None
    """How its cells are clustered (steps 1, 7, 10); what is not given is as for the data set."""

    heatmap: HeatmapSettings | None = None
    """How its heat maps are computed; what is not given is as for the data set."""

    revise: Revision | None = None
    """How metaclusters are revised (steps 2, 8, and 11 before it ends); {}: they stay as they are."""

    mixed: MixedChoice | None = None
    """Which clusters are mixed (step 3); {}: none."""

    subset: SubsetChoice | None = None
    """Which cells the lineage has (step 6)."""

    finalize: Finalization = Field(default_factory=Finalization)
    """How its result is told (steps 5, 9, 11)."""

    merging: MergeChoice = Field(default_factory=MergeChoice)
    """How a merge puts its parents together."""


@dataclass(frozen=True, order=True)
class Reference:
    """A checkpoint of a branch: ``main.3``; step 0 is a merge, and `FILE` a checkpoint in a file."""

    branch: str
    step: int

    def __str__(self) -> str:
        return f"{self.branch}.{self.step}" if self.step > 0 else self.branch


FILE = -2
"""Step of a reference whose branch is the path of a checkpoint."""
_UNKNOWN = -1


@dataclass(frozen=True)
class Node:
    """One checkpoint that a workflow makes, and the ones it is made from."""

    at: Reference
    parents: tuple[Reference, ...]


@dataclass(frozen=True)
class Fault:
    """Something that is wrong in the branches; `loc` is the place below ``branches``."""

    loc: tuple[str | int, ...]
    what: str
    expected: str = ""
    found: str = ""
    next: str = ""

    def finding(self, where: str = "") -> Finding:
        at = ".".join(map(str, ("branches", *self.loc)))
        return Finding(
            what=f"{at}: {self.what}", where=where, expected=self.expected, found=self.found, next=self.next
        )


class Workflow(ReadingSettings):
    """How the cells of one data set become checkpoints: how they are read, and settings of the steps."""

    markers: list[Name] | None = Field(default=None, min_length=1)
    """Markers that cells are clustered by; none: all that were measured."""

    transform: TransformSettings = Field(default_factory=TransformSettings)
    """How measured values are transformed before anything else."""

    flowsom: FlowSOMSettings = Field(default_factory=FlowSOMSettings)
    """How cells are clustered."""

    heatmap: HeatmapSettings = Field(default_factory=HeatmapSettings)
    """How heat maps are computed from the clusters."""

    # ------------------------------------------------------------------ the cells

    def read(self, files: Sequence[Path]) -> CellTable:
        """The cells in files; errors as `cytopipe.heatmap.read_cells`."""
        from cytopipe.heatmap.cells import read_cells

        return read_cells(
            files,
            self.format,
            markers=self.columns,
            compensate=self.compensate,
            layer=self.layer,
            metadata=self.metadata,
            missing=self.missing,
        )

    # ------------------------------------------------------------------ what branches see

    def flowsom_of(self, branch: Branch) -> FlowSOMSettings:
        """The settings of a branch: its own, and the data set's where it says nothing."""
        return _over(self.flowsom, branch.flowsom)

    def heatmap_of(self, branch: Branch) -> HeatmapSettings:
        return _over(self.heatmap, branch.heatmap)

    def markers_of(self, branch: Branch) -> list[str] | None:
        return branch.markers if branch.markers is not None else self.markers


def _over(base: Any, own: Any) -> Any:
    if own is None:
        return base
    return base.replace(**{name: getattr(own, name) for name in own.model_fields_set})


class Branches(Mapping[str, Branch]):
    """The branches of a data set, as a graph.

    Parameters
    ----------
    branches : mapping of str to Branch
        In any order.
    anywhere : bool
        Whether a branch may begin at any checkpoint, be it a later step, a merge or a file, and a merge may
        take any. An asset graph has an asset per step and no circle, so there a parent has a smaller number.
    """

    def __init__(self, branches: Mapping[str, Branch], *, anywhere: bool = False) -> None:
        self._branches, self.anywhere = dict(branches), anywhere

    def __getitem__(self, name: str) -> Branch:
        return self._branches[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._branches)

    def __len__(self) -> int:
        return len(self._branches)

    # ------------------------------------------------------------------ the graph

    def reference(self, text: str) -> Reference:
        """What ``main.3``, ``main.identify_mixed`` or ``main`` (its last step) names; it need not exist."""
        if self.anywhere and text.endswith((".h5ad", ".zarr")):
            return Reference(text, FILE)
        name, dot, step = text.rpartition(".")
        if not dot or text in self._branches:
            branch = self._branches.get(text)
            return Reference(text, branch.steps[-1] if branch and branch.steps else 0)
        try:
            return Reference(name, step_number(step))
        except ValueError:
            return Reference(name, _UNKNOWN)

    def nodes(self) -> list[Node]:
        """Every checkpoint, each after those it is made from.

        Raises
        ------
        ParameterError
            With all faults, if there are any.
        """
        if faults := list(self.faults()):
            raise ParameterError([one.finding() for one in faults])
        waiting = [node for name in self._branches for node in self._of(name)]
        if not self.anywhere:
            order = {name: number for number, name in enumerate(self._branches)}
            return sorted(waiting, key=lambda node: (node.at.step or _AFTER_ALL, order[node.at.branch]))
        found: list[Node] = []
        known: set[Reference] = set()
        while waiting:
            ready = [
                node for node in waiting if all(one in known or one.step == FILE for one in node.parents)
            ]
            found += ready
            known |= {node.at for node in ready}
            waiting = [node for node in waiting if node.at not in known]
        return found

    def node(self, at: Reference) -> Node:
        """One checkpoint with its parents."""
        return next(one for one in self._of(at.branch) if one.at == at)

    def _of(self, name: str) -> Iterator[Node]:
        branch = self._branches[name]
        if branch.merge:
            yield Node(Reference(name, 0), tuple(self.reference(one) for one in branch.merge))
        before = (self.reference(branch.begins_at),) if branch.begins_at else ()
        for step in branch.steps:
            at = Reference(name, step)
            yield Node(at, before)
            before = (at,)

    def finals(self) -> list[Reference]:
        """The finals and merges, in the order of the branches."""
        return [
            node.at
            for name in self._branches
            for node in self._of(name)
            if node.at.step in FINALS or not node.at.step
        ]

    # ------------------------------------------------------------------ faults

    def faults(self) -> Iterator[Fault]:
        """Everything that is wrong with the branches together."""
        lower: dict[str, str] = {}
        for name in self._branches:
            if "." in name or not name.strip():
                yield Fault((name,), "a branch has a dot in its name", "letters, digits, '_', '-'", name)
            if (other := lower.setdefault(name.casefold(), name)) != name:
                yield Fault((name,), f"differs from branch {other} only in case", next="Rename one of them.")
        for name, branch in self._branches.items():
            yield from self._faults_of_merge(name, branch) if branch.merge else self._faults_of(name, branch)
        yield from self._circles()

    def _faults_of(self, name: str, branch: Branch) -> Iterator[Fault]:
        steps = branch.steps
        if not steps:
            yield Fault((name,), "has neither steps nor merge", "steps: [1, 2, 3, 5], or merge: [...]")
            return
        route = next((route for route, some in ROUTES.items() if steps[0] in some), "main")
        if wrong := [one for one in steps if one not in ROUTES[route]]:
            other = next(key for key, some in ROUTES.items() if wrong[0] in some)
            yield Fault(
                (name, "steps"),
                f"step {wrong[0]} belongs to a {other} branch and not to a {route} branch",
                expected=", ".join(map(str, ROUTES[route])),
                found=", ".join(map(str, steps)),
                next=f"Give it a branch of its own that begins at {name}.{_last_of(steps, route)}.",
            )
            return
        if steps != sorted(set(steps)):
            yield Fault(
                (name, "steps"),
                "are not in their order, each once",
                expected=str(sorted(set(steps))),
                found=str(steps),
            )
            return
        yield from self._faults_of_start(name, branch, steps[0])
        for before, step in pairwise(steps):
            if before not in PARENTS_OF_STEP[step]:
                yield Fault((name, "steps"), f"step {step} cannot follow step {before}", _after(step))
        yield from _idle(name, branch)

    def _faults_of_start(self, name: str, branch: Branch, first: int) -> Iterator[Fault]:
        if branch.begins_at is None:
            if first != 1:
                yield Fault(
                    (name, "from"), f"is missing: step {first} is made from a checkpoint", _after(first)
                )
            return
        at = self.reference(branch.begins_at)
        if first == 1:
            yield Fault((name, "from"), "step 1 is made from the cells alone", next="Leave from: out.")
            return
        if (missing := self._missing(at, branch.begins_at)) is not None:
            yield Fault((name, "from"), *missing)
        elif at.branch == name:
            yield Fault((name, "from"), "a branch cannot begin at itself", found=branch.begins_at)
        elif at.step not in PARENTS_OF_STEP[first] and not self.anywhere:
            what = "a merge" if not at.step else f"step {at.step}"
            yield Fault(
                (name, "from"),
                f"step {first} ({STEPS[first]}) cannot be made from {what}",
                expected=_after(first),
                found=branch.begins_at,
                next="" if first != 7 else "Add step 6 first, which chooses the cells of the lineage.",
            )

    def _missing(self, at: Reference, written: str) -> tuple[str, str, str, str] | None:
        """Why a checkpoint does not exist: what, expected, found, next."""
        if at.step == FILE:
            return None
        if at.branch not in self._branches:
            close = difflib.get_close_matches(at.branch, self._branches, n=1)
            hint = f"Did you mean {close[0]}.{at.step}?" if close else ""
            return f"there is no branch {at.branch!r}", ", ".join(self._branches), written, hint
        branch = self._branches[at.branch]
        if at.step and at.step not in branch.steps:
            there = ", ".join(f"{at.branch}.{step}" for step in branch.steps) or "no step: it is a merge"
            return f"branch {at.branch} has no such step", there, written, ""
        return None

    def _faults_of_merge(self, name: str, branch: Branch) -> Iterator[Fault]:
        if branch.steps or branch.begins_at:
            yield Fault((name, "merge"), "a merge has neither steps nor from", next="Leave them out.")
        if len(branch.merge) < 2:
            yield Fault((name, "merge"), "names one checkpoint", "two or more finals", str(branch.merge[0]))
        known: list[Reference] = []
        for number, written in enumerate(branch.merge):
            at, loc = self.reference(written), (name, "merge", number)
            if (missing := self._missing(at, written)) is not None:
                yield Fault(loc, *missing)
            elif at.step not in FINALS and not self.anywhere:
                what = "is a merge itself" if not at.step else f"is no final: {at.step} ({STEPS[at.step]})"
                yield Fault(loc, what, "the steps 5, 9 and 11 of branches", written)
            elif at in known:
                yield Fault(loc, "stands twice", found=written, next="Leave one out.")
            else:
                for other in () if self.anywhere else known:
                    if self._both_have_all(at, other):
                        yield Fault(
                            loc,
                            f"has the same cells as {other}, and neither is finer",
                            "finals of different cells, or one that was made from a subset of the other",
                            written,
                        )
                        break
                known.append(at)

    def _both_have_all(self, one: Reference, other: Reference) -> bool:
        """Whether two finals are but other names for the same clusters or cells: both of main branches."""
        return one.step == other.step == 5

    def _circles(self) -> Iterator[Fault]:
        for name in self._branches:
            way = self._way_back(name, name, ())
            if way is not None and len(way) > 1:
                yield Fault((name, "from"), f"goes in a circle: {' -> '.join([*way, name])}")

    def _way_back(self, at: str, to: str, seen: tuple[str, ...]) -> tuple[str, ...] | None:
        """The branches on a way from one back to another along what they are made from; None where none
        is.
        """
        branch = self._branches.get(at)
        if branch is None or at in seen:
            return None
        for text in (*filter(None, [branch.begins_at]), *branch.merge):
            before = self.reference(text).branch
            if before == to:
                return (*seen, at)
            if (way := self._way_back(before, to, (*seen, at))) is not None:
                return way
        return None


def read_branches(written: object, *, anywhere: bool = False) -> tuple[Branches, list[Fault]]:
    """The branches out of JSON or YAML values, and everything that is wrong with them; `anywhere` as
    `Branches`.

    Branches that cannot be read are left out, so that faults of the others are told in the same breath.
    """
    if not isinstance(written, Mapping) or not written:
        shown = "nothing" if not written else type(written).__name__
        return Branches({}), [Fault((), "is no mapping of branches", "main: {steps: [1, 2, 3, 5]}", shown)]
    read: dict[str, Branch] = {}
    faults: list[Fault] = []
    for name, fields in written.items():
        if not isinstance(fields, Mapping):
            faults.append(Fault((name,), "is no mapping", "{steps: [1, 2, 3, 5]}", repr(fields)[:60]))
            continue
        try:
            read[str(name)] = Branch.model_validate(dict(fields))
        except ValidationError as error:
            faults += [_explained(str(name), one) for one in error.errors()]
    known = Branches(read, anywhere=anywhere)
    broken = {str(name) for name in written} - set(read)
    faults += [one for one in known.faults() if not (broken and _names_one_of(one, known, broken))]
    return known, faults


def _names_one_of(fault: Fault, known: Branches, names: set[str]) -> bool:
    """Whether a fault is but that a branch cannot be read, which is told already."""
    return bool(fault.found) and known.reference(fault.found).branch in names


def _explained(name: str, error: Mapping[str, Any]) -> Fault:
    """One of pydantic's errors in the words of the file."""
    loc = tuple(one for one in error["loc"] if one != "[key]")
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        fields = [field.alias or key for key, field in Branch.model_fields.items()] if len(loc) == 1 else []
        close = difflib.get_close_matches(str(loc[-1]), fields, n=1)
        return Fault(
            (name, *loc[:-1]),
            f"unknown key '{loc[-1]}'",
            f"one of {', '.join(fields)}" if fields else "",
            next=f"Did you mean '{close[0]}'?" if close else "",
        )
    if kind == "contradiction":
        told = dict(context["finding"])
        return Fault(
            (name, *loc), error["msg"], told.get("expected", ""), told.get("found", ""), told.get("next", "")
        )
    said = str(context.get("error", error["msg"]))
    if said.startswith("expected "):
        said, _, hint = said.removeprefix("expected ").partition("; ")
        hint = f"{hint[:1].upper()}{hint[1:]}" if hint else ""
        return Fault((name, *loc), "is not usable", said, repr(error["input"])[:80], hint)
    return Fault((name, *loc), said[:1].lower() + said[1:], found=repr(error["input"])[:80])


def _idle(name: str, branch: Branch) -> Iterator[Fault]:
    """Choices of steps that the branch does not have: they would be without effect."""
    uses = {
        "revise": (2, 8, 11),
        "mixed": (3,),
        "subset": (6,),
        "flowsom": (1, 7, 10),
        "markers": (1, 7, 10),
    }
    for field, steps in uses.items():
        if getattr(branch, field) is not None and not set(steps) & set(branch.steps):
            yield Fault(
                (name, field),
                "is chosen for a step that the branch does not have",
                expected=f"step {' or '.join(map(str, steps))} among its steps",
                found=", ".join(map(str, branch.steps)),
            )


def _after(step: int) -> str:
    parents = PARENTS_OF_STEP[step]
    return (
        f"a checkpoint of step {' or '.join(map(str, parents))}, such as main.{parents[-1]}"
        if parents
        else ""
    )


def _last_of(steps: list[int], route: str) -> int:
    return max((one for one in steps if one in ROUTES[route]), default=ROUTES[route][0])
