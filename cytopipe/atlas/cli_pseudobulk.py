"""Command lines over the pass: parsing, telling and exit codes, nothing more.

Every option that decides bytes has the name it has in ``cytopipe.yaml``. Progress goes to standard error with
rate and time to go; SIGINT and SIGTERM save the pass, and the same command continues it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cytopipe.atlas.registry import AtlasEntry, Level, check_levels, load_registry
from cytopipe.atlas.settings import BOOTSTRAPS, COMPRESSIONS, Settings
from cytopipe.errors import Finding, InputError, ParameterError, ProjectError

if TYPE_CHECKING:
    from cytopipe.atlas.plan import PassPlan
    from cytopipe.atlas.pseudobulk import Aggregation

__all__ = ["aggregate_file", "list_atlases", "project_registry", "qc", "run", "verify"]

_PATH = click.Path(path_type=Path)
_DEFAULT = Settings()

_BYTES = [
    click.option(
        "--n-bootstrap",
        type=int,
        default=_DEFAULT.n_bootstrap,
        show_default=True,
        help="Resamples per group; 0: none.",
    ),
    click.option(
        "--bootstrap",
        type=click.Choice(BOOTSTRAPS),
        help="What is resampled [default: samples, or cells without --sample].",
    ),
    click.option(
        "--seed", type=int, default=_DEFAULT.seed, show_default=True, help="Of the resampling weights."
    ),
    click.option(
        "--min-cells",
        type=int,
        default=_DEFAULT.min_cells,
        show_default=True,
        help="Leave smaller groups out.",
    ),
    click.option(
        "--min-counts",
        type=int,
        default=_DEFAULT.min_counts,
        show_default=True,
        help="Leave groups with fewer counts out.",
    ),
    click.option(
        "--min-samples",
        type=int,
        default=_DEFAULT.min_samples,
        show_default=True,
        help="Resample no group with fewer samples.",
    ),
    click.option("--by-sample", is_flag=True, help="Also write sample x group profiles of whole counts."),
    click.option(
        "--carry",
        multiple=True,
        metavar="COLUMN",
        help="obs column to carry along [default: constant categorical ones].",
    ),
    click.option(
        "--compression", type=click.Choice(COMPRESSIONS), default=_DEFAULT.compression, show_default=True
    ),
]
_HOW = [
    click.option("--counts", help="Where counts lie: X, layers/NAME, raw/X or auto [default: X]."),
    click.option(
        "--duplicate-genes",
        type=click.Choice(["refuse", "sum", "number"]),
        help="Genes that share a name [default: refuse].",
    ),
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


def _options(*groups: list) -> Callable:
    def wrap(function: Callable) -> Callable:
        for option in reversed([one for group in groups for one in group]):
            function = option(function)
        return function

    return wrap


@click.command("aggregate")
@click.argument("file", type=_PATH)
@click.option(
    "--level",
    "levels",
    multiple=True,
    required=True,
    metavar="NAME=COLUMN[+COLUMN]",
    help="A level; may be given many times.",
)
@click.option("--sample", help="obs column of the samples.")
@click.option("-o", "--output", type=_PATH, required=True, help="Folder for the files.")
@click.option("--name", help="First part of the file names [default: that of FILE].")
@_options(_BYTES, _HOW)
def aggregate_file(
    file: Path, levels: tuple[str, ...], sample: str | None, output: Path, name: str | None, **given
) -> None:
    """Aggregate levels of any h5ad or zarr in one pass.

    \b
    cytopipe atlas aggregate pbmc.h5ad --level L1=cell_type --level organ_celltype=tissue+cell_type \\
        --sample sample -o pseudobulk
    """
    parsed = _parse_levels(levels)
    bootstrap = given.pop("bootstrap") or ("samples" if sample else "cells")
    settings = _settings(given, Settings(bootstrap=bootstrap))
    from cytopipe.atlas.pseudobulk import aggregate

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
@click.option("--input", "path", type=_PATH, help="The atlas, in place of the registry's path.")
@click.option(
    "-o", "--output", type=_PATH, help="Root of the results [default: the project's atlas folder, or .]."
)
@click.option("--list-atlases", is_flag=True, help="List the registry and stop.")
@_options(_BYTES, _HOW)
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
    from cytopipe.atlas.pseudobulk import aggregate_all_levels
    from cytopipe.atlas.registry import get_atlas

    entry = get_atlas(name, registry)
    declared = _explicit(context)
    settings = _settings({key: given[key] for key in _SETTING_OPTIONS if key in declared}, entry.settings)
    for key in _SETTING_OPTIONS:
        given.pop(key)
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
@click.argument("folder", type=_PATH)
@click.option("--atlas", "names", multiple=True, help="Also expect every file of this atlas of the registry.")
@click.pass_context
def verify(context: click.Context, folder: Path, names: tuple[str, ...]) -> None:
    """List every pseudobulk file below FOLDER with its shape or its error; exit 3 if any has one."""
    from cytopipe.atlas.pseudobulk import level_paths
    from cytopipe.atlas.registry import get_atlas
    from cytopipe.atlas.verify import verify_outputs
    from cytopipe.errors import DamagedError

    if not folder.is_dir():
        raise InputError("is not a folder", where=str(folder))
    registry = project_registry(_project_option(context), names)[0] if names else {}
    expected = [
        path
        for name in names
        for level in get_atlas(name, registry).levels
        for path in level_paths(
            folder / name / "pseudobulk", name, level, get_atlas(name, registry).settings
        ).values()
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
@click.argument("file", type=_PATH)
@click.option("--figure", type=_PATH, help="Write a PNG of the groups' sizes there.")
@click.option("--table", type=_PATH, help="Write the table there as TSV.")
@click.option("--min-cells", type=int, default=_DEFAULT.min_cells, show_default=True, help="Limit to draw.")
@click.option("--min-counts", type=int, default=0, help="Limit to draw.")
def qc(file: Path, figure: Path | None, table: Path | None, min_cells: int, min_counts: int) -> None:
    """Cells, samples, counts and expressing cells of every group of a pseudobulk FILE."""
    from cytopipe.atlas.qc import group_size_figure, quality_table
    from cytopipe.storage import Store
    from cytopipe.storage.formats.figure import validate_png
    from cytopipe.storage.formats.table import format_tsv

    quality = quality_table(file)
    click.echo(quality.to_string(float_format=lambda value: f"{value:,.4g}"))
    if table:
        Store(table.parent).publish_bytes(table, format_tsv(quality.reset_index()))
    if figure:
        image = group_size_figure(quality, file.stem, min_cells=min_cells, min_counts=min_counts)
        Store(figure.parent).publish_bytes(figure, image, validate=validate_png)


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
        return load_registry(), None, Path()
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
            sample=entry.sample,
            path=str(data.resolve(entry.path)),
            counts=entry.counts,
            n_cells=entry.n_cells,
            n_genes=entry.n_genes,
            description=entry.description,
            duplicate_genes=entry.duplicate_genes,
            settings=entry.settings,
        )
    return registry, project.directory, project.output / "atlas"


_SETTING_OPTIONS = (
    *("n_bootstrap", "bootstrap", "seed", "min_cells", "min_counts", "min_samples"),
    *("by_sample", "carry", "compression"),
)


def _settings(given: dict[str, object], base: Settings) -> Settings:
    """Settings with what was said on the command line in place of `base`; takes those keys out of `given`."""
    from dataclasses import replace

    said = {key: given.pop(key) for key in _SETTING_OPTIONS if key in given}
    if "by_sample" in said:
        said["sample_profiles"] = said.pop("by_sample")
    if "carry" in said:
        said["carry"] = tuple(said["carry"]) or base.carry
    return replace(base, **{key: value for key, value in said.items() if value is not None})


def _explicit(context: click.Context) -> set[str]:
    """Options that were given on the command line, so that defaults do not override a project's entry."""
    source = click.core.ParameterSource.DEFAULT
    return {name for name in context.params if context.get_parameter_source(name) != source}


