"""``verify``, ``sweep`` and ``reap``: the health of what lies on disk and of what is said to run."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cytopipe.cli import Options
from cytopipe.commands.options import DURATION_S
from cytopipe.commands.paths import AbsolutePath
from cytopipe.commands.words import counted, published_in
from cytopipe.errors import StorageError

__all__ = ["reap", "sweep", "verify"]


@click.command()
@click.argument("paths", nargs=-1, type=AbsolutePath(exists=True))
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def verify(options: Options, paths: tuple[Path, ...], as_json: bool) -> int:
    """Compare every artifact (or those under PATHS) with its manifest: names, sizes, SHA-256.

    Every difference is told; exit code 3 if there is any. A file edited by hand is a difference too, until
    a run takes it up.
    """
    from cytopipe.project import load_project
    from cytopipe.storage import Store

    project = load_project(options.project)
    if not project.output.is_dir():
        click.echo("nothing to verify: nothing was made yet")
        return 0
    store = Store(project.output)
    differences = [one for path in (paths or (None,)) for one in store.verify(path)]
    if as_json:
        click.echo(
            json.dumps(
                [
                    {"path": str(one.path), "kind": one.kind, "expected": one.expected, "found": one.found}
                    for one in differences
                ],
                indent=2,
            )
        )
    else:
        for one in differences:
            click.echo(
                f"{one.kind:10} {project.relative(one.path)}  expected {one.expected}, found {one.found}"
            )
        count = len(differences)
        looked = [published_in(path) for path in (paths or (project.output,)) if path.is_dir()]
        files, size = sum(one[0] for one in looked), sum(one[1] for one in looked)
        seen = f" ({counted(files, 'file')}, {size:,} bytes)" if files else ""
        click.echo(f"{counted(count, 'difference')}{seen}" if count else f"all as published{seen}")
    return StorageError.exit_code if differences else 0


@click.command()
@click.option(
    "--older-than",
    "older_than_s",
    type=DURATION_S,
    metavar="TIME",
    help="Age of versions that go, such as '3 days' [default: keep_versions].",
)
@click.pass_obj
def sweep(options: Options, older_than_s: float | None) -> None:
    """Remove drafts of dead writers, and versions of artifacts past their age."""
    from cytopipe.project import load_project
    from cytopipe.storage import Store

    project = load_project(options.project)
    if not project.output.is_dir():
        click.echo("nothing to sweep: nothing was made yet")
        return
    age_s = project.settings.keep_versions if older_than_s is None else older_than_s
    swept = Store(project.output).sweep(age_s)
    click.echo(
        f"removed {counted(swept.drafts, 'dead draft')} and {counted(swept.versions, 'old version')} "
        f"({swept.size_bytes:,} bytes), finished {counted(swept.recovered, 'interrupted write')}, "
        f"kept {swept.kept} drafts and versions"
    )
    for problem in swept.problems:
        click.echo(f"cytopipe: {problem}", err=True)


@click.command()
@click.option(
    "--gone", "gone", multiple=True, metavar="HOST", help="A host that is gone for good. Repeatable."
)
@click.pass_obj
def reap(options: Options, gone: tuple[str, ...]) -> None:
    """End runs whose process is gone, so that their data sets can be resumed.

    A run of another host is left alone unless --gone names that host.
    """
    from cytopipe.commands.project_context import open_project
    from cytopipe.defs.dead_runs import reap as end_dead_runs

    with open_project(options, look=False) as opened:
        for one in (outcomes := end_dead_runs(opened.instance, gone_hosts=gone)):
            click.echo(f"{one.run_id[:8]}  {one.outcome:8}  {one.why}")
    if not outcomes:
        click.echo("no run is dead")
    elif any(one.outcome == "failed" for one in outcomes):
        click.echo("Go on with: cytopipe resume")
