"""A folder with the checkpoints of one data set, which needs no project:

    cells.h5ad                              the cells, as measured
    recipe.yaml                             settings and branches
    main/step_01_initial_clustering.h5ad    checkpoints, a folder for each branch
    all/merged.h5ad

The folder of a data set in a project has the same layout. What stands and was made by today's recipe from
today's parents is not made again; a checkpoint that a person saved in a place stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from cytopipe.errors import CytopipeError, Finding, InputError, ParameterError, UserError
from cytopipe.heatmap.artifact import canonical_json, load_heatmap_state
from cytopipe.heatmap.branches import Branches, Node, Reference, Workflow, read_branches, step_number
from cytopipe.heatmap.history import CELLS
from cytopipe.heatmap.making import make_all
from cytopipe.heatmap.parameters import ReadingSettings
from cytopipe.heatmap.prepared import PreparedCells
from cytopipe.heatmap.routes import CODE
from cytopipe.heatmap.state import HeatmapState, step_file
from cytopipe.parameters import findings_of
from cytopipe.provenance import Input, Provenance, digest_of
from cytopipe.storage.archive import Archive, Place
from cytopipe.storage.formats import FORMATS
from cytopipe.storage.names import slug
from cytopipe.storage.strict_yaml import load_yaml

__all__ = ["BY_HAND", "RECIPE", "Made", "Recipe", "Workspace", "place_of", "read_recipe", "step_of"]

RECIPE = "recipe.yaml"
BY_HAND = "by hand"
"""Code version of a checkpoint that a person saved."""


class Recipe(Workflow):
    """What a folder of checkpoints is made by: the settings of the data set, and its branches."""

    data_set: str = ""
    """Name of the data set."""

    description: str = Field(default="", max_length=2000)
    """A sentence for people."""

    cells: list[str] = Field(default_factory=list)
    """The files that the cells were read from."""

    branches: dict[str, Any] = Field(default_factory=lambda: {"main": {"steps": [1]}})
    """The branches by name."""


def place_of(at: Reference) -> Place:
    """Where a checkpoint lies in its folder."""
    return Place(f"{slug(at.branch)}/{step_file(at.step)}.h5ad")


def read_recipe(path: Path) -> Recipe:
    """The recipe in a YAML file.

    Raises
    ------
    InputError, ParameterError
        With everything that is wrong with it, branches included, with lines.
    """
    document = load_yaml(path, max_bytes=1 << 20)
    written = document.data if document.data is not None else {}
    if not isinstance(written, dict):
        raise InputError("a recipe is a mapping", where=str(path), expected="lines such as branches:")
    if isinstance(written.get("cells"), str):
        written = {**written, "cells": [written["cells"]]}
    findings: list[Finding] = []
    recipe = None
    try:
        recipe = Recipe.model_validate(written)
    except ValidationError as error:
        for one, fault in zip(findings_of(error, Recipe), error.errors(), strict=True):
            findings.append(
                Finding(
                    what=f"{one.where}: {one.what}" if one.where else one.what,
                    where=document.at(tuple(fault["loc"])),
                    expected=one.expected,
                    found=one.found,
                    next=one.next,
                )
            )
    if "branches" in written:
        _, faults = read_branches(written["branches"], anywhere=True)
        findings += [one.finding(document.at(("branches", *one.loc))) for one in faults]
    if findings or recipe is None:
        raise ParameterError(findings)
    return recipe


@dataclass(frozen=True)
class Made:
    """What became of one checkpoint of a run: `how` is made, kept, by hand, nothing (`words` say why) or
    failed.
    """

    node: Node
    how: str
    path: Path | None = None
    state: HeatmapState | None = None
    words: str = ""
    error: UserError | None = None


@dataclass
class Workspace:
    """A folder of checkpoints.

    Parameters
    ----------
    folder : Path
    recipe : Recipe
    """

    folder: Path
    recipe: Recipe

    @classmethod
    def open(cls, folder: Path) -> Workspace:
        """The workspace in a folder.

        Raises
        ------
        InputError
            The folder holds none.
        """
        if not (folder / RECIPE).is_file():
            raise InputError(
                f"no {RECIPE} in this folder",
                where=str(folder),
                expected="a folder that `cytopipe heatmap run` made",
                next="Make one: cytopipe heatmap run CELLS -o FOLDER",
            )
        return cls(folder, read_recipe(folder / RECIPE))

    # ------------------------------------------------------------------ what it holds

    @property
    def archive(self) -> Archive:
        return Archive(self.folder)

    @cached_property
    def branches(self) -> Branches:
        """The branches; a ParameterError with all of their faults."""
        branches, faults = read_branches(self.recipe.branches, anywhere=True)
        if faults:
            raise ParameterError([one.finding(str(self.folder / RECIPE)) for one in faults])
        return branches

    @cached_property
    def cells(self) -> PreparedCells:
        """The cells, as they were read when the folder was made."""
        from cytopipe.heatmap.stored_cells import as_cell_table

        if self.archive.receipt(Place(CELLS)) is None:
            raise InputError(
                f"there is no {CELLS}", where=str(self.folder), next="Run again, naming the files of cells."
            )
        table = as_cell_table(self.archive.get(Place(CELLS), FORMATS["h5ad"]))
        return PreparedCells(table, self.recipe.transform)

    def reference(self, text: str) -> Reference:
        """The checkpoint that ``main.3`` or a branch alone (its last step) names.

        Raises
        ------
        InputError
            The folder has no such checkpoint.
        """
        at = self.branches.reference(text)
        branch = self.branches.get(at.branch)
        known = [str(node.at) for node in self.branches.nodes()]
        if branch is None or str(at) not in known:
            import difflib

            close = difflib.get_close_matches(text, known, n=1, cutoff=0.4)
            raise InputError(
                f"no checkpoint {text!r}",
                where=str(self.folder),
                expected=f"one of {', '.join(known)}",
                next=f"Did you mean {close[0]!r}?" if close else "",
            )
        return at

    def name_of(self, path: Path) -> str:
        """``main.3`` of a file of this folder; its path below the folder where it is none of the recipe's."""
        below = path.relative_to(self.folder).as_posix()
        found = (str(node.at) for node in self.branches.nodes() if place_of(node.at).path == below)
        return next(found, below)

    def path(self, text: str) -> Path:
        """The file of a checkpoint that ``main.3`` names; it must stand."""
        at = self.reference(text)
        path = self.folder / place_of(at).path
        if not path.is_file():
            raise InputError(
                f"checkpoint {at} was not made yet",
                where=str(path),
                next=f"Make it: cytopipe heatmap run -o {self.folder}",
            )
        return path

    # ------------------------------------------------------------------ writing

    def save_recipe(self) -> None:
        """Write the recipe, whole."""
        written = {
            "data_set": self.recipe.data_set,
            "description": self.recipe.description,
            "cells": self.recipe.cells,
            **_given(self.recipe, *ReadingSettings.model_fields),
            "markers": self.recipe.markers,
            "transform": _given(self.recipe.transform),
            "flowsom": _given(self.recipe.flowsom),
            "heatmap": _given(self.recipe.heatmap),
            "branches": self.recipe.branches,
        }
        kept = {name: value for name, value in written.items() if value not in (None, "", [], {})}
        text = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=110)
        self.archive.store.publish_bytes(RECIPE, text.encode())

    def put_cells(self, table: Any) -> None:
        """Keep the cells; where the same stand already, nothing is written."""
        from cytopipe.heatmap.stored_cells import as_anndata

        prepared = PreparedCells(table, self.recipe.transform)
        made = Provenance(
            what=f"cells of {self.recipe.data_set or self.folder.name}",
            inputs=(Input(path="", sha256=prepared.digest),),
            code_version="1",
            facts={"n_cells": len(table), "n_markers": len(table.markers)},
        )
        if self.archive.made_by(Place(CELLS), FORMATS["h5ad"], made) is None:
            self.archive.put(Place(CELLS), FORMATS["h5ad"], as_anndata(table), made)
        self.__dict__["cells"] = prepared

    def with_branch(self, name: str, fields: Mapping[str, Any]) -> Workspace:
        """The same folder with one more branch; nothing is written.

        Raises
        ------
        ParameterError
            The name is taken, or the branch has faults: all of them.
        """
        if name in self.recipe.branches:
            raise ParameterError(
                f"there is a branch {name!r} already",
                where=str(self.folder / RECIPE),
                next="Choose another name, or change it in the recipe.",
            )
        recipe = self.recipe.model_copy(update={"branches": {**self.recipe.branches, name: dict(fields)}})
        more = Workspace(self.folder, recipe)
        more.branches.nodes()
        if "cells" in self.__dict__:
            more.__dict__["cells"] = self.cells
        return more

    # ------------------------------------------------------------------ running

    def take_back(self, some: Sequence[Made]) -> None:
        """Remove checkpoints that were made just now."""
        for one in some:
            if one.how == "made":
                self.archive.remove(place_of(one.node.at))

    def plan(self) -> Iterator[tuple[Node, str]]:
        """Every checkpoint, and whether it stands: kept, by hand, stale or missing. Nothing is made."""
        fresh: dict[Reference, bool] = {}
        for node in self.branches.nodes():
            place = place_of(node.at)
            receipt = self.archive.receipt(place)
            if receipt is None or receipt.provenance is None:
                how = "missing"
            elif receipt.provenance.code_version == BY_HAND:
                how = "by hand"
            elif not all(fresh.get(one, True) for one in node.parents):
                how = "stale"
            else:
                versions = [self._version(one) for one in node.parents]
                how = "kept" if self._same(receipt.provenance, self._provenance(node, versions)) else "stale"
            fresh[node.at] = how in ("kept", "by hand")
            yield node, how

    def run(
        self, *, progress: Callable[[Node, str, int, int], None] = lambda node, what, done, total: None
    ) -> Iterator[Made]:
        """Make what is missing or stale, each checkpoint after its parents.

        A step that cannot be made is told with its error, and so is what is made from it; other branches go
        on.

        Raises
        ------
        ParameterError
            With all faults of the branches.
        """
        found: dict[Reference, str] = {}

        def known(node: Node, parents: Sequence[HeatmapState]) -> HeatmapState | None:
            place, format = place_of(node.at), FORMATS["checkpoint"]
            try:
                receipt = self.archive.receipt(place)
            except CytopipeError:
                return None  # what cannot be read is made again
            made = receipt.provenance if receipt else None
            if made is None:
                return None
            by_hand = made.code_version == BY_HAND
            wanted = self._provenance(node, [self._version(one) for one in node.parents])
            if not by_hand and not self._same(made, wanted):
                return None
            found[node.at] = BY_HAND if by_hand else "kept"
            return self.archive.get(place, format)

        every = make_all(
            self.recipe,
            self.branches,
            self.cells,
            data_set=self.recipe.data_set,
            known=known,
            outside=lambda path: load_heatmap_state(self.folder / path),
            progress=progress,
        )
        for node, state in every:
            path = self.folder / place_of(node.at).path
            if isinstance(state, str):
                yield Made(node, "nothing", words=state)
                continue
            if isinstance(state, UserError):
                yield Made(node, "failed", error=state)
                continue
            if node.at not in found:
                versions = [self._version(one) for one in node.parents]
                self._put(node.at, state, self._provenance(node, versions))
            yield Made(node, found.get(node.at, "made"), path, state)

    def save_by_hand(self, text: str, state: HeatmapState) -> Path:
        """Put a checkpoint that a person made in the place of one of the recipe.

        Raises
        ------
        InputError
            It is about other cells, or has cells that its parents have not.
        """
        at = self.reference(text)
        row = self.cells.check_of(state)
        parents = [one for one in self.branches.node(at).parents if one.step >= 0]
        for one in parents:
            path = self.folder / place_of(one).path
            if not path.is_file():
                continue
            had = load_heatmap_state(path).cell_cluster
            if len(parents) == 1 and had is not None and (more := int(((row >= 0) & (had < 0)).sum())):
                raise InputError(
                    f"{more:,} cells are not cells of its parent {one}",
                    where=text,
                    expected=f"a subset of its {int((had >= 0).sum()):,} cells",
                    found=f"{int((row >= 0).sum()):,} cells",
                )
        versions = [self._version(one) for one in parents]
        made = self._provenance(self.branches.node(at), versions)
        by_hand = Provenance(
            what=made.what, inputs=made.inputs, code_version=BY_HAND, parameters={}, facts=_facts(state)
        )
        self._put(at, state, by_hand)
        return self.folder / place_of(at).path

    def _put(self, at: Reference, state: HeatmapState, made: Provenance) -> None:
        self.archive.put(place_of(at), FORMATS["checkpoint"], state, replace(made, facts=_facts(state)))

    def _version(self, at: Reference) -> str:
        if at.step < 0:
            return digest_of(load_heatmap_state(self.folder / at.branch).id)
        receipt = self.archive.receipt(place_of(at))
        return receipt.version if receipt is not None else ""

    def _provenance(self, node: Node, versions: Sequence[str]) -> Provenance:
        branch = self.branches[node.at.branch]
        choices = {
            "markers": self.recipe.markers_of(branch),
            "transform": self.recipe.transform.as_json(),
            "flowsom": self.recipe.flowsom_of(branch).as_json(),
            "heatmap": self.recipe.heatmap_of(branch).as_json(),
            **{
                name: value.as_json() if value is not None else None
                for name in ("revise", "mixed", "subset", "finalize", "merging")
                for value in [getattr(branch, name)]
            },
            "merge": list(branch.merge),
            "data_set": self.recipe.data_set,
            "description": branch.description,
        }
        used = {name: choices[name] for name in (*_USED[node.at.step], *_ALWAYS)}
        return Provenance(
            what=f"checkpoint {node.at} of {self.recipe.data_set or self.folder.name}",
            parameters=used,
            inputs=(
                Input(path="", sha256=self.cells.digest, asset="cells"),
                Input(path="", sha256=digest_of(canonical_json(used)), asset="choices"),
                *(
                    Input(path="", sha256=version, asset="checkpoint", partition=str(one))
                    for one, version in zip(node.parents, versions, strict=True)
                ),
            ),
            code_version=CODE,
        )

    @staticmethod
    def _same(made: Provenance, wanted: Provenance) -> bool:
        return made.code_version == wanted.code_version and made.inputs == wanted.inputs


