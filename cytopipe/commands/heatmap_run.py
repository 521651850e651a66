"""``cytopipe heatmap run | branch | merge | save``: checkpoints are made, in a folder or in a project."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from cytopipe.cli import Options
from cytopipe.commands.heatmap_places import Target, target_of
from cytopipe.commands.options import parameter_options, said
from cytopipe.commands.paths import FILE, PATH, paste, publish
from cytopipe.commands.words import counted
from cytopipe.heatmap.parameters import FlowSOMSettings, ReadingSettings, TransformSettings

if TYPE_CHECKING:
    from cytopipe.heatmap.workspace import Recipe, Workspace

__all__ = ["branch", "merge", "run", "save"]

_MARKS = {"kept": "done", "by hand": "by hand", "stale": "again", "missing": "make"}
_DRY = click.option("-n", "--dry-run", is_flag=True, help="Say what would be made; make nothing.")
_MAKE = click.option(
    "--make", is_flag=True, help="In a project: make it, too, as `cytopipe materialize heatmap` does."
)
_QUIET = click.option("-q", "--quiet", is_flag=True, help="Say only what has to be known.")


@click.command(
    epilog="\b\nExamples:\n"
    "  cytopipe heatmap run cells.csv -o runs/blood\n"
    "  cytopipe heatmap run data/*.fcs -o runs/blood --cofactor 5 --n-metaclusters 15\n"
    "  cytopipe heatmap run cells.csv --recipe recipe.yaml -o runs/blood\n"
    "  cytopipe heatmap run -o runs/blood          go on after the recipe in the folder was changed\n"
    "\b\nA recipe:\n"
    "  markers: [CD3, CD4, CD8, CD19]\n"
    "  flowsom: {x_dim: 10, y_dim: 10, n_metaclusters: 20, seed: 42}\n"
    "  branches:\n"
    "    main: {steps: [1, 2, 3, 5], revise: {rename: {0: T cells}}, mixed: {exclusive: [[CD3, CD19]]}}\n"
    "    t_cells: {from: main.3, steps: [6, 7, 9], subset: {metaclusters: [T cells]}}\n"
    "    all: {merge: [main.5, t_cells.9]}"
)
@click.argument("cells", nargs=-1, type=PATH)
@click.option("-o", "--output", type=PATH, required=True, metavar="FOLDER", help="The folder of checkpoints.")
@click.option("--recipe", type=FILE, metavar="FILE", help="YAML file with settings and branches.")
@parameter_options(ReadingSettings, only=("format", "compensate", "layer", "missing"))
@click.option("--columns", metavar="A,B,C", help="Markers that are read [default: all measured ones].")
@click.option("--metadata", metavar="A,B,C", help="Columns of a table that are properties of cells.")
@click.option("--markers", metavar="A,B,C", help="Markers that cells are clustered by [default: all].")
@click.option(
    "--transform",
    type=click.Choice(["arcsinh", "logicle", "log", "none"]),
    help="How measured values are transformed [default: arcsinh].",
)
@parameter_options(TransformSettings, only=("cofactor",))
@parameter_options(FlowSOMSettings)
@_DRY
@_QUIET
def run(
    cells: tuple[Path, ...],
    output: Path,
    recipe: Path | None,
    columns: str | None,
    metadata: str | None,
    markers: str | None,
    transform: str | None,
    dry_run: bool,
    quiet: bool,
    **given: Any,
) -> int:
    """Cluster CELLS by FlowSOM, and make every checkpoint of a recipe in a folder.

    CELLS are FCS, CSV, TSV, Parquet or h5ad files, or folders (steinbock); all of them are one data set.
    Without a recipe there is one branch with step 1. What stands and is up to date is not made again: after
    a change of the recipe, or Ctrl-C, the same command goes on. Options go before what the recipe says.
    """
    from cytopipe.errors import UserError

    known = _recipe_of(output, recipe)
    chosen = {
        "columns": _names(columns),
        "metadata": _names(metadata),
        "markers": _names(markers),
        **said(ReadingSettings, given),
    }
    updates: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    cofactor = given.pop("cofactor", None)
    transforms = {"method": transform, "cofactor": cofactor}
    if transforms := {name: value for name, value in transforms.items() if value is not None}:
        updates["transform"] = known.transform.replace(**transforms)
    if flowsom := said(FlowSOMSettings, given):
        updates["flowsom"] = known.flowsom.replace(**flowsom)
    if cells:
        updates["cells"] = [_seen_from(output, path) for path in cells]
    if not known.data_set:
        updates["data_set"] = output.name
    workspace = _workspace(output, known.model_copy(update=updates))
    workspace.branches.nodes()
    if not cells and not (output / "cells.h5ad").is_file() and not workspace.recipe.cells:
        raise UserError(
            "no cells were named", expected="files of cells", next="cytopipe heatmap run CELLS -o FOLDER"
        )
    return _carry_out(workspace, read=bool(cells), dry_run=dry_run, quiet=quiet)


def _names(text: str | None) -> list[str] | None:
    return [one.strip() for one in text.split(",") if one.strip()] if text else None


def _recipe_of(output: Path, recipe: Path | None) -> Recipe:
    """The recipe that was named, with the branches that the folder has besides; or the folder's; or a new
    one.
    """
    from cytopipe.heatmap.workspace import RECIPE, Recipe, read_recipe

    own = read_recipe(output / RECIPE) if (output / RECIPE).is_file() else None
    if recipe is None:
        return own or Recipe()
    named = read_recipe(recipe)
    cells = [_seen_from(output, recipe.parent / Path(one).expanduser()) for one in named.cells]
    named = named.model_copy(update={"cells": cells})
    if own is None:
        return named
    return named.model_copy(
        update={
            "branches": {**own.branches, **named.branches},
            "cells": named.cells or own.cells,
            "data_set": named.data_set or own.data_set,
        }
    )


def _seen_from(folder: Path, path: Path) -> str:
    """A path as the recipe keeps it: relative to its folder, so that both can be moved together."""
    return os.path.relpath(path.absolute(), folder)


def _workspace(output: Path, recipe: Recipe) -> Workspace:
    from cytopipe.heatmap.workspace import Workspace

    return Workspace(output, recipe)


def _carry_out(workspace: Workspace, **how: Any) -> int:
    """As `_carry_out_whole`; Ctrl-C is told with what goes on from there."""
    from cytopipe.errors import Interrupted
    from cytopipe.heatmap.workspace import RECIPE

    try:
        return _carry_out_whole(workspace, **how)
    except KeyboardInterrupt:
        if not (workspace.folder / RECIPE).is_file():
            raise
        raise Interrupted(
            "interrupted; checkpoints that were finished are kept",
            next=f"Go on: cytopipe heatmap run -o {paste(workspace.folder)}",
        ) from None


def _carry_out_whole(
    workspace: Workspace, *, read: bool = False, dry_run: bool = False, quiet: bool = False, new: str = ""
) -> int:
    """Read cells where they are to be read, and make what is missing or stale.

    Parameters
    ----------
    new : str
        A branch that is added: where it cannot be made, the folder is left as it was.
    """
    from cytopipe.commands.progress import open_display
    from cytopipe.heatmap.making import require_clusterable
    from cytopipe.heatmap.workspace import Made, Workspace
    from cytopipe.storage.archive import Place

    before = Workspace.open(workspace.folder) if new else workspace
    made: list[Made] = []
    with open_display(quiet=quiet) as display:
        display.step("reading cells", 0, 0)
        dropped = 0
        absent = workspace.archive.receipt(Place("cells.h5ad")) is None
        if (read or absent) and workspace.recipe.cells:
            paths = [Path(os.path.normpath(workspace.folder / one)) for one in workspace.recipe.cells]
            table = workspace.recipe.read(paths)
            dropped = table.n_dropped
            require_clusterable(workspace.recipe, workspace.branches, _prepared(workspace, table))
            if dry_run:
                workspace.__dict__["cells"] = _prepared(workspace, table)
            else:
                workspace.put_cells(table)
        display.end("reading cells")
        if dropped:
            display.say(f"dropped {counted(dropped, 'cell')} in which a marker has no value")
        markers = workspace.cells.markers
        if not quiet:
            display.say(
                f"{len(workspace.cells):,} cells, {counted(len(markers), 'marker')}: {_some(markers)}"
            )
        if dry_run:
            for node, how in workspace.plan():
                click.echo(f"{_MARKS[how]:8}{node.at}")
            return 0
        workspace.save_recipe()

        def progress(node: Any, what: str, done: int, total: int) -> None:
            display.step(f"{node.at} {what}", done, total, passing=True)

        for one in workspace.run(progress=progress):
            display.end(f"{one.node.at} cells clustered")
            made.append(one)
            if not quiet and one.how != "kept":
                display.say(_line(one))
    lost = [one for one in made if one.error is not None]
    if new and (own := [one for one in lost if one.node.at.branch == new]):
        workspace.take_back([one for one in made if one.node.at.branch == new])
        before.save_recipe()
        assert own[0].error is not None
        raise own[0].error
    numbers = Counter(one.how for one in made)
    click.echo(f"{workspace.folder}: {', '.join(f'{number} {how}' for how, number in numbers.items())}")
    click.echo(f"look at it: cytopipe heatmap show {paste(workspace.folder)}")
    for one in lost:
        for finding in one.error.findings if one.error is not None else ():
            click.echo(f"cytopipe: {one.node.at}: {finding}", err=True)
    return 2 if lost else 0


def _line(made: Any) -> str:
    if made.error is not None:
        return f"{made.node.at}: failed"
    if made.state is None:
        return f"{made.node.at}: nothing, {made.words}"
    return f"{made.node.at}: {_told(made.state)}{' (by hand)' * (made.how == 'by hand')}"


def _prepared(workspace: Workspace, table: Any) -> Any:
    from cytopipe.heatmap.prepared import PreparedCells

    return PreparedCells(table, workspace.recipe.transform)


def _told(state: Any) -> str:
    cells = f", {state.n_cells_total:,} cells" if state.n_cells_total is not None else ""
    return (
        f"{state.step_id}, {counted(state.n_clusters, 'cluster')}, "
        f"{counted(state.n_metaclusters, 'metacluster')}{cells}"
    )


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


# ---------------------------------------------------------------------- branch, merge


@click.command(
    epilog="\b\nExamples:\n"
    '  cytopipe heatmap branch runs/blood t_cells --from main.3 --steps 6,7,8,9 --metacluster "T cells"\n'
    '  cytopipe heatmap branch runs/blood b_cells --from main.3 --steps 6,9 --gate "CD19>2" --gate "CD3<1"\n'
    '  cytopipe heatmap branch runs/blood named --from main.1 --steps 2,5 --rename "0=B" --join "T=1,4"\n'
    "  cytopipe heatmap branch runs/blood pairs --from main.3 --steps 10,11 --x-dim 4 --y-dim 4\n"
    "  cytopipe heatmap branch runs/blood b --from main.3 --steps 6,8,9 --choices choices.yaml\n"
    "  cytopipe heatmap branch blood t_cells ...     a data set of a project: written in its file of branches"
    "\n  cytopipe heatmap branch blood t_cells ... --make     and made there"
)
@click.argument("folder", metavar="FOLDER")
@click.argument("name")
@click.option(
    "--from", "begins_at", required=True, help="Where it begins: main.3, or a file of a checkpoint."
)
@click.option("--steps", required=True, metavar="6,7,9", help="Its steps, by number or name.")
@click.option("--description", default="", help="A sentence for people.")
@click.option("--metacluster", "metaclusters", multiple=True, help="Cells of this metacluster. Repeatable.")
@click.option("--cluster", "clusters", multiple=True, help="Cells of this cluster. Repeatable.")
@click.option(
    "--gate", "gates", multiple=True, metavar="CD3>2", help="Threshold on transformed values. Repeatable."
)
@click.option("--where", default="", metavar="EXPR", help="Expression: \"sample in ['a'] and CD3 > 1.5\".")
@click.option("--with-mixed", is_flag=True, help="Take cells of mixed clusters, too.")
@click.option(
    "--rename", "renames", multiple=True, metavar="OLD=NEW", help="New name of a metacluster. Repeatable."
)
@click.option(
    "--join", "joins", multiple=True, metavar="NAME=3,7", help="Metaclusters that become one. Repeatable."
)
@click.option(
    "--move", "moves", multiple=True, metavar="NAME=CLUSTER,..", help="Clusters that change. Repeatable."
)
@click.option(
    "--exclusive", multiple=True, metavar="CD3,CD19", help="Markers no cell has together. Repeatable."
)
@click.option("--markers", metavar="A,B,C", help="Markers that its cells are clustered by.")
@click.option(
    "--choices",
    type=click.File(encoding="utf-8"),
    metavar="FILE",
    help="YAML of what a recipe says of a branch (subset, revise, ...); options go before it; - reads input.",
)
@parameter_options(FlowSOMSettings)
@_MAKE
@_DRY
@_QUIET
@click.pass_obj
def branch(
    options: Options,
    folder: str,
    name: str,
    begins_at: str,
    steps: str,
    description: str,
    choices: IO[str] | None,
    make: bool,
    dry_run: bool,
    quiet: bool,
    **given: Any,
) -> int:
    """Begin a branch NAME at any checkpoint of FOLDER, with choices and settings of its own.

    The branch is added to the recipe of the folder, and its checkpoints are made. Choices that are more
    than a line are better written in the recipe, or come from a file. In a project, FOLDER is the name of a
    data set, or the folder of its checkpoints.
    """
    from cytopipe.heatmap.workspace import step_of

    target = target_of(options, folder)
    chosen_steps = [step_of(one.strip()) for one in steps.split(",") if one.strip()]
    fields: dict[str, Any] = {**_choices_in(choices), "from": begins_at, "steps": chosen_steps}
    if description:
        fields["description"] = description
    if flowsom := said(FlowSOMSettings, given):
        fields["flowsom"] = flowsom
    if given["markers"]:
        fields["markers"] = _listed(given["markers"])
    if subset := _subset(given):
        fields["subset"] = subset
    if revise := _revision(given):
        fields["revise"] = revise
    elif {2, 8} & set(chosen_steps):
        fields.setdefault("revise", {})
    if given["exclusive"] or (3 in chosen_steps and "mixed" not in fields):
        fields["mixed"] = {"exclusive": [_listed(one) for one in given["exclusive"]]}
    return _added(target, name, fields, make=make, dry_run=dry_run, quiet=quiet)


def _choices_in(file: IO[str] | None) -> dict[str, Any]:
    from cytopipe.errors import InputError
    from cytopipe.storage.strict_yaml import parse_yaml

    if file is None:
        return {}
    choices = parse_yaml(file.read(1 << 20), where=file.name).data or {}
    if not isinstance(choices, dict):
        raise InputError(
            "the choices are no mapping",
            where=file.name,
            expected="such as subset: {metaclusters: [T cells]}",
        )
    return choices


def _subset(given: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "metaclusters": list(given["metaclusters"]),
        "clusters": list(given["clusters"]),
        "gates": _gates(given["gates"]),
        "where": given["where"],
        "with_mixed": given["with_mixed"],
    }
    return {name: value for name, value in found.items() if value}


def _gates(texts: Iterable[str]) -> dict[str, dict[str, float]]:
    from cytopipe.errors import ParameterError

    found: dict[str, dict[str, float]] = {}
    for text in texts:
        parts = re.fullmatch(r"\s*(.+?)\s*([<>])\s*([-+]?[0-9.]+(?:[eE][-+]?\d+)?)\s*", text)
        if parts is None:
            raise ParameterError("is no gate", where="--gate", expected="CD3>2 or CD19<1.5", found=text)
        found.setdefault(parts[1], {})["above" if parts[2] == ">" else "below"] = float(parts[3])
    return found


def _revision(given: dict[str, Any]) -> dict[str, Any]:
    renames = dict(_pair(one, "--rename", "0=T cells") for one in given["renames"])
    joins = dict(_pair(one, "--join", "T cells=3,7") for one in given["joins"])
    moves = dict(_pair(one, "--move", "T cells=cluster_017") for one in given["moves"])
    found: dict[str, Any] = {
        "rename": renames,
        "merge": {name: _listed(some) for name, some in joins.items()},
        "move": {name: _listed(some) for name, some in moves.items()},
    }
    return {name: value for name, value in found.items() if value}


def _pair(text: str, flag: str, example: str) -> tuple[str, str]:
    from cytopipe.errors import ParameterError

    name, equals, value = text.partition("=")
    if not (name.strip() and equals and value.strip()):
        raise ParameterError("is no pair", where=flag, expected=example, found=text)
    return name.strip(), value.strip()


def _listed(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


@click.command(
    epilog="\b\nExamples:\n"
    "  cytopipe heatmap merge runs/blood all main.5 t_cells.9 mixed.11\n"
    "  cytopipe heatmap merge runs/blood all main.1 by_hand.h5ad     a file below the folder\n"
    "  cytopipe heatmap merge blood all main.5 t_cells.9             a data set of a project"
)
@click.argument("folder", metavar="FOLDER")
@click.argument("name")
@click.argument("parents", nargs=-1, required=True)
@click.option(
    "--same-names",
    type=click.Choice(["join", "keep"]),
    help="Metaclusters of one name become one, or stay apart [default: join].",
)
@click.option("--description", default="", help="A sentence for people.")
@_MAKE
@_DRY
@_QUIET
@click.pass_obj
def merge(
    options: Options,
    folder: str,
    name: str,
    parents: tuple[str, ...],
    same_names: str | None,
    description: str,
    make: bool,
    dry_run: bool,
    quiet: bool,
) -> int:
    """Put the checkpoints PARENTS of FOLDER together under NAME: the union of their cells.

    Where two have the same cells, the one that was made from a subset of the other wins. Where neither was,
    the merge is refused with the counts.
    """
    target = target_of(options, folder)
    fields: dict[str, Any] = {"merge": list(parents)}
    if same_names:
        fields["merging"] = {"same_names": same_names}
    if description:
        fields["description"] = description
    return _added(target, name, fields, make=make, dry_run=dry_run, quiet=quiet)


def _added(
    target: Target, name: str, fields: dict[str, Any], *, make: bool, dry_run: bool, quiet: bool
) -> int:
    """A branch in the recipe of a folder, made; in a project, written where its branches stand."""
    if target.project is None:
        more = target.workspace.with_branch(name, fields)
        return _carry_out(more, dry_run=dry_run, quiet=quiet, new=name)
    key, file = _declared(target, name, fields, dry_run=dry_run)
    if dry_run or not make:
        click.echo(f"make it: cytopipe materialize heatmap -p {key}")
        return 0
    from cytopipe.commands.materialize import materialize

    chosen = {"assets": ("heatmap",), "partitions": (key,), "quiet": quiet}
    code = click.get_current_context().invoke(materialize, **chosen)
    if code:
        click.echo(f"branch {name} stays in {file}: correct it there, or take it out", err=True)
    return code


def _declared(target: Target, name: str, fields: dict[str, Any], *, dry_run: bool) -> tuple[str, Path]:
    """Write a branch in the file of branches of a data set; returns its key and the file."""
    import yaml

    from cytopipe.errors import ParameterError, UserError
    from cytopipe.heatmap.branches import read_branches

    assert target.project is not None and target.data_set is not None
    data, written = target.data_set, dict(target.workspace.recipe.branches)
    if name in written:
        raise ParameterError(
            f"there is a branch {name!r} already", where=data.key, next="Choose another name."
        )
    _, faults = read_branches({**written, name: fields})
    if faults:
        raise ParameterError([one.finding() for one in faults])
    text = yaml.safe_dump({name: fields}, sort_keys=False, allow_unicode=True, width=110)
    file = data.entry.branches_file(data.base)
    if file is None:
        raise UserError(
            "branches stand in the project file, which people write",
            where=f"{target.project.file}: heatmap.{data.key}.branches",
            next=f"Add there:\n{text}or name a file: branches: {data.key}.branches.yaml",
        )
    before = file.read_text(encoding="utf-8")
    if not dry_run:
        publish(file, f"{before.rstrip()}\n{text}".encode())
    click.echo(f"{'would add to' if dry_run else 'added to'} {file}:\n{text}", nl=False)
    return f"{data.key}.{name}", file


# ---------------------------------------------------------------------- save


@click.command(
    epilog="\b\nExamples:\n"
    "  cytopipe heatmap save revised.h5ad runs/blood main.2\n"
    "  cytopipe heatmap save revised.h5ad blood main.2      a data set of a project: the ledger takes it up"
)
@click.argument("checkpoint", type=PATH)
@click.argument("folder", metavar="FOLDER")
@click.argument("place", metavar="main.2")
@_DRY
@click.pass_obj
def save(options: Options, checkpoint: Path, folder: str, place: str, dry_run: bool) -> int:
    """Put a CHECKPOINT that was made by hand (in a notebook) in the place of one of FOLDER.

    It must be about the same cells, and have cells of its parent alone. What is made from it is made from
    it then; it is not made again while its parent stays as it is.
    """
    from cytopipe.heatmap.artifact import load_heatmap_state

    target = target_of(options, folder)
    state = load_heatmap_state(checkpoint)
    at = target.workspace.reference(place)
    if dry_run:
        target.workspace.cells.check_of(state)
        click.echo(f"would save {at}: {_told(state)}")
        return 0
    if target.project is None:
        path = target.workspace.save_by_hand(place, state)
    else:
        path = _save_in_project(options, target, at, state)
    click.echo(f"saved {at}: {_told(state)}\n  {path}")
    return 0


def _save_in_project(options: Options, target: Target, at: Any, state: Any) -> Path:
    from cytopipe.commands.project_context import open_project

    assert target.data_set is not None
    with open_project(options) as opened:
        from cytopipe.defs.heatmap_by_hand import save_by_hand

        return save_by_hand(opened.ledger, target.data_set, at, state)
