"""An entry of ``heatmap:`` in the project file: where the cells of a data set lie, and the branches of its
heat maps.

A data set (``patients``) has branches (``patients.t_cells``). A branch is a partition of the asset of every
step that it has. Branches stand in the entry, or in a YAML file of their own that commands and the browser
may write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, PrivateAttr, WithJsonSchema

from cytopipe.errors import CytopipeError
from cytopipe.heatmap.branches import (
    Branch,
    Branches,
    Fault,
    Reference,
    Workflow,
    read_branches,
)
from cytopipe.heatmap.routes import FINALS, PARENTS_OF_STEP
from cytopipe.project.entry import Entry, FilePath, Problem, absent_file, matches
from cytopipe.storage.names import slug
from cytopipe.storage.strict_yaml import load_yaml

__all__ = ["BranchPart", "CellData", "is_pattern"]


def _files(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


def _branches(value: object) -> object:
    if isinstance(value, str) and value.strip() and "\x00" not in value and "\n" not in value:
        return value
    if isinstance(value, Mapping):
        return dict(value)
    raise ValueError("expected branches, such as {main: {steps: [1, 2, 3, 5]}}, or the path of a YAML file")


Files = Annotated[
    list[FilePath],
    BeforeValidator(_files),
    Field(min_length=1, max_length=10_000),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]


class _Branches:
    """What editors are told of branches: they are validated by `read_branches`, each fault at its line."""

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        one = handler(Branch.__pydantic_core_schema__)
        return {
            "anyOf": [
                {"type": "string", "format": "path"},
                {"type": "object", "additionalProperties": one},
            ]
        }


Written = Annotated[Any, BeforeValidator(_branches), _Branches()]


def is_pattern(path: str) -> bool:
    return any(sign in path for sign in "*?[")


class CellData(Entry, Workflow):
    """Cells of one data set, and the checkpoints of their heat maps."""

    domain: ClassVar[str] = "heatmap"

    cells: Files
    """File of cells, a pattern such as data/*.fcs, a folder (steinbock), or a list of these. The cells of all
    files together are one data set."""

    branches: Written = Field(default_factory=lambda: {"main": {"steps": [1]}})
    """The branches by name, or the path of a YAML file that holds them."""

    _read: tuple[Path, tuple[Branches, list[Fault], str]] | None = PrivateAttr(None)

    # ------------------------------------------------------------------ branches

    def branches_file(self, base: Path) -> Path | None:
        """The file in which the branches stand, if it is one of their own."""
        return base / Path(self.branches).expanduser() if isinstance(self.branches, str) else None

    def read_branches(self, base: Path) -> tuple[Branches, list[Fault], str]:
        """The branches, everything that is wrong with them, and where the file of their own says it.

        They are read once in the life of this value.
        """
        if self._read is None or self._read[0] != base:
            self._read = (base, self._read_branches(base))
        return self._read[1]

    def _read_branches(self, base: Path) -> tuple[Branches, list[Fault], str]:
        file = self.branches_file(base)
        if file is None:
            return (*read_branches(self.branches), "")
        document = load_yaml(file, max_bytes=1 << 20)
        branches, faults = read_branches(document.data)
        placed = [
            Fault(one.loc, f"{document.at(one.loc)}: {one.what}", one.expected, one.found, one.next)
            for one in faults
        ]
        return branches, placed, str(file)

    def declared_in(self, base: Path) -> Iterator[Path]:
        if (file := self.branches_file(base)) is not None:
            yield file

    # ------------------------------------------------------------------ data sets

    def files(self, base: Path) -> list[Path]:
        """The files and folders of cells, those of a pattern sorted by name."""
        found: list[Path] = []
        for one in self.cells:
            found += matches(base, one) if is_pattern(one) else [base / Path(one).expanduser()]
        return list(dict.fromkeys(found))

    def problems(self, base: Path) -> Iterator[Problem]:
        for number, one in enumerate(self.cells):
            loc = ("cells", number) if len(self.cells) > 1 else ("cells",)
            if is_pattern(one):
                if not matches(base, one):
                    yield Problem(loc, "finds no file", expected="at least one file of cells", found=one)
            elif not (base / Path(one).expanduser()).is_dir():
                yield from absent_file(base, one, loc)
        if isinstance(self.branches, str):
            absent = list(absent_file(base, self.branches, ("branches",)))
            yield from absent
            if absent:
                return
        try:
            _, faults, file = self.read_branches(base)
        except CytopipeError as error:
            for finding in error.findings:
                yield Problem(("branches",), str(finding))
            return
        for one in faults:
            loc = ("branches",) if file else ("branches", *one.loc)
            yield Problem(loc, one.what, one.expected, one.found, one.next)

    def sets(self, name: str, base: Path) -> Mapping[str, Iterable[tuple[str, CellData | BranchPart]]]:
        branches, _, _ = self.read_branches(base)
        parts = {key: BranchPart(self, name, key, one, branches) for key, one in branches.items()}
        keyed = {key: (f"{name}.{key}", part) for key, part in parts.items()}
        finals = {one.branch for one in branches.finals()}
        return {
            "heatmap": [(name, self)],
            "heatmap_branches": list(keyed.values()),
            **{
                f"heatmap_step_{step:02d}": [keyed[key] for key, one in branches.items() if step in one.steps]
                for step in PARENTS_OF_STEP
            },
            "heatmap_merged": [keyed[key] for key, one in branches.items() if one.merge],
            "heatmap_finals": [keyed[key] for key in branches if key in finals],
        }


@dataclass(frozen=True)
class BranchPart:
    """A branch of a data set.

    Parameters
    ----------
    settings : CellData
        The entry.
    data_set, name : str
        Of the data set, and of the branch.
    branch : Branch
    branches : Branches
        All of the data set.
    """

    settings: CellData
    data_set: str
    name: str
    branch: Branch
    branches: Branches

    @property
    def description(self) -> str:
        return self.branch.description

    @property
    def names(self) -> dict[str, str]:
        return {"data_set": self.data_set, "branch": self.name}

    def place(self, key: str) -> str:
        return slug(key)

    @property
    def final(self) -> Reference:
        """The checkpoint that ends it."""
        step = next((one for one in self.branch.steps if one in FINALS), 0)
        return Reference(self.name, step)

    def parents(self, step: int) -> tuple[Reference, ...]:
        """From which checkpoints a step of it is made; step 0 is the merge."""
        return self.branches.node(Reference(self.name, step)).parents

    def parents_of_step(self, step: int, parent_step: int) -> tuple[str, ...]:
        """Partition keys of those parents that are of one step."""
        return tuple(f"{self.data_set}.{one.branch}" for one in self.parents(step) if one.step == parent_step)

    def to_choose(self, step: int) -> str:
        """What a person has to choose before a step can be made; empty text where nothing is open."""
        branch = self.branch
        field, example = {
            2: ("revise", "revise: {rename: {0: T cells}}, or revise: {} to keep them as they are"),
            3: ("mixed", "mixed: {exclusive: [[CD3, CD19]]}, or mixed: {} for none"),
            6: ("subset", "subset: {metaclusters: [T cells]}, or clusters, gates, where"),
            8: ("revise", "revise: {rename: {0: CD4 T cells}}, or revise: {} to keep them as they are"),
        }.get(step, ("", ""))
        if not field or getattr(branch, field) is not None:
            return ""
        from cytopipe.heatmap.state import step_file

        parent = next(iter(self.parents(step)))
        before = f"heatmap/{step_file(parent.step)} [{self.data_set}.{parent.branch}]"
        return f"a person chooses: look at {before}, then write under branch {self.name}: {example}"
