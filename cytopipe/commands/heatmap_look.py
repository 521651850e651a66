"""``cytopipe heatmap list | show | load``: what a folder and a checkpoint hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cytopipe.cli import Options
from cytopipe.commands.heatmap_places import checkpoint_file, find_target, target_of
from cytopipe.commands.paths import PATH, absolute, publish

if TYPE_CHECKING:
    from cytopipe.heatmap.history import Known
    from cytopipe.heatmap.state import HeatmapState

__all__ = ["list_", "load", "show"]

_JSON = click.option("--json", "as_json", is_flag=True, help="As JSON.")


def _folder(options: Options, text: str) -> Path:
    """The folder that a text names: of checkpoints, of a data set, or any other that exists."""
    target = find_target(options, text)
    if target is not None:
        return target.workspace.folder
    path = absolute(Path(text))
    return path if path.is_dir() else target_of(options, text).workspace.folder


def _known(options: Options, text: str) -> list[Known]:
    from cytopipe.heatmap.history import known_in
    from cytopipe.heatmap.one_line import one_line

    target = find_target(options, text)
    branches = None if target is None else target.workspace.branches
    found, refused = known_in(_folder(options, text), branches)
    for name, why in refused:
        click.echo(f"cytopipe: left out {one_line(name)}: {one_line(why)}", err=True)
    return found


@click.command(
    "list",
    epilog="\b\nExamples:\n"
    "  cytopipe heatmap list runs/blood\n"
    "  cytopipe heatmap list blood              a data set of a project\n"
    "  cytopipe heatmap list runs/blood --json | jq '.[].checkpoint'",
)
@click.argument("folder", metavar="FOLDER")
@_JSON
@click.pass_obj
def list_(options: Options, folder: str, as_json: bool) -> None:
    """List the checkpoints in FOLDER and below it, each after its parents."""
    from dataclasses import asdict

    some = _known(options, folder)
    if as_json:
        click.echo(json.dumps([{"name": one.name, **asdict(one)} for one in some], indent=2))
        return
    rows = [
        (
            one.name,
            one.step_name,
            "" if one.n_cells is None else f"{one.n_cells:,}",
            str(one.n_clusters),
            str(one.n_metaclusters),
            one.checkpoint[:8],
            one.created_at,
            one.description or one.subset,
        )
        for one in some
    ]
    head = ("checkpoint", "step", "cells", "clusters", "metaclusters", "id", "saved", "about")
    for line in _columns([head, *rows], right=(2, 3, 4)):
        click.echo(line)


@click.command(
    epilog="\b\nExamples:\n"
    "  cytopipe heatmap show runs/blood\n"
    "  cytopipe heatmap show blood --picture graph.png\n"
    "  cytopipe heatmap show runs/blood --page history.html"
)
@click.argument("folder", metavar="FOLDER")
@click.option("--picture", type=PATH, metavar="FILE.png", help="Draw it into a picture as well.")
@click.option(
    "--page", type=PATH, metavar="FILE.html", help="Write a page to look through: heat maps and comparisons."
)
@click.pass_obj
def show(options: Options, folder: str, picture: Path | None, page: Path | None) -> None:
    """Draw the graph of the checkpoints in FOLDER: what was made from what.

    \b
    main.3   identify_mixed       1,500 cells  19 clusters  6 metaclusters
    ├─ t_cells.6   subset_lineage   ...         a branch begins at main.3
    │  t_cells.9   lineage_finalize ...
    main.5   finalize
    all   merged of main.5, t_cells.9
    """
    from cytopipe.heatmap.history import draw_history, graph_lines

    some = _known(options, folder)
    names = {one.checkpoint: one.name for one in some}
    rows = []
    for before, one in graph_lines(some):
        cells = "" if one.n_cells is None else f"{one.n_cells:,} cells"
        step = one.step_name
        if len(one.parents) > 1:
            step += f" of {', '.join(names.get(parent, parent[:8]) for parent in one.parents)}"
        counts = f"{one.n_clusters} clusters, {one.n_metaclusters} metaclusters"
        if one.is_deleted:
            counts = "made again since; what follows is stale" if one.is_replaced else "deleted"
        rows.append((f"{before}{one.name}", step, cells, counts, one.description or one.subset))
    for line in _columns(rows, right=(2,)):
        click.echo(line)
    if not rows:
        click.echo("no checkpoints")
    if picture is not None:
        publish(picture, draw_history(some))
        click.echo(f"  {picture}")
    if page is not None:
        from cytopipe.heatmap.artifact import load_heatmap_state
        from cytopipe.views import history_page

        there = [one for one in some if not one.is_deleted]
        states = [load_heatmap_state(_folder(options, folder) / one.path) for one in there]
        text = history_page(states, title=folder, names=[one.path for one in there])
        publish(page, text.encode())
        click.echo(f"  {page}")


def _columns(rows: list[tuple[str, ...]], right: tuple[int, ...] = ()) -> list[str]:
    """Rows as lines; names out of files may hold what moves a cursor."""
    from cytopipe.heatmap.one_line import one_line

    if not rows:
        return []
    rows = [tuple(one_line(cell) for cell in row) for row in rows]
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if k in right else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


@click.command(
    epilog="\b\nExamples:\n"
    "  cytopipe heatmap load runs/blood/main.3\n"
    "  cytopipe heatmap load blood.main.3 --clusters\n"
    "  cytopipe heatmap load main/step_03_identify_mixed.h5ad --json"
)
@click.argument("checkpoint", metavar="CHECKPOINT")
@click.option("--clusters", is_flag=True, help="A line for each cluster, in the order of the display.")
@_JSON
@click.pass_obj
def load(options: Options, checkpoint: str, clusters: bool, as_json: bool) -> None:
    """Load a checkpoint, check it, and tell what it holds: history, settings, choices, metaclusters.

    In Python: cytopipe.heatmap.load_heatmap_state(FILE).
    """
    from cytopipe.heatmap.artifact import document_of, load_heatmap_state
    from cytopipe.heatmap.one_line import one_line

    path = checkpoint_file(options, checkpoint)
    state = load_heatmap_state(path)
    if as_json:
        document = document_of(state)
        document.pop("thumbnail", None)
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    for name, value in _about(state).items():
        click.echo(f"{name:14}{one_line(str(value))}")
    for row in _of_metaclusters(state):
        click.echo(row)
    if clusters:
        for row in _of_clusters(state):
            click.echo(row)


def _about(state: HeatmapState) -> dict[str, Any]:
    import json as js

    choices = state.parameters.get("choices") or {}
    cut = "none" if state.dendrogram_cut is None else f"{state.dendrogram_cut:g}"
    found: dict[str, Any] = {
        "checkpoint": state.id,
        "step": state.step_id,
        "branch": state.parameters.get("branch", ""),
        "parents": ", ".join(state.parents),
        "ancestors": len(state.ancestors),
        "saved": state.created_at,
        "description": state.description,
        "markers": ", ".join(state.markers),
        "trained on": ", ".join(state.training_markers),
        "cut": cut,
        "subset": state.subset_filters_expr,
        **{f"chosen {name}"[:13]: js.dumps(value, ensure_ascii=False) for name, value in choices.items()},
        "heat map": js.dumps(state.parameters.get("heatmap", {})),
        "transform": js.dumps(state.parameters.get("transform", {})),
        "orientation": state.orientation,
        "cells": "not known" if state.n_cells_total is None else f"{state.n_cells_total:,}",
        "clusters": state.n_clusters,
    }
    return {name: value for name, value in found.items() if value not in ("", None)}


def _of_metaclusters(state: HeatmapState) -> list[str]:
    rows: list[tuple[str, ...]] = [("metacluster", "name", "colour", "clusters", "cells")]
    for number in state.metaclusters:
        own = state.label == number
        cells = "" if state.n_cells is None else f"{int(state.n_cells[own].sum()):,}"
        rows.append((str(number), state.name_of(number), state.colour_of(number), str(int(own.sum())), cells))
    return _columns(rows, right=(0, 3, 4))


def _of_clusters(state: HeatmapState) -> list[str]:
    rows: list[tuple[str, ...]] = [("cluster", "name", "cells", "lineage", "mixed", *state.markers)]
    for row in state.row_order.tolist():
        cells = "" if state.n_cells is None else f"{int(state.n_cells[row]):,}"
        lineage = (state.subset_lineage or [None] * state.n_clusters)[row] or ""
        mixed = (state.subset_mixed or [None] * state.n_clusters)[row] or ""
        values = [f"{value:.2f}" for value in state.matrix[row]]
        rows.append(
            (state.cluster_ids[row], state.name_of(int(state.label[row])), cells, lineage, mixed, *values)
        )
    return _columns(rows, right=(2, *range(5, 5 + state.n_markers)))
