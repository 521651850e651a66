"""From a choice to finished runs: what of the plan is meant, shown or carried out, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import click

from cytopipe.commands.opened import Opened
from cytopipe.commands.watching import open_watch
from cytopipe.defs.definitions import GRAPH
from cytopipe.defs.listening import listen
from cytopipe.defs.overview import overview_key
from cytopipe.defs.plan import Judgement, judge
from cytopipe.defs.running import Finished, plan_runs, run_assets
from cytopipe.errors import Interrupted, UserError
from cytopipe.project.findings import did_you_mean

__all__ = ["carry_out", "choose", "select", "show_plan"]

_MARKS = {"done": "done", "missing": "make", "stale": "again", "failed": "retry", "interrupted": "go on"}


def choose(
    opened: Opened,
    assets: Sequence[str] = (),
    partitions: Sequence[str] = (),
    *,
    only: bool = False,
    again: bool = False,
) -> list[Judgement]:
    """The judgements that a command is about.

    Parameters
    ----------
    assets : sequence of str
        Assets or domains; none: all of them.
    partitions : sequence of str
        Keys or ranges ``first..last``; none: all of them.
    only : bool
        Leave out what the assets are made from.
    again : bool
        Keep what is done, too.

    Raises
    ------
    UserError
        If a name is unknown; all of them are told.
    """
    states = {"missing", "stale", "failed", "interrupted", "broken"} | ({"done"} if again else set())
    return [one for one in select(opened, assets, partitions, only=only) if one.state in states]


def select(
    opened: Opened, assets: Sequence[str] = (), partitions: Sequence[str] = (), *, only: bool = True
) -> list[Judgement]:
    """Every judgement about these assets and partitions; parameters and errors as for :func:`choose`."""
    wanted_assets = _assets(assets, only=only)
    judged = judge(opened.project, opened.instance, GRAPH)
    keys = _keys(opened, partitions, {one.partition for one in judged})
    return [one for one in judged if one.asset in wanted_assets and one.partition in keys]


def show_plan(opened: Opened, chosen: list[Judgement], *, as_json: bool) -> None:
    """Print what would be done, in order, and why."""
    runs = list(plan_runs(opened.instance, _by_asset(chosen)))
    if as_json:
        document = {
            "steps": [
                {
                    "asset": one.asset,
                    "partition": one.partition,
                    "state": one.state,
                    "reasons": list(one.reasons),
                }
                for one in chosen
            ],
            "runs": [{"assets": assets, "partitions": keys} for _, assets, keys in runs],
        }
        click.echo(json.dumps(document, indent=2))
        return
    for one in chosen:
        mark = _MARKS.get(one.state, one.state)
        click.echo(f"{mark:8}{one.asset}  [{one.partition}]  {'; '.join(one.reasons)}".rstrip())
    steps = sum(one.state != "broken" for one in chosen)
    click.echo(
        f"{steps} partitions of assets in {len(runs)} run{'' if len(runs) == 1 else 's'}"
        if chosen
        else "nothing to do"
    )


def carry_out(opened: Opened, chosen: list[Judgement], *, quiet: bool = False) -> int:
    """Run what was chosen; returns 0, or 1 if anything failed.

    Raises
    ------
    Interrupted
        If a run was canceled.
    """
    broken = [one for one in chosen if one.state == "broken"]
    for reason in dict.fromkeys(reason for one in broken for reason in one.reasons):
        click.echo(f"cytopipe: {reason}", err=True)
    runs = list(plan_runs(opened.instance, _by_asset(chosen)))
    if not runs:
        click.echo("nothing to do: everything chosen is up to date" if not broken else "nothing else to do")
        return 2 if broken else 0
    reasons = {(one.asset, one.partition): "; ".join(one.reasons) for one in chosen}
    finished: list[Finished] = []
    with open_watch(quiet=quiet) as watch, listen(watch):
        for domain, assets, keys in runs:
            why = reasons.get((assets[0], keys[0]), "")
            finished.append(
                run_assets(opened.instance, assets, keys, why=f"{domain}: {why}" if why else domain)
            )
            if finished[-1].outcome == "canceled":
                break
        if all(one.outcome != "canceled" for one in finished):
            finished += _overviews(opened, {domain for domain, _, _ in runs})
    return _account(opened, chosen, finished, broken=bool(broken))


def _overviews(opened: Opened, domains: Iterable[str]) -> list[Finished]:
    """What gathers all data sets of the domains that had runs: their tables, comparisons."""
    return [
        run_assets(
            opened.instance,
            [overview_key(one), *GRAPH.chain_of(one).gathered],
            [],
            why="its data sets changed",
        )
        for one in sorted(domains)
    ]


def _account(opened: Opened, chosen: list[Judgement], finished: list[Finished], *, broken: bool) -> int:
    """Say what came of it, where it lies, and what to do about the rest."""
    after = {(one.asset, one.partition): one for one in judge(opened.project, opened.instance, GRAPH)}
    meant = [(one.asset, one.partition) for one in chosen if one.state != "broken"]
    made = [after[place] for place in meant if place in after]
    done = [one for one in made if one.state == "done"]
    click.echo(f"{len(done)} of {len(made)} done in {len(finished)} run{'' if len(finished) == 1 else 's'}")
    for path in dict.fromkeys(str(one.record.metadata.get("path", "")) for one in done if one.record):
        click.echo(f"  {path}")
    canceled = [one for one in finished if one.outcome == "canceled"]
    if canceled:
        raise Interrupted(
            f"run {canceled[0].run_id[:8]} was canceled; what is finished is saved",
            next="Go on with: cytopipe resume",
        )
    failed = [one for one in made if one.state == "failed"]
    for one in failed:
        click.echo(f"cytopipe: {one.asset} [{one.partition}]: {'; '.join(one.reasons)}", err=True)
    unexplained = [one for one in finished if one.outcome == "failure"] if not failed else []
    for one in unexplained:
        click.echo(
            f"cytopipe: run {one.run_id[:8]} failed: {'; '.join(one.errors) or 'see the browser'}", err=True
        )
    if failed or unexplained:
        return 1
    return 2 if broken else 0


def _by_asset(chosen: Iterable[Judgement]) -> dict[str, list[str]]:
    wanted: dict[str, list[str]] = {}
    for one in chosen:
        if one.state != "broken":
            wanted.setdefault(one.asset, []).append(one.partition)
    return wanted


def _assets(names: Sequence[str], *, only: bool) -> set[str]:
    """The assets that names mean, with what they are made from unless `only`."""
    steps = GRAPH.steps
    if not names:
        return set(steps)
    unknown = [name for name in names if name not in steps and name not in GRAPH.domains]
    if unknown:
        known = [*GRAPH.domains, *steps]
        raise UserError(
            f"no asset or domain '{unknown[0]}'",
            expected=", ".join(known),
            next=did_you_mean(unknown[0], known),
        )
    chosen = {asset for asset in steps if asset in names or asset.split("/")[0] in names}
    while not only:
        grown = chosen | {up for asset in chosen for up in steps[asset].after if up in steps}
        if grown == chosen:
            break
        chosen = grown
    return chosen


def _keys(opened: Opened, wanted: Sequence[str], known: set[str]) -> set[str]:
    """The partition keys that ``-p`` means."""
    if not wanted:
        return known
    found: set[str] = set()
    for text in wanted:
        first, dots, last = text.partition("..")
        if text in known or not dots:
            first = last = text
        for end in (first, last):
            if end not in known:
                raise UserError(
                    f"no data set '{end}'",
                    expected=", ".join(sorted(known)[:20]),
                    next=did_you_mean(end, known),
                )
        if first == last:
            found.add(first)
            continue
        for domain in GRAPH.domains:
            order = list(opened.instance.get_dynamic_partitions(domain))
            if first in order and last in order:
                begin, end_at = sorted((order.index(first), order.index(last)))
                found |= set(order[begin : end_at + 1])
    return found
