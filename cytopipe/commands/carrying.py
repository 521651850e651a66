"""From a choice to finished runs: what of the plan is meant, shown or carried out, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import click

from cytopipe.commands.opened import Opened
from cytopipe.commands.progress import RunProgress, open_display
from cytopipe.commands.words import counted
from cytopipe.defs import books
from cytopipe.defs.definitions import GRAPH
from cytopipe.defs.listening import listen
from cytopipe.defs.overview import overview_key
from cytopipe.defs.plan import Judgement, Place, judge
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
        Keys or ranges ``first..last``, each with the parts of its data sets; none: all of them.
    only : bool
        Leave out what the chosen partitions are made from.
    again : bool
        Keep what is done, too.

    Raises
    ------
    UserError
        If a name is unknown, or means nothing that could be made.
    """
    states = {"missing", "stale", "failed", "interrupted", "broken"} | ({"done"} if again else set())
    return [one for one in select(opened, assets, partitions, only=only) if one.state in states]


def select(
    opened: Opened, assets: Sequence[str] = (), partitions: Sequence[str] = (), *, only: bool = True
) -> list[Judgement]:
    """Every judgement about these assets and partitions; parameters and errors as for :func:`choose`."""
    meant = _assets(assets)
    _refuse_what_cannot_be(opened, assets, partitions)
    judged = judge(opened.project, opened.instance, GRAPH)
    keys = _keys(opened, partitions, {one.partition for one in judged})
    wanted = {one.place for one in judged if one.asset in meant and one.partition in keys}
    if not only:
        wanted |= _upstream(opened, wanted)
    return [one for one in judged if one.place in wanted]


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
        partition = f"[{one.partition}]  " if one.partition else ""
        click.echo(f"{mark:8}{one.asset}  {partition}{'; '.join(one.reasons)}".rstrip())
    steps = sum(one.state != "broken" for one in chosen)
    click.echo(
        f"{counted(steps, 'partition')} of assets in {counted(len(runs), 'run')}"
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
    reasons = {one.place: "; ".join(one.reasons) for one in chosen}
    finished: list[Finished] = []
    with open_display(quiet=quiet) as display, listen(RunProgress(display)):
        for domain, assets, keys in (one for one in runs if one[2]):
            why = reasons.get((assets[0], keys[0]), "")
            finished.append(
                run_assets(opened.instance, assets, keys, why=f"{domain}: {why}" if why else domain)
            )
            if finished[-1].outcome == "canceled":
                break
        if all(one.outcome != "canceled" for one in finished):
            finished += _gathered(opened, {domain for domain, _, _ in runs})
    return _account(opened, chosen, finished, broken=bool(broken))


def _gathered(opened: Opened, domains: Iterable[str]) -> list[Finished]:
    """What gathers all data sets of the domains that had something to do: their tables, comparisons."""
    gathered = {
        domain: [one.asset for chain in GRAPH.chains_of(domain) for one in chain.gathered]
        for domain in sorted(domains)
    }
    return [
        run_assets(opened.instance, [overview_key(domain), *assets], [], why="its data sets changed")
        for domain, assets in gathered.items()
    ]


def _account(opened: Opened, chosen: list[Judgement], finished: list[Finished], *, broken: bool) -> int:
    """Say what came of it, where it lies, and what to do about the rest."""
    after = {one.place: one for one in judge(opened.project, opened.instance, GRAPH)}
    meant = [one.place for one in chosen if one.state != "broken"]
    made = [after[place] for place in meant if place in after]
    done = [one for one in made if one.state == "done"]
    click.echo(f"{len(done)} of {len(made)} done in {counted(len(finished), 'run')}")
    for path in dict.fromkeys(str(one.record.metadata.get("path", "")) for one in done if one.record):
        click.echo(f"  {path}")
    canceled = [one for one in finished if one.outcome == "canceled"]
    if canceled:
        raise Interrupted(
            f"run {canceled[0].run_id[:8]} was canceled; what is finished is saved",
            next="Go on with: cytopipe resume",
        )
    failed = [one for one in made if one.state == "failed" or (one.state == "missing" and not one.partition)]
    for one in failed:
        name = books.named(one.asset, one.partition)
        click.echo(f"cytopipe: {name}: {'; '.join(one.reasons)}", err=True)
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


def _assets(names: Sequence[str]) -> set[str]:
    """The assets that names mean."""
    assets = [*GRAPH.steps, *GRAPH.gatherings]
    if unknown := [name for name in names if name not in assets and name not in GRAPH.domains]:
        known = [*GRAPH.domains, *assets]
        raise UserError(
            f"no asset or domain '{unknown[0]}'",
            expected=", ".join(known),
            next=did_you_mean(unknown[0], known),
        )
    return {asset for asset in assets if not names or asset in names or asset.split("/")[0] in names}


def _refuse_what_cannot_be(opened: Opened, assets: Sequence[str], partitions: Sequence[str]) -> None:
    """Refuse an asset without partitions that is asked for by partition, or has nothing to be made from."""
    for gathering in (GRAPH.gatherings[name] for name in assets if name in GRAPH.gatherings):
        if partitions:
            raise UserError(f"{gathering.asset} gathers all data sets", next="Leave out -p.")
        if not gathering.inputs(opened.project):
            raise UserError(
                f"{gathering.asset} has nothing to be made from",
                where=str(opened.project.file),
                expected=gathering.needs,
                next="See which data sets there are with: cytopipe check",
            )


def _upstream(opened: Opened, places: Iterable[Place]) -> set[Place]:
    """Everything that partitions are made from, and that from which those are."""
    found: set[Place] = set()
    pending = list(places)
    while pending:
        new = set(GRAPH.inputs_of(opened.project, *pending.pop())) - found
        found |= new
        pending += new
    return found


def _keys(opened: Opened, wanted: Sequence[str], known: set[str]) -> set[str]:
    """The partition keys that ``-p`` means; a data set with all of its parts."""
    if not wanted:
        return known
    found: set[str] = set()
    for text in wanted:
        first, dots, last = text.partition("..")
        if text in known or not dots:
            first = last = text
        for end in (first, last):
            if end not in known or not end:
                raise UserError(
                    f"no data set '{end}'",
                    expected=", ".join(sorted(known - {""})[:20]),
                    next=did_you_mean(end, known),
                )
        found |= {first} if first == last else _range(opened, first, last)
    parts = (data for data_sets in opened.project.data_sets.values() for data in data_sets.values())
    return found | {data.key for data in parts if data.parent in found}


def _range(opened: Opened, first: str, last: str) -> set[str]:
    """The keys from one to another, in the order in which they were added."""
    for chain in GRAPH.chains:
        order = list(opened.instance.get_dynamic_partitions(chain.partitions))
        if first in order and last in order:
            begin, end = sorted((order.index(first), order.index(last)))
            return set(order[begin : end + 1])
    raise UserError(
        f"'{first}' and '{last}' are not in one series",
        expected="two data sets of a domain, or two parts of such",
    )