_ALWAYS = ("transform", "heatmap", "data_set", "description")
_USED: Mapping[int, tuple[str, ...]] = {
    0: ("merge", "merging"),
    1: ("flowsom", "markers"),
    2: ("revise",),
    3: ("mixed",),
    5: ("finalize",),
    6: ("subset",),
    7: ("flowsom", "markers"),
    8: ("revise",),
    9: ("finalize",),
    10: ("flowsom", "markers"),
    11: ("revise", "finalize"),
}


def _facts(state: HeatmapState) -> dict[str, int]:
    n_cells = {} if state.n_cells_total is None else {"n_cells": state.n_cells_total}
    return {**n_cells, "n_clusters": state.n_clusters}


def _given(values: Any, *fields: str) -> dict[str, Any]:
    """What differs from the defaults; of these fields, if some are named."""
    return values.model_dump(mode="json", exclude_defaults=True, include=set(fields) or None)


def step_of(text: str) -> int:
    """A step by number or name, for the command line."""
    try:
        return step_number(text)
    except ValueError as error:
        expected, _, hint = str(error).removeprefix("expected ").partition("; ")
        hint = f"{hint[:1].upper()}{hint[1:]}"
        raise ParameterError(
            "is no step", where="--steps", expected=expected, found=text, next=hint
        ) from None
