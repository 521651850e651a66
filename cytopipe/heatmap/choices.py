"""What a person chose, as values: how metaclusters are revised, which clusters are mixed, which cells a
lineage has.

A choice is data: it stands in the project file, in a recipe, in the checkpoint that it led to. So a branch
can be computed again from its inputs. Names are those that people see: a metacluster by its name (``T
cells``) or its number (``3``), a cluster by its identifier (``cluster_017``), a marker by its name
(``CD3``).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from cytopipe.heatmap.expression import parse_expression
from cytopipe.parameters import ParameterSet, contradiction

__all__ = [
    "Finalization",
    "Gate",
    "MergeChoice",
    "MixedChoice",
    "Name",
    "Revision",
    "SubsetChoice",
]


def _name(value: object) -> object:
    """Metaclusters are called by numbers, too, which YAML does not read as text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError("expected a name or a number")
    if len(value) > 200 or any(ord(sign) < 32 for sign in value):
        raise ValueError("expected a name of one line, at most 200 characters")
    return value.strip()


def _names(value: object) -> object:
    """One name stands for a list of one."""
    return value if isinstance(value, list | tuple) else [value]


Name = Annotated[str, BeforeValidator(_name), WithJsonSchema({"type": ["string", "integer"]})]
"""A name; a whole number is taken as one."""

Names = Annotated[
    list[Name],
    BeforeValidator(_names),
    Field(max_length=10_000),
    WithJsonSchema({"type": ["array", "string", "integer"], "items": {"type": ["string", "integer"]}}),
]


