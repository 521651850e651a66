"""From a choice to finished runs: the plan shown or carried out, and what came of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click

from cytopipe.commands.progress import RunProgress, open_display
from cytopipe.commands.project_context import ProjectContext
from cytopipe.commands.words import counted
from cytopipe.defs.event import named
from cytopipe.defs.ledger import WANTED, Status
from cytopipe.defs.overview import is_overview
from cytopipe.defs.progress import listen
from cytopipe.defs.selection import Run, plan_runs
from cytopipe.errors import Interrupted

if TYPE_CHECKING:  # Dagster is imported where something is run: a plan is shown without it
    from cytopipe.defs.running import Finished

__all__ = ["carry_out", "show_held", "show_plan", "verify_archive"]

_MARKS = {
    "done": "done",
    "missing": "make",
    "stale": "again",
    "needed": "again",
    "failed": "retry",
    "interrupted": "go on",
}
_PATHS_SHOWN = 50
_HELD_SHOWN = 10


def show_plan(opened: ProjectContext, chosen: list[Status], *, as_json: bool) -> None:
    """Print what would be done, in order, and why."""
    runs = plan_runs(opened.ledger, chosen)
    if as_json:
        steps = [
            {"asset": one.asset, "partition": one.key, "state": one.state, "reasons": list(one.reasons)}
            for one in chosen
        ]
        told = [{"assets": list(run.assets), "partitions": list(run.keys)} for run in runs]
        click.echo(json.dumps({"steps": steps, "runs": told}, indent=2))
        return
    for one in chosen:
        mark = _MARKS.get(one.state, one.state)
        partition = f"[{one.key}]  " if one.key else ""
        click.echo(f"{mark:8}{one.asset}  {partition}{'; '.join(one.reasons)}".rstrip())
    steps = sum(one.state != "broken" for one in chosen)
    if chosen:
        click.echo(f"{counted(steps, 'partition')} of assets in {counted(len(runs), 'run')}")
    else:
        click.echo("nothing to do")


def show_held(held: list[Status]) -> None:
    """Print what a person has to approve before the rest can be made, and how much waits for it."""
    numbers = Counter(reason for one in held for reason in one.reasons[:1])
    for reason, number in list(numbers.items())[:_HELD_SHOWN]:
        click.echo(f"held    {counted(number, 'partition')} of assets: {reason}")
    if len(numbers) > _HELD_SHOWN:
        click.echo(f"held    and for {len(numbers) - _HELD_SHOWN} more reasons; see: cytopipe status")


def carry_out(
    opened: ProjectContext,
    chosen: list[Status],
    *,
    meant: Callable[[], Iterable[Status]] = tuple,
    quiet: bool = False,
    list_paths: bool = True,
) -> int:
    """Run what was chosen, and say where it lies.

    Parameters
    ----------
    meant : callable, optional
        Everything that the choice was made from, judged anew: a check of what was done before counts too.

    Returns
    -------
    int
        0; 1 if anything failed, be it a check that does not block; 2 if an entry cannot be used.

    Raises
    ------
    Interrupted
        If a run was canceled.
    """
    broken = [one for one in chosen if one.state == "broken"]
    for reason in dict.fromkeys(reason for one in broken for reason in one.reasons):
        click.echo(f"cytopipe: {reason}", err=True)
    runs = plan_runs(opened.ledger, (one for one in chosen if not is_overview(one.asset)))
    if not runs and not any(is_overview(one.asset) for one in chosen):
        click.echo("nothing to do: everything chosen is up to date" if not broken else "nothing else to do")
        return 2 if broken else int(_tell_failed_checks(meant()))
    reasons = {(one.asset, one.key): "; ".join(one.reasons) for one in chosen}
    finished: list[Finished] = []
    with open_display(quiet=quiet) as display, listen(RunProgress(display)):
        display.step("loading the graph", 0, 0)
        from cytopipe.defs.definitions import definitions_of
        from cytopipe.defs.resources import read_once
        from cytopipe.defs.running import run_assets

        definitions = definitions_of(opened.project, file=str(opened.project.file))
        instance = opened.instance
        display.end("loading the graph")
        with read_once(opened.project):
            for run in runs:
                why = reasons.get((run.assets[0], run.keys[0] if run.keys else ""), "")
                finished.append(run_assets(instance, definitions, run, why=f"{run.operation}: {why}"))
                if finished[-1].outcome == "canceled":
                    break
            else:
                opened.ledger.refresh()
                overviews = [asset for asset in opened.ledger.graph.makers if is_overview(asset)]
                for run in plan_runs(opened.ledger, opened.ledger.statuses(overviews, WANTED)):
                    finished.append(run_assets(instance, definitions, run, why="its data sets changed"))
    opened.ledger.refresh()
    return _account(opened, chosen, finished, meant, broken=bool(broken), list_paths=list_paths)


def verify_archive(opened: ProjectContext) -> None:
    """Compare every artifact with its manifest, as the weekly run does."""
    from cytopipe.defs.definitions import definitions_of
    from cytopipe.defs.running import run_assets

    definitions = definitions_of(opened.project, file=str(opened.project.file))
    run = Run("maintenance", ("maintenance/archive_health",), ())
    finished = run_assets(opened.instance, definitions, run, why="asked for")
    for words in finished.errors:
        click.echo(f"cytopipe: {words}", err=True)


def _account(
    opened: ProjectContext,
    chosen: list[Status],
    finished: list[Finished],
    meant: Callable[[], Iterable[Status]],
    *,
    broken: bool,
    list_paths: bool,
) -> int:
    """Say what came of it, where it lies, and what to do about the rest."""
    made = [opened.ledger.status(one.asset, one.key) for one in chosen if one.state != "broken"]
    done = [one for one in made if one.state == "done"]
    click.echo(f"{len(done)} of {len(made)} done in {counted(len(finished), 'run')}")
    lying = [one for one in done if list_paths and one.record and "path" in one.record.facts]
    paths = list(dict.fromkeys(_shown_path(opened, one) for one in lying))
    for path in paths[:_PATHS_SHOWN]:
        click.echo(f"  {path}")
    if len(paths) > _PATHS_SHOWN:
        click.echo(f"  and {len(paths) - _PATHS_SHOWN} more; see: cytopipe status")
    warned = _tell_failed_checks(dict.fromkeys([*done, *meant()]))
    canceled = [one for one in finished if one.outcome == "canceled"]
    if canceled:
        raise Interrupted(
            f"run {canceled[0].run_id[:8]} was canceled; what is finished is saved",
            next="Go on with: cytopipe resume",
        )
    failed = [one for one in made if one.state == "failed"]
    for one in failed:
        click.echo(f"cytopipe: {named(one.asset, one.key)}: {'; '.join(one.reasons)}", err=True)
    unexplained = [one for one in finished if one.outcome == "failure"] if not failed else []
    for one in unexplained:
        words = "; ".join(one.errors) or "see the browser"
        click.echo(f"cytopipe: run {one.run_id[:8]} failed: {words}", err=True)
    if failed or unexplained or _left(made):
        return 1
    return 2 if broken else int(warned)


def _tell_failed_checks(judged: Iterable[Status]) -> bool:
    """Tell which artifacts are done although a check that does not block failed; whether there are any."""
    failed = [one for one in judged if one.warns]
    for one in failed:
        click.echo(f"cytopipe: {named(one.asset, one.key)}: {'; '.join(one.reasons)}", err=True)
    return bool(failed)


def _left(made: Iterable[Status]) -> bool:
    """Whether something that was asked for was not made: what it is made from failed."""
    return any(one.state in ("missing", "stale", "needed") for one in made)


def _shown_path(opened: ProjectContext, one: Status) -> str:
    """Where an artifact lies, as a person can paste it from where they stand."""
    from cytopipe.commands.paths import paste

    assert one.record is not None
    return paste(opened.project.directory / str(one.record.facts["path"]))
