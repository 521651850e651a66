"""``materialize`` and ``resume``: the plan, with its reasons, and then the runs that carry it out."""

from __future__ import annotations

import click

from cytopipe.cli import Options
from cytopipe.errors import UserError

__all__ = ["materialize", "resume"]

_QUIET = click.option("-q", "--quiet", is_flag=True, help="Say only what has to be known.")
_DRY = click.option("-n", "--dry-run", is_flag=True, help="Say what would be done, and why; do nothing.")
_JSON = click.option("--json", "as_json", is_flag=True, help="With --dry-run: the plan as JSON.")


@click.command()
@click.argument("assets", nargs=-1)
@click.option(
    "-p", "--partition", "partitions", multiple=True, help="A data set, or a range FIRST..LAST. Repeatable."
)
@click.option("--all", "everything", is_flag=True, help="Everything that is missing, stale or failed.")
@click.option("--only", is_flag=True, help="Exactly the assets named, not what they are made from.")
@click.option(
    "--again",
    is_flag=True,
    help="Also what is done: it is told as up to date; an asset that is named and was removed is made again.",
)
@_DRY
@_JSON
@_QUIET
@click.pass_obj
def materialize(
    options: Options,
    assets: tuple[str, ...],
    partitions: tuple[str, ...],
    everything: bool,
    only: bool,
    again: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Make what is missing or stale, as Dagster runs that the browser shows.

    ASSETS are names such as decompose/final, or a domain; what they are made from is made first. A data set
    is meant with its parts: cima.L1 with cima.L1.cytosig. What history says is done is left. Ctrl-C saves a
    checkpoint and ends the run as canceled; the same command goes on from there.

    Exit code 1 if anything failed, or if a check that does not block did, as with `cytopipe status`; 2 if an
    entry of the project file cannot be used; 130 after Ctrl-C.

    \b
      cytopipe materialize --all
      cytopipe materialize decompose -p russula
      cytopipe materialize decompose/final -p a..f --dry-run
      cytopipe materialize atlas/activity -p cima.L1.cytosig
      cytopipe materialize atlas/cross_atlas
    """
    from cytopipe.commands.project_context import open_project

    if not (assets or partitions or everything):
        raise UserError(
            "nothing was chosen", next="Name assets or a domain, data sets with -p, or say --all."
        )
    with open_project(options, quiet=quiet) as opened:
        from cytopipe.commands.execution import carry_out, show_held, show_plan
        from cytopipe.defs.ledger import Status
        from cytopipe.defs.removal import want_again
        from cytopipe.defs.selection import broken, choose, held, select

        named = [asset for asset in assets if asset in opened.ledger.graph.makers]
        if again and named and not dry_run:
            wanted = select(opened.ledger, named, partitions)
            want_again(opened.ledger, [(one.asset, one.key) for one in wanted])
        chosen = choose(opened.ledger, assets, partitions, only=only, again=again)
        if not as_json:
            alone = set(chosen)  # asked for by name, alone: a person approves
            show_held([one for one in held(opened.ledger, assets, partitions) if one not in alone])
        chosen += [] if partitions else [one for one in broken(opened.ledger) if _is_meant(one.asset, assets)]
        if dry_run:
            show_plan(opened, opened.with_running(chosen), as_json=as_json)
            return 0

        def meant() -> list[Status]:
            return choose(opened.ledger, assets, partitions, only=only, again=True, noted=True)

        return carry_out(opened, chosen, meant=meant, quiet=quiet)


def _is_meant(asset: str, names: tuple[str, ...]) -> bool:
    return not names or any(name.split("/")[0] == asset.split("/")[0] for name in names)


@click.command()
@_DRY
@_JSON
@_QUIET
@click.pass_obj
def resume(options: Options, dry_run: bool, as_json: bool, quiet: bool) -> int:
    """Go on with what was interrupted or failed, from its last checkpoints.

    Runs that a dead process left as started are ended first.
    """
    from cytopipe.commands.project_context import open_project

    with open_project(options, quiet=quiet) as opened:
        from cytopipe.commands.execution import carry_out, show_plan
        from cytopipe.defs.selection import choose

        ledger = opened.ledger
        begun = list(ledger.statuses(ledger.graph.makers, ("failed", "interrupted")))
        keys = dict.fromkeys(one.key for one in begun if one.key)
        chosen = choose(ledger, partitions=list(keys)) if keys else []
        chosen += [one for one in begun if not one.key]
        if dry_run:
            show_plan(opened, chosen, as_json=as_json)
            return 0
        return carry_out(opened, chosen, quiet=quiet)
