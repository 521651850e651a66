"""A checkpoint that a person made, in its place: the ledger takes it up as what was made from today's
parents.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.defs.heatmap import asset_of_step
from cytopipe.defs.heatmap_values import cells_in, state_in
from cytopipe.errors import InputError
from cytopipe.provenance import Input, Provenance

if TYPE_CHECKING:
    from cytopipe.defs.ledger import Ledger
    from cytopipe.heatmap.branches import Reference
    from cytopipe.heatmap.state import HeatmapState
    from cytopipe.project import DataSet

__all__ = ["save_by_hand"]


def save_by_hand(ledger: Ledger, data: DataSet, at: Reference, state: HeatmapState) -> Path:
    """Publish a checkpoint in the place of a step of a branch, and let the ledger take it up.

    Parameters
    ----------
    ledger : Ledger
        Refreshed.
    data : DataSet
        The data set of the branch.
    at : Reference
        The branch and the step.
    state : HeatmapState

    Raises
    ------
    InputError
        It is about other cells, or has cells that its parents have not; or the branch has no such step.
    """
    asset, key = asset_of_step(at.step), f"{data.key}.{at.branch}"
    step, archive, places = ledger.graph.makers[asset], ledger.archive, ledger.places
    if key not in ledger.relations.keys(step.by):
        raise InputError(f"there is no {asset} [{key}]", expected=", ".join(ledger.relations.keys(step.by)))
    reads = {name: ledger.read(step, name, key) for name in step.inputs}
    cells = ledger.graph.makers["heatmap/cells"]
    row = cells_in(
        archive.handle(places.place("heatmap/cells", data.key), cells.makes["heatmap/cells"]),
        data.entry.transform,
    ).check_of(state)
    parents = [
        archive.handle(
            places.place(step.inputs[name], part),
            ledger.graph.makers[step.inputs[name]].makes[step.inputs[name]],
        )
        for name in step.chosen
        for part in reads[name].parts
    ]
    had = [state_in(one).cell_cluster >= 0 for one in parents]
    if had and (more := int(((row >= 0) & ~sum(had[1:], start=had[0])).sum())):
        raise InputError(
            f"{more:,} cells are not cells of what it is made from",
            where=f"{asset} [{key}]",
            expected="a subset of the cells of its parents",
            next="Begin at the parent: cytopipe heatmap show",
        )
    made = Provenance(
        what=f"{asset} [{key}], by hand",
        inputs=tuple(
            Input(path="", sha256=version, asset=step.inputs[name], partition=part)
            for name, read in reads.items()
            for part, version in read.parts.items()
        ),
        code_version=step.code_version,
        asset=asset,
        partition=key,
        facts={"n_clusters": state.n_clusters},
    )
    receipt = archive.put(places.place(asset, key), step.makes[asset], state, made)
    ledger.refresh()
    return receipt.path
