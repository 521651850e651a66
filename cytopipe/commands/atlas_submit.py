"""``cytopipe atlas submit``: one SLURM job per atlas, their states, and what came of them."""

from __future__ import annotations

from pathlib import Path

import click

from cytopipe.commands.paths import PATH
from cytopipe.errors import EngineError, Finding, ParameterError

__all__ = ["submit"]


@click.command("submit")
@click.option("--slurm", is_flag=True, help="Submit to SLURM.")
@click.option("--atlas", "names", multiple=True, help="Only these [default: every atlas with a path].")
@click.option("-o", "--output", type=PATH, help="Root of the results.")
@click.option("--cpus", type=int, default=8, show_default=True)
@click.option("--memory-gb", type=int, default=64, show_default=True)
@click.option("--time", "wall_time", default="12:00:00", show_default=True, help="D-HH:MM:SS")
@click.option("--partition", default="")
@click.option("--account", default="")
@click.option("--gres", default="", help="Such as gpu:1.")
@click.option("--dry-run", is_flag=True, help="Print the scripts and submit nothing.")
@click.option("--status", is_flag=True, help="Tell the states of what was submitted.")
@click.option("--collect", is_flag=True, help="As --status in JSON with outcomes; fails unless all are done.")
@click.argument("arguments", nargs=-1)
@click.pass_context
def submit(
    context: click.Context,
    slurm: bool,
    names: tuple[str, ...],
    output: Path | None,
    cpus: int,
    memory_gb: int,
    wall_time: str,
    partition: str,
    account: str,
    gres: str,
    dry_run: bool,
    status: bool,
    collect: bool,
    arguments: tuple[str, ...],
) -> None:
    """One SLURM job per atlas. ARGUMENTS after -- go to `cytopipe atlas run`.

    \b
    cytopipe atlas submit --slurm --dry-run
    cytopipe atlas submit --slurm --atlas cima --cpus 16 -- --n-bootstrap 200
    cytopipe atlas submit --status
    """
    from cytopipe.atlas.registry import get_atlas
    from cytopipe.commands.atlas_aggregate import project_registry
    from cytopipe.commands.atlas_slurm import Resources, job_script, job_states, states_as_json, submit_jobs
    from cytopipe.storage import Store

    registry, root, results = project_registry(getattr(context.obj, "project", None), names)
    output = output or results
    if status or collect:
        states = job_states(Store(output))
        if collect:
            click.echo(states_as_json(states))
        for state in states if status else ():
            click.echo(f"{state.atlas:<24} {state.job_id:>10}  {state.state}")
        open_ones = [state for state in states if state.state != "DONE"]
        if collect and open_ones:
            raise EngineError(
                [
                    Finding(what=f"job {one.job_id} is {one.state}", where=f"atlas {one.atlas}")
                    for one in open_ones
                ]
            )
        return
    if not slurm:
        raise ParameterError("no scheduler is named", expected="--slurm")
    chosen = names or [name for name, entry in registry.items() if entry.path]
    if not chosen:
        raise ParameterError(
            "no atlas has a path", next="Declare paths under atlas: in cytopipe.yaml, or pass --atlas NAME."
        )
    resources = Resources(cpus, memory_gb, wall_time, partition, account, gres)
    scripts = {
        name: job_script(get_atlas(name, registry), output, resources, arguments, root) for name in chosen
    }
    if dry_run:
        for script in scripts.values():
            click.echo(script)
        return
    for name, job_id in submit_jobs(Store(output), scripts).items():
        click.echo(f"{name:<24} {job_id:>10}  submitted")
