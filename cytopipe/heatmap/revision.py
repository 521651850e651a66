"""Metaclusters as a person revises them: merged, renamed, joined by other clusters, coloured.

A metacluster is called by its name or its number, a cluster by its identifier. Every name that means
nothing is told at once, with those that there are.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from cytopipe.errors import Finding, InputError
from cytopipe.heatmap.choices import Revision
from cytopipe.heatmap.colours import with_colours
from cytopipe.heatmap.linkage import cut
from cytopipe.heatmap.state import NOT_REVISED, UNASSIGNED, UNASSIGNED_NAME, HeatmapState

__all__ = ["Naming", "revised"]

_SHOWN = 40


class Naming:
    """What names mean in a state: numbers of metaclusters, rows of clusters; faults are gathered.

    Parameters
    ----------
    state : HeatmapState
    """

    def __init__(self, state: HeatmapState) -> None:
        self.findings: list[Finding] = []
        self.names = {number: state.name_of(number) for number in state.metaclusters}
        self.merged: dict[int, str] = {}
        self._rows = {name: row for row, name in enumerate(state.cluster_ids)}

    def number(self, name: str) -> int | None:
        """The number of the metacluster that a name or a number means; None where it means none."""
        by_name = {shown: number for number, shown in self.names.items()}
        if name in by_name:
            return by_name[name]
        if name == UNASSIGNED_NAME:
            return UNASSIGNED
        found = re.fullmatch(r"(?:Metacluster )?(\d{1,9})", name)
        return int(found[1]) if found and int(found[1]) in self.names else None

    def known(self, where: str, name: str) -> int | None:
        """As `number`; a name that means nothing is a finding."""
        if (number := self.number(name)) is None:
            was = self.merged.get(int(name)) if name.isdecimal() and len(name) < 10 else None
            what = (
                f"no metacluster {name!r}" if was is None else f"metacluster {name} was merged into {was!r}"
            )
            self._missing(what, where, name, sorted(self.names.values()))
        return number

    def row(self, where: str, name: str) -> int | None:
        """The row of a cluster, by its identifier or its number (17 for ``cluster_017``)."""
        short = f"cluster_{int(name):03d}" if name.isdecimal() and len(name) < 10 else name
        row = self._rows.get(name, self._rows.get(short))
        if row is None:
            self._missing(f"no cluster {name!r}", where, name, list(self._rows))
        return row

    def rows(self, where: str, names: Iterable[str]) -> list[int]:
        return [row for name in names if (row := self.row(where, name)) is not None]

    def numbers(self, where: str, names: Iterable[str]) -> list[int]:
        return [number for name in names if (number := self.known(where, name)) is not None]

    def no_marker(self, where: str, name: str, markers: Sequence[str]) -> None:
        """A marker that is not there is a finding."""
        close = difflib.get_close_matches(name, markers, n=1)
        self.findings.append(
            Finding(
                what=f"no marker {name!r}",
                where=where,
                expected=f"one of {', '.join(markers[:_SHOWN])}",
                next=f"Did you mean {close[0]!r}?" if close else "",
            )
        )

    def raise_faults(self) -> None:
        """Raise what was found."""
        if self.findings:
            raise InputError(self.findings)

    def _missing(self, what: str, where: str, name: str, known: Collection[str]) -> None:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        shown = ", ".join(list(known)[:_SHOWN]) + (" ..." if len(known) > _SHOWN else "")
        hint = f"Did you mean {close[0]!r}?" if close else ""
        self.findings.append(Finding(what=what, where=where, expected=f"one of {shown}", next=hint))


def revised(state: HeatmapState, revision: Revision) -> Mapping[str, object]:
    """The fields of a state that a revision changes, for `HeatmapState.replace`.

    First the tree is cut anew, if it is; then metaclusters are merged, renamed, joined by clusters; then
    clusters are unassigned; then colours are given. A merged metacluster keeps the number and the colour of
    its target, or of the first one that it is made of.

    Raises
    ------
    InputError
        With every name that means nothing, and every name given to two metaclusters.
    """
    changes = _cut_anew(state, revision)
    state = state.replace(**changes)
    label, names, colours = state.label.copy(), dict(state.names), dict(state.colours)
    naming = Naming(state)
    for target, some in revision.merge.items():
        parts = naming.numbers("revise.merge", some)
        into = naming.number(target)
        if not parts or into == UNASSIGNED:
            continue
        into = parts[0] if into is None else into
        label[np.isin(label, parts)] = into
        _call(naming, names, into, target)
        for gone in {*parts} - {into}:
            naming.merged[gone] = target
            naming.names.pop(gone, None)
            names.pop(gone, None)
    for old, new in revision.rename.items():
        if (number := naming.known("revise.rename", old)) is not None:
            if number == UNASSIGNED:
                naming.findings.append(
                    Finding(what=f"{UNASSIGNED_NAME} keeps its name", where="revise.rename", found=new)
                )
            else:
                _call(naming, names, number, new)
    for target, clusters in revision.move.items():
        number = naming.number(target)
        if number is None:
            number = 1 + max(*naming.names, *naming.merged, *map(int, state.metacluster), *map(int, names), 0)
            _call(naming, names, number, target)
        label[naming.rows("revise.move", clusters)] = number
    label[naming.rows("revise.unassign", revision.unassign)] = UNASSIGNED
    for name, colour in revision.colours.items():
        if (number := naming.known("revise.colours", name)) is not None:
            colours[number] = colour
    naming.findings += _twice(naming.names)
    naming.raise_faults()
    untouched = (label == state.metacluster) & (state.revision == NOT_REVISED)
    return {
        **changes,
        "revision": np.where(untouched, NOT_REVISED, label),
        "names": names,
        "colours": with_colours(colours, label),
    }


def _call(naming: Naming, names: dict[int, str], number: int, name: str) -> None:
    """Give a metacluster its name; a number is none of its own."""
    if naming.number(name) == number:
        naming.names.setdefault(number, name)
        return
    names[number] = naming.names[number] = name


def _twice(names: Mapping[int, str]) -> list[Finding]:
    holders: dict[str, list[int]] = {}
    for number, name in names.items():
        holders.setdefault(name, []).append(number)
    return [
        Finding(
            what=f"metaclusters {' and '.join(map(str, some))} would both be called {name!r}",
            where="revise",
            next=f"To make them one, write merge: {{{name}: {some}}}.",
        )
        for name, some in holders.items()
        if len(some) > 1
    ]


def _cut_anew(state: HeatmapState, revision: Revision) -> dict[str, object]:
    if revision.cut is None or revision.cut == state.dendrogram_cut:
        return {}
    if state.linkage is None:
        raise InputError("there is no tree to cut", where="revise.cut", next="Leave cut: out.")
    if state.locked:
        raise InputError(
            "the cut stays, since a person revised metaclusters of it",
            where="revise.cut",
            expected="no new cut" if state.dendrogram_cut is None else f"{state.dendrogram_cut:g}",
            found=f"{revision.cut:g}",
            next="Begin a branch at a checkpoint before the revision.",
        )
    metacluster = cut(state.linkage, revision.cut)
    return {
        "metacluster": metacluster,
        "dendrogram_cut": revision.cut,
        "names": {},
        "colours": with_colours({}, metacluster),
    }
