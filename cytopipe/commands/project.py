"""``init``, ``check`` and ``schema``: the project file, before anything is made."""

from __future__ import annotations

from pathlib import Path

import click

from cytopipe.cli import Options
from cytopipe.commands.paths import AbsolutePath, paste

__all__ = ["check", "init", "schema"]


@click.command()
@click.argument("directory", type=AbsolutePath(file_okay=False), default=".")
def init(directory: Path) -> None:
    """Write a commented cytopipe.yaml into DIRECTORY (default: here).

    FASTA files that lie there, or in its data folder, become entries. An existing file is never touched.
    """
    from cytopipe.project import start_project

    file = start_project(directory)
    click.echo(f"{file} written. Edit it, then: cytopipe --project {paste(directory)} check")


@click.command()
@click.pass_obj
def check(options: Options) -> None:
    """Report every problem of the project file: file and line, expected, found, what to do.

    Exit code 2 if there is any, 0 with a list of the data sets if there is none.
    """
    from cytopipe.project import DOMAINS, check_project

    project = check_project(options.project)
    click.echo(f"{project.file}: no problems")
    grids = {grid for domain in DOMAINS.values() for grid in domain.grids}
    told: set[str] = set()
    shown: set[tuple[str, str]] = set()
    for partitions, data_sets in project.data_sets.items():
        if partitions in grids and data_sets:
            domain = next(iter(data_sets.values())).domain
            click.echo(f"  {domain}  {len(data_sets):,} {partitions.replace('_', ' ')}")
            continue
        for key, data_set in data_sets.items():
            if (data_set.domain, key) in shown:  # one part may be in several sets
                continue
            shown.add((data_set.domain, key))
            about = data_set.entry.description
            click.echo(f"  {data_set.domain}  {key}  {about if about not in told else ''}".rstrip())
            told.add(about)


@click.command()
@click.option(
    "--write", is_flag=True, help="Write it beside the project file, for editors, instead of printing."
)
@click.pass_obj
def schema(options: Options, write: bool) -> None:
    """Print the JSON Schema of cytopipe.yaml."""
    import json

    from cytopipe.project import find_project, project_schema, write_schema

    if write:
        home = find_project(options.project).parent / ".cytopipe"
        home.mkdir(exist_ok=True)
        click.echo(write_schema(home))
        return
    click.echo(json.dumps(project_schema(), indent=2))
