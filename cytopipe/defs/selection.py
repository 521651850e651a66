"""What a person means by names of assets and data sets, and the runs that would make it.

Nothing here imports Dagster: a plan is shown without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cytopipe.defs.artifact import Artifact, Graph, Partitions
from cytopipe.defs.ledger import WANTED, Ledger, Status
from cytopipe.errors import UserError
from cytopipe.project.findings import did_you_mean

__all__ = [
    "Run",
    "broken",
    "choose",
    "done_of",
    "held",
    "neighbours",
    "operations",
    "plan_runs",
    "select",
    "switched_off",
]


@dataclass(frozen=True)
class Run:
    """One run: the assets of one operation, over neighbouring partitions (none: assets without
    partitions).
    """

    operation: str
    assets: tuple[str, ...]
    keys: tuple[str, ...]


def choose(
    ledger: Ledger,
    assets: Sequence[str] = (),
    partitions: Sequence[str] = (),
    *,
    only: bool = False,
    again: bool = False,
    noted: bool = False,
) -> list[Status]:
    """The partitions that a command would make, in the order of the flow.

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
    noted : bool
        With `again`, of what is done only what has a note: a failed check, a removal.

    Raises
    ------
    UserError
        If a name is unknown.
    """
    states = () if again else (*WANTED, "broken")
    if not partitions and not assets:
        return _not_held(ledger.statuses(ledger.graph.makers, states, noted=noted))
    wanted = _meant(ledger, assets, partitions)
    if not only:
        _add_made_from(ledger, wanted)
    if len(assets) == 1 and (step := ledger.graph.makers.get(assets[0])) and step.held:
        named = select(ledger, assets, partitions)
        if any(one.state == "held" for one in named):  # alone: a person approves
            return [one for one in named if again or one.state != "done"]
    return _not_held(ledger.statuses(ledger.graph.makers, states, keys=wanted, noted=noted))


def held(ledger: Ledger, assets: Sequence[str] = (), partitions: Sequence[str] = ()) -> list[Status]:
    """Of what these names mean, what waits for a person to approve; errors as :func:`choose`."""
    return select(ledger, assets, partitions, ("held",))


def _not_held(found: Iterable[Status]) -> list[Status]:
    return [one for one in found if one.state != "held"]


def select(
    ledger: Ledger,
    assets: Sequence[str] = (),
    partitions: Sequence[str] = (),
    states: Sequence[str] = (),
    *,
    noted: bool = False,
) -> list[Status]:
    """The state of every partition that these names mean; errors as :func:`choose`.

    `states` and `noted` leave some out; see :meth:`Ledger.statuses`.
    """
    meant = _assets(ledger.graph, assets)
    keys = _meant(ledger, assets, partitions) if partitions else None
    return list(ledger.statuses(meant, states, keys=keys, noted=noted))


def _meant(ledger: Ledger, assets: Sequence[str], partitions: Sequence[str]) -> dict[str, set[str]]:
    """The partitions that names mean, by asset."""
    meant = _assets(ledger.graph, assets)
    makers, relations = ledger.graph.makers, ledger.relations
    if not partitions:
        return {asset: set(ledger.keys(makers[asset])) for asset in meant}
    keys = _keys(ledger, partitions)
    for asset in assets:
        if asset in makers and makers[asset].by is None:
            raise UserError(f"{asset} is made from all data sets", next="Leave out -p.")
    return {asset: keys.get(makers[asset].by, set()) & relations.made_set(makers[asset]) for asset in meant}


def done_of(ledger: Ledger, assets: Sequence[str] = ()) -> dict[str, int]:
    """How many partitions of these assets are done and have no note; errors as :func:`choose`."""
    return {asset: number for asset in _assets(ledger.graph, assets) if (number := ledger.n_done(asset))}


def switched_off(
    ledger: Ledger, assets: Sequence[str] = (), partitions: Sequence[str] = ()
) -> Iterator[tuple[str, str]]:
    """(asset, key) that these names would mean, and that the settings of their entries do not use; what was
    made before may still lie there.
    """
    keys = _keys(ledger, partitions) if partitions else None
    for asset in _assets(ledger.graph, assets):
        step = ledger.graph.makers[asset]
        made = ledger.relations.made_set(step)
        for key in ledger.relations.keys(step.by) if step.by is not None else ():
            if key not in made and (keys is None or key in keys.get(step.by, ())):
                yield asset, key


def broken(ledger: Ledger) -> Iterator[Status]:
    """The entries of the project file that cannot be used, as partitions of the first artifact of their
    domain.
    """
    for (owner, name), findings in ledger.project.broken.items():
        for step in ledger.graph.artifacts:
            if step.domain == owner or (step.by is not None and step.by.name == owner):
                yield Status(step.asset, name, "broken", tuple(str(one) for one in findings))
                break


def operations(graph: Graph) -> Iterator[tuple[str, Partitions | None, tuple[Artifact, ...]]]:
    """(name, partitions, artifacts): those of a domain over one set of partitions, which one operation makes.

    An operation comes after those whose artifacts it needs.

    Artifacts of one set that are made from another set in between stand in operations of their own, since the
    graph of operations must have no circle.
    """
    rank = _ranks(graph)
    found: dict[tuple[str, Partitions | None, int], list[Artifact]] = {}
    for step in graph.artifacts:
        found.setdefault((step.domain, step.by, rank[step.asset]), []).append(step)
    names: dict[str, int] = {}
    in_order = sorted(found.items(), key=lambda one: (graph.domains.index(one[0][0]), one[0][2]))
    for (domain, by, _), steps in in_order:
        name = domain if by is not None and by.name == domain else f"{domain}_{_tail(domain, by)}"
        names[name] = names.get(name, 0) + 1
        yield (name if names[name] == 1 else f"{name}_{names[name]}"), by, tuple(steps)


def plan_runs(ledger: Ledger, chosen: Iterable[Status]) -> list[Run]:
    """The runs that make what was chosen, in an order in which they can be made."""
    wanted: dict[str, set[str]] = {}
    for one in chosen:
        if one.state != "broken":
            wanted.setdefault(one.asset, set()).add(one.key)
    runs = []
    for name, by, steps in operations(ledger.graph):
        assets_by_key: dict[str, tuple[str, ...]] = {}
        order = ledger.relations.keys(by)
        for key in order:
            assets = tuple(asset for step in steps for asset in step.makes if key in wanted.get(asset, ()))
            if assets:
                assets_by_key[key] = assets
        for assets in dict.fromkeys(assets_by_key.values()):
            keys = {key for key, some in assets_by_key.items() if some == assets}
            if by is None:
                runs.append(Run(name, assets, ()))
            else:
                runs += [Run(name, assets, tuple(some)) for some in neighbours(order, keys, by)]
    return runs


def neighbours(order: Sequence[str], wanted: set[str], by: Partitions) -> list[list[str]]:
    """Split `wanted` into neighbours in `order`, none more than a run takes; of a grid, within one row of
    it.
    """
    found: list[list[str]] = []
    before = ""
    for key in order:
        row = key.split("|")[0] if by.dimensions else ""
        if key not in wanted:
            before = ""
            continue
        if not before or before != (row or "-") or len(found[-1]) >= by.per_run:
            found.append([])
        found[-1].append(key)
        before = row or "-"
    return found


def _ranks(graph: Graph) -> dict[str, int]:
    """How many times the way to an artifact changes from one set of partitions to another."""
    rank: dict[str, int] = {}
    for step in graph.artifacts:
        above = [
            rank[upstream] + (graph.by_asset[upstream].by is not step.by)
            for upstream in step.inputs.values()
            if upstream not in graph.sources
        ]
        for asset in step.makes:
            rank[asset] = max(above, default=0)
    return rank


def _tail(domain: str, by: Partitions | None) -> str:
    return by.name.removeprefix(f"{domain}_") if by else "project"


def _assets(graph: Graph, names: Sequence[str]) -> list[str]:
    """The assets that names mean, in the order of the flow: an asset's own, or that of all below it
    (``screen``, ``screen/sbs``).
    """
    named = {asset: {asset[:at] for at, one in enumerate(asset) if one == "/"} for asset in graph.makers}
    groups = dict.fromkeys(group for some in named.values() for group in sorted(some))
    known = [*groups, *graph.makers]
    if unknown := [name for name in names if name not in known]:
        raise UserError(
            f"no asset or domain '{unknown[0]}'",
            expected=f"{', '.join(groups)}, or one asset of these",
            next=did_you_mean(unknown[0], known),
        )
    wanted = set(names)
    return [one for one in graph.makers if not wanted or one in wanted or named[one] & wanted]


def _add_made_from(ledger: Ledger, wanted: dict[str, set[str]]) -> None:
    """Add everything that partitions are made from, and that from which those are."""
    for step in reversed(ledger.graph.artifacts):
        keys = set().union(*(wanted.get(asset, ()) for asset in step.makes))
        for name, upstream in step.inputs.items() if keys else ():
            if upstream in ledger.graph.makers:
                found = ledger.relations.parents_of_all(step, name, keys)
                wanted[upstream] = wanted.get(upstream, set()) | found


def _keys(ledger: Ledger, texts: Sequence[str]) -> Mapping[Partitions, set[str]]:
    """The keys that ``-p`` means, by their set: a data set with all of its parts."""
    found: dict[Partitions, set[str]] = {}
    for text in texts:
        for by, keys in _named(ledger, text):
            found.setdefault(by, set()).update(keys)
            for finer in ledger.graph.partitions:
                if by in finer.within:
                    parts = ledger.relations.parts(finer, by)
                    found.setdefault(finer, set()).update(part for key in keys for part in parts.get(key, ()))
    return found


def _named(ledger: Ledger, text: str) -> Iterator[tuple[Partitions, list[str]]]:
    """The sets in which a key or a range is, with the keys."""
    first, dots, last = text.partition("..")
    sets = [(by, ledger.relations.keys(by)) for by in ledger.graph.partitions]
    if any(text in keys for _, keys in sets) or not dots:
        first = last = text
    known = {key for _, keys in sets for key in keys}
    for end in (first, last):
        if end not in known:
            raise UserError(
                f"no data set '{end}'",
                expected=", ".join(sorted(known)[:20]),
                next=did_you_mean(end, known),
            )
    holding = [(by, list(keys)) for by, keys in sets if first in keys and last in keys]
    if not holding:
        raise UserError(
            f"'{first}' and '{last}' are not in one series",
            expected="two data sets of a domain, or two parts of such",
        )
    for by, keys in holding:
        begin, end = sorted((keys.index(first), keys.index(last)))
        yield by, keys[begin : end + 1]