def _carry_out(work: Callable[..., Aggregation], given: dict[str, object]) -> None:
    """Run a pass with progress, and tell what became of it."""
    from cytopipe.interrupts import stop_on_signals

    quiet, as_json, memory_gb = given.pop("quiet"), given.pop("as_json"), given.pop("memory_gb")
    progress = None if quiet else _Progress()
    with stop_on_signals(lambda sentence: click.echo(f"\n{sentence}", err=True)) as stop:
        done = work(
            use_gpu=not given.pop("no_gpu"),
            memory_bytes=int(memory_gb * 1e9) if memory_gb else None,
            progress=progress,
            announce=None if quiet else _announce,
            stop=stop,
            **given,
        )
    if progress:
        progress.close()
    if as_json:
        click.echo(json.dumps(_as_json(done), indent=1))
    elif not quiet:
        for level in done.levels:
            for path in level.files.values():
                what = f"{level.n_groups} groups" if level.made else "stands, not made again"
                click.echo(f"{level.level.name:>16}  {what:<24} {path}")
        click.echo(
            f"{done.n_cells:,} cells x {done.n_genes:,} genes on {done.device} in {done.seconds_total:.1f} s "
            f"({done.seconds_pass:.1f} s reading)"
        )


class _Progress:
    """One line on standard error: cells done, rate, time to go."""

    def __init__(self) -> None:
        self._started = self._told = time.monotonic()
        self._first: int | None = None

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first, self._started = done, now
        if now - self._told < 0.5 and done < total:
            return
        self._told = now
        rate = (done - self._first) / max(now - self._started, 1e-9)
        to_go = f"{(total - done) / rate:,.0f} s to go" if rate > 0 else ""
        end = "" if sys.stderr.isatty() else "\n"
        start = "\r\x1b[K" if sys.stderr.isatty() else ""
        text = f"{start}{done:,} of {total:,} ({done / total:.0%}) {rate:,.0f}/s {to_go}{end}"
        click.echo(text, err=True, nl=False)

    def close(self) -> None:
        if sys.stderr.isatty():
            click.echo("", err=True)


def _announce(plan: PassPlan) -> None:
    click.echo(
        f"projected memory {plan.projected_bytes / 1e9:.2f} GB, {plan.units.n_units:,} label tuples", err=True
    )


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