def _colour(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        raise ValueError("expected a colour such as '#1f77b4'")
    return value.lower()


Colour = Annotated[str, BeforeValidator(_colour)]


class Revision(ParameterSet):
    """How a person revises metaclusters: first the cut, then merge, rename, move, unassign, and colours."""

    cut: Annotated[float, Field(ge=0)] | None = None
    """Height at which the tree over clusters is cut; none: metaclusters stay as they are."""

    merge: dict[Name, Names] = Field(default_factory=dict)
    """Metaclusters that become one, by its name: {T cells: [3, 7]}."""

    rename: dict[Name, Name] = Field(default_factory=dict)
    """New names of metaclusters: {3: B cells}."""

    move: dict[Name, Names] = Field(default_factory=dict)
    """Clusters that go to a metacluster, which may be a new one: {B cells: [cluster_017]}."""

    unassign: Names = Field(default_factory=list)
    """Clusters that belong to no metacluster."""

    colours: dict[Name, Colour] = Field(default_factory=dict)
    """Colours of metaclusters: {T cells: '#1f77b4'}."""

    @model_validator(mode="after")
    def _each_cluster_once(self) -> Revision:
        targets: dict[str, str] = {}
        for target, clusters in [*self.move.items(), ("no metacluster", self.unassign)]:
            for one in clusters:
                if targets.setdefault(one, target) != target:
                    raise contradiction(
                        f"{one} is moved to {targets[one]} and to {target}", "move", next="Name it once."
                    )
        merged: dict[str, str] = {}
        for target, some in self.merge.items():
            for one in some:
                if merged.setdefault(one, target) != target:
                    raise contradiction(
                        f"metacluster {one} is merged into {merged[one]} and into {target}",
                        "merge",
                        next="Name it once.",
                    )
        return self


class MixedChoice(ParameterSet):
    """Which clusters hold cells of several kinds: a list, rules, or both."""

    clusters: Names = Field(default_factory=list)
    """Clusters that are mixed."""

    metaclusters: Names = Field(default_factory=list)
    """Metaclusters all clusters of which are mixed."""

    exclusive: list[Annotated[list[Name], Field(min_length=2, max_length=50)]] = Field(default_factory=list)
    """Rule: groups of markers that no cell has together, [[CD3, CD19]]. A cluster that is high in two of a
    group is mixed."""

    high: float = 1.0
    """From which z-score on a cluster is high in a marker (exclusive)."""

    silhouette_below: Annotated[float, Field(ge=-1, le=1)] | None = None
    """Rule: a cluster is mixed if its silhouette among the metaclusters is below this; none: no such rule."""

    never: Names = Field(default_factory=list)
    """Clusters that are not mixed, whatever the rules say."""


class Gate(ParameterSet):
    """Thresholds of one marker, on transformed values."""

    above: float | None = None
    """Cells have more than this."""

    below: float | None = None
    """Cells have less than this."""

    @model_validator(mode="after")
    def _holds_something(self) -> Gate:
        if self.above is None and self.below is None:
            raise contradiction("the gate has no threshold", "above", expected="above, below, or both")
        if self.above is not None and self.below is not None and self.above >= self.below:
            raise contradiction("no value lies in the gate", "above", expected="above < below")
        return self


def _expression(value: object) -> object:
    if isinstance(value, str):
        parse_expression(value)
    return value


class SubsetChoice(ParameterSet):
    """Which cells a lineage has: those that meet every condition that is given."""

    name: Name | None = None
    """Name of the lineage; none: the branch's."""

    metaclusters: Names = Field(default_factory=list)
    """Cells of these metaclusters (and of `clusters`)."""

    clusters: Names = Field(default_factory=list)
    """Cells of these clusters (and of `metaclusters`)."""

    gates: dict[Name, Gate] = Field(default_factory=dict)
    """Cells within thresholds of markers, on transformed values: {CD3: {above: 1.5}}."""

    where: Annotated[str, BeforeValidator(_expression)] = ""
    """Cells that meet an expression over columns of the cell table and (transformed) markers:
    sample in ['a', 'b'] and CD3 > 1.5."""

    with_mixed: bool = False
    """Whether cells of mixed clusters belong to it; by default a mixed branch takes them."""

    @model_validator(mode="after")
    def _something_is_chosen(self) -> SubsetChoice:
        if not (self.metaclusters or self.clusters or self.gates or self.where.strip()):
            raise contradiction(
                "says of no cell that it belongs to the lineage",
                "metaclusters",
                expected="metaclusters, clusters, gates or where",
            )
        return self

    def filters(self) -> list[dict[str, Any]]:
        """The conditions as a checkpoint keeps them."""
        found: list[dict[str, Any]] = []
        for column in ("metaclusters", "clusters"):
            if values := list(getattr(self, column)):
                found.append({"column": column.removesuffix("s"), "op": "in", "values": values})
        for marker, gate in self.gates.items():
            if gate.above is not None:
                found.append({"column": marker, "op": ">", "value": gate.above})
            if gate.below is not None:
                found.append({"column": marker, "op": "<", "value": gate.below})
        if self.where.strip():
            found.append({"expression": self.where.strip()})
        if not self.with_mixed:
            found.append({"column": "mixed", "op": "==", "value": False})
        return found

    def expression(self) -> str:
        """The same as one line."""
        words = []
        groups = [f"metacluster in {list(self.metaclusters)}"] * bool(self.metaclusters)
        groups += [f"cluster in {list(self.clusters)}"] * bool(self.clusters)
        if groups:
            words.append(groups[0] if len(groups) == 1 else f"({' or '.join(groups)})")
        for marker, gate in self.gates.items():
            words += [f"{marker} > {gate.above:g}"] if gate.above is not None else []
            words += [f"{marker} < {gate.below:g}"] if gate.below is not None else []
        words += [f"({self.where.strip()})"] if self.where.strip() else []
        words += [] if self.with_mixed else ["not mixed"]
        return " and ".join(words)


class Finalization(ParameterSet):
    """How the result of a branch is told."""

    require_names: bool = False
    """Refuse metaclusters to which nobody gave a name."""

    allow_unassigned: bool = True
    """Whether clusters may belong to no metacluster."""


class MergeChoice(ParameterSet):
    """How finals become one result."""

    same_names: Literal["join", "keep"] = "join"
    """Metaclusters of one name in several parents become one (join), or stay apart under the names of their
    branches (keep)."""
