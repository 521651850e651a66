"""Command lines over the pass: parsing, telling and exit codes, nothing more.

Every option that decides bytes has the name it has in ``cytopipe.yaml``. Progress goes to standard error with
rate and time to go; SIGINT and SIGTERM save the pass, and the same command continues it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cytopipe.atlas.registry import AtlasEntry, AtlasFields, Level, check_levels, load_registry
from cytopipe.atlas.settings import Settings
from cytopipe.commands.options import parameter_options, said
from cytopipe.commands.paths import PATH
from cytopipe.errors import Finding, InputError, ParameterError, ProjectError

if TYPE_CHECKING:
    from cytopipe.atlas.plan import PassPlan
    from cytopipe.commands.atlas_profiles import Aggregation

__all__ = ["aggregate_file", "list_atlases", "project_registry", "qc", "run", "verify"]

_BYTES = parameter_options(Settings, {"sample_profiles": "--by-sample"})
_WHERE = parameter_options(AtlasFields, only=("counts", "duplicate_genes"))
_HOW = [
    click.option(
        "--batch-size",
        type=int,
        default=50_000,
        show_default=True,
        help="Cells between checkpoints at most; no byte depends on it.",
    ),
    click.option("--threads", type=int, help="[default: all cores]"),
    click.option("--memory-gb", type=float, help="What the process may hold [default: 80% of what is free]."),
    click.option(
        "--skip-existing/--no-skip-existing",
        default=True,
        show_default=True,
        help="Leave files that stand whole, made from the same.",
    ),
    click.option("--no-gpu", is_flag=True, help="Do not look for a GPU."),
    click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON."),
    click.option("-q", "--quiet", is_flag=True, help="Errors only."),
]


def _how(function: Callable) -> Callable:
    for option in reversed(_HOW):
        function = option(function)
    return function


@click.command("aggregate")
@click.argument("file", type=PATH)
@click.option(
    "--level",
    "levels",
    multiple=True,
    required=True,
    metavar="NAME=COLUMN[+COLUMN]",
    help="A level; may be given many times.",
)
@click.option("--sample", help="obs column of the samples.")
@click.option("-o", "--output", type=PATH, required=True, help="Folder for the files.")
@click.option("--name", help="First part of the file names [default: that of FILE].")
@_BYTES
@_WHERE
@_how
def aggregate_file(
    file: Path, levels: tuple[str, ...], sample: str | None, output: Path, name: str | None, **given
) -> None:
    """Aggregate levels of any h5ad or zarr in one pass.

    \b
    cytopipe atlas aggregate pbmc.h5ad --level L1=cell_type --level organ_celltype=tissue+cell_type \\
        --sample sample -o pseudobulk
    """
    parsed = _parse_levels(levels)
    settings = Settings(**{"bootstrap": "samples" if sample else "cells"} | said(Settings, given))
    from cytopipe.commands.atlas_profiles import aggregate

    counts, genes = given.pop("counts") or "X", given.pop("duplicate_genes") or "refuse"
    _carry_out(
        lambda **how: aggregate(
            file,
            parsed,
            output,
            atlas=name,
            sample=sample,
            settings=settings,
            counts=counts,
            duplicate_genes=genes,
            **how,
        ),
        given,
    )


@click.command("run")
@click.option("--atlas", "name", help="Name in the registry.")
@click.option("--levels", help="Only these, separated by commas.")
@click.option("--input", "path", type=PATH, help="The atlas, in place of the registry's path.")
@click.option(
    "-o", "--output", type=PATH, help="Root of the results [default: the project's atlas folder, or .]."
)
@click.option("--list-atlases", is_flag=True, help="List the registry and stop.")
@_BYTES
@_WHERE
@_how
@click.pass_context
def run(
    context: click.Context,
    name: str | None,
    levels: str | None,
    path: Path | None,
    output: Path | None,
    list_atlases: bool,
    **given,
) -> None:
    """Aggregate every level of an atlas of the registry; files go to OUTPUT/ATLAS/pseudobulk/."""
    registry, root, results = project_registry(_project_option(context), [name] if name else [])
    if list_atlases:
        _print_registry(registry)
        return
    if not name:
        raise ParameterError("no atlas is named", expected=f"--atlas {' | '.join(registry)}")
    from cytopipe.atlas.registry import get_atlas
    from cytopipe.commands.atlas_profiles import aggregate_all_levels

    entry = get_atlas(name, registry)
    settings = entry.settings.replace(**said(Settings, given))
    options = {key: value for key in ("counts", "duplicate_genes") if (value := given.pop(key))}
    _carry_out(
        lambda **how: aggregate_all_levels(
            name, output or results, settings.n_bootstrap, registry=registry, path=path, project_root=root,
            levels=levels.split(",") if levels else None, settings=settings, **options, **how,
        ),
        given,
    )  # fmt: skip


@click.command("list")
@click.pass_context
def list_atlases(context: click.Context) -> None:
    """Atlases, their levels, sample columns and sizes."""
    _print_registry(project_registry(_project_option(context))[0])


@click.command("verify")
@click.argument("folder", type=PATH)
@click.option("--atlas", "names", multiple=True, help="Also expect every file of this atlas of the registry.")
@click.pass_context
def verify(context: click.Context, folder: Path, names: tuple[str, ...]) -> None:
    """List every pseudobulk file below FOLDER with its shape or its error; exit 3 if any has one."""
    from cytopipe.atlas.registry import get_atlas
    from cytopipe.commands.atlas_profiles import level_paths
    from cytopipe.commands.atlas_verify import verify_outputs
    from cytopipe.errors import DamagedError

    if not folder.is_dir():
        raise InputError("is not a folder", where=str(folder))
    registry = project_registry(_project_option(context), names)[0] if names else {}
    expected = [
        path
        for name in names
        for level in get_atlas(name, registry).levels
        for path in level_paths(folder, name, level, get_atlas(name, registry).settings)
    ]
    states = verify_outputs(folder, expected)
    for state in states:
        shape = " x ".join(map(str, state.shape)) if state.shape else "-"
        click.echo(
            f"{shape:>16}  {state.path.relative_to(folder)}{f'  {state.error}' if state.error else ''}"
        )
    bad = [state for state in states if state.error]
    click.echo(f"{len(states) - len(bad)} whole, {len(bad)} missing or damaged")
    if bad:
        raise DamagedError([Finding(what=state.error, where=str(state.path)) for state in bad])


@click.command("qc")
@click.argument("file", type=PATH)
@click.option("--figure", type=PATH, help="Write a PNG of the groups' sizes there.")
@click.option("--table", type=PATH, help="Write the table there as TSV.")
@click.option("--min-cells", type=int, default=Settings().min_cells, show_default=True, help="Limit to draw.")
@click.option("--min-counts", type=int, default=0, help="Limit to draw.")
def qc(file: Path, figure: Path | None, table: Path | None, min_cells: int, min_counts: int) -> None:
    """Cells, samples, counts and expressing cells of every group of a pseudobulk FILE."""
    from cytopipe.atlas.group_sizes import group_size_figure, group_size_table
    from cytopipe.storage import Store
    from cytopipe.storage.formats.figure import figure_bytes, validate_png
    from cytopipe.storage.formats.table import format_tsv

    quality = group_size_table(file)
    click.echo(quality.to_string(float_format=lambda value: f"{value:,.4g}"))
    if table:
        Store(table.parent).publish_bytes(table, format_tsv(quality.reset_index()))
    if figure:
        drawn = group_size_figure(quality, file.stem, min_cells=min_cells, min_counts=min_counts)
        Store(figure.parent).publish_bytes(figure, figure_bytes(drawn), validate=validate_png)


def project_registry(
    start: Path | None, needed: Sequence[str] = ()
) -> tuple[dict[str, AtlasEntry], Path | None, Path]:
    """The registry, extended by the project's ``atlas:`` entries where there is a project.

    Parameters
    ----------
    start : Path or None
        The project; None looks for one at and above the working directory.
    needed : sequence of str
        Atlases whose entries must be sound.

    Returns
    -------
    registry : dict of str to AtlasEntry
        Sound entries only, their paths absolute.
    root : Path or None
        The project directory.
    results : Path
        Where results of the domain go.

    Raises
    ------
    ProjectError
        If the project file makes no sense, or the entry of a needed atlas does not.
    """
    from cytopipe.project import find_project, read_project

    try:
        file = find_project(start)
    except ProjectError:
        if start is not None:
            raise
        return load_registry(), None, Path.cwd()
    project = read_project(file)
    findings = [one for name in needed for one in project.broken.get(("atlas", name), ())]
    if findings:
        raise ProjectError(findings)
    registry = load_registry()
    for data in project.data_sets.get("atlas", {}).values():
        entry = data.entry
        registry[entry.atlas] = AtlasEntry(
            name=entry.atlas,
            levels=tuple(entry.level_named(name) for name in entry.levels),
            path=str(data.resolve(entry.path)),
            description=entry.description,
            **{name: getattr(entry, name) for name in AtlasFields.model_fields},
        )
    return registry, project.directory, project.output / "atlas"


def _carry_out(work: Callable[..., Aggregation], given: dict[str, object]) -> None:
    """Run a pass with progress, and tell what became of it."""
    from cytopipe.commands.progress import open_display
    from cytopipe.interrupts import stop_on_signals

    quiet, as_json, memory_gb = given.pop("quiet"), given.pop("as_json"), given.pop("memory_gb")
    with open_display(quiet=quiet) as display, stop_on_signals(display.say) as stop:
        done = work(
            use_gpu=not given.pop("no_gpu"),
            memory_bytes=int(memory_gb * 1e9) if memory_gb else None,
            progress=lambda cells, total: display.step("cells", cells, total),
            announce=lambda plan: None if quiet else display.say(_projection(plan)),
            stop=stop,
            **given,
        )
    if as_json:
        click.echo(json.dumps(_as_json(done), indent=1))
    elif not quiet:
        for level in done.levels:
            for kind, path in level.files.items():
                n_groups = level.n_resampled if kind == "resampled" else level.n_groups
                what = f"{n_groups} groups" if level.made else "stands, not made again"
                click.echo(f"{level.level.name:>16}  {what:<24} {path}")
        click.echo(
            f"{done.n_cells:,} cells x {done.n_genes:,} genes on {done.device} in {done.seconds_total:.1f} s "
            f"({done.seconds_pass:.1f} s reading)"
        )
    for warning in done.warnings:
        click.echo(f"warning: {warning}", err=True)


def _projection(plan: PassPlan) -> str:
    return f"projected memory {plan.projected_bytes / 1e9:.2f} GB, {plan.units.n_units:,} label tuples"


def _as_json(done: Aggregation) -> dict[str, object]:
    return {
        "atlas": done.atlas,
        "n_cells": done.n_cells,
        "n_genes": done.n_genes,
        "device": done.device,
        "projected_bytes": done.projected_bytes,
        "resumed_at": done.resumed_at,
        "seconds_pass": round(done.seconds_pass, 3),
        "seconds_total": round(done.seconds_total, 3),
        "levels": {
            level.level.name: {
                "made": level.made,
                "n_groups": level.n_groups,
                "files": {kind: str(path) for kind, path in level.files.items()},
                "sha256": dict(level.sha256),
            }
            for level in done.levels
        },
    }


def _print_registry(registry: Mapping[str, AtlasEntry]) -> None:
    for entry in registry.values():
        size = f"{entry.n_cells / 1e6:.1f}M cells" if entry.n_cells else "size unknown"
        genes = f" x {entry.n_genes:,} genes" if entry.n_genes else ""
        click.echo(f"{entry.name}  ({size}{genes})")
        if entry.description:
            click.echo(f"    {entry.description}")
        click.echo(f"    levels  {', '.join(map(str, entry.levels))}")
        click.echo(f"    sample  {entry.sample or '-'}")
        click.echo(f"    path    {entry.path or 'not declared'}")


def _parse_levels(texts: tuple[str, ...]) -> list[Level]:
    levels, findings = [], []
    for text in texts:
        try:
            levels.append(Level.parse(text))
        except ParameterError as error:
            findings.extend(error.findings)
    findings.extend(check_levels(levels, "--level"))
    if findings:
        raise ParameterError(findings)
    return levels


def _project_option(context: click.Context) -> Path | None:
    return getattr(context.obj, "project", None)
