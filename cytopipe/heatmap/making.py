"""One checkpoint out of the declaration of its branch: the same for a project, a folder and a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from cytopipe.errors import Finding, InputError, UserError
from cytopipe.heatmap.branches import FILE, Branch, Branches, Node, Reference, Workflow
from cytopipe.heatmap.choices import MixedChoice, Revision
from cytopipe.heatmap.merging import merge
from cytopipe.heatmap.mixed import is_mixed
from cytopipe.heatmap.prepared import PreparedCells
from cytopipe.heatmap.state import HeatmapState
from cytopipe.heatmap.steps import (
    NOBODY,
    About,
    Progress,
    finalize,
    identify_mixed,
    initial_clustering,
    recluster,
    recluster_mixed,
    require_cells,
    revise,
    subset_lineage,
)

__all__ = ["has_nothing", "make_all", "make_checkpoint", "require_clusterable"]


def has_nothing(step: int, parents: Sequence[HeatmapState]) -> str:
    """Why there is nothing to make of a step, in words; empty text where there is something.

    A branch of mixed clusters is empty where no cluster is mixed, which no one knows before.
    """
    if step == 10 and not is_mixed(parents[0]).any():
        return "no cluster is mixed"
    return ""


def require_clusterable(workflow: Workflow, branches: Branches, cells: PreparedCells) -> None:
    """Whether step 1 of every branch can cluster the cells, before anything is written.

    Raises
    ------
    InputError
        Markers that the cells have not, or fewer cells than a map has nodes; all findings at once.
    """
    findings: dict[Finding, None] = {}
    for node in branches.nodes():
        if node.at.step != 1:
            continue
        branch = branches[node.at.branch]
        try:
            markers = workflow.markers_of(branch)
            linked = workflow.heatmap_of(branch).linkage_markers
            for some in (markers, linked):
                if some is not None:
                    cells.table.require_markers(some)
            require_cells(len(cells), workflow.flowsom_of(branch))
        except InputError as error:
            findings |= dict.fromkeys(error.findings)
    if findings:
        raise InputError(list(findings))


def make_checkpoint(
    step: int,
    branch: Branch,
    workflow: Workflow,
    parents: Sequence[HeatmapState],
    cells: PreparedCells,
    *,
    about: About = NOBODY,
    progress: Progress | None = None,
) -> HeatmapState:
    """The checkpoint that a step of a branch gives.

    Parameters
    ----------
    step : int
        0 is a merge. A step whose choices were left open keeps everything as it is; step 6 needs them.
    branch : Branch
    workflow : Workflow
        The settings of the data set.
    parents : sequence of HeatmapState
    cells : PreparedCells
    about : About
    progress : callable, optional
        ``progress(what, done, total)``

    Raises
    ------
    InputError
        As the function of the step; or the subset of a lineage was not chosen.
    """
    heatmap, flowsom = workflow.heatmap_of(branch), workflow.flowsom_of(branch)
    markers = workflow.markers_of(branch)
    revision = branch.revise if branch.revise is not None else Revision()
    if step == 0:
        return merge(parents, cells, branch.merging, heatmap, about=about)
    if step == 1:
        return initial_clustering(cells, flowsom, heatmap, markers=markers, about=about, progress=progress)
    parent = parents[0]
    if step in (2, 8):
        return revise(parent, cells, revision, step=step, about=about)
    if step == 3:
        return identify_mixed(parent, cells, branch.mixed or MixedChoice(), about=about)
    if step in (5, 9, 11):
        own = branch.revise if step == 11 else None
        return finalize(parent, cells, branch.finalize, step=step, revision=own, about=about)
    if step == 6:
        if branch.subset is None:
            raise InputError(
                "nobody chose which cells the lineage has",
                where=f"branch {about.branch}",
                expected="subset: {metaclusters: [T cells]}, or clusters, gates, where",
            )
        return subset_lineage(parent, cells, branch.subset, heatmap, about=about)
    make = recluster if step == 7 else recluster_mixed
    return make(parent, cells, flowsom, heatmap, markers=markers, about=about, progress=progress)


def make_all(
    workflow: Workflow,
    branches: Branches,
    cells: PreparedCells,
    *,
    data_set: str = "",
    known: Callable[[Node, Sequence[HeatmapState]], HeatmapState | None] = lambda node, parents: None,
    outside: Callable[[str], HeatmapState] | None = None,
    progress: Callable[[Node, str, int, int], None] = lambda node, what, done, total: None,
) -> Iterator[tuple[Node, HeatmapState | str | UserError]]:
    """Every checkpoint of a workflow, each after its parents.

    Where there is nothing to make, the words say why. A step that cannot be made gives its error, and so
    does what is made from it; other branches go on.

    Parameters
    ----------
    known : callable
        ``known(node, parents)``: the checkpoint, where it stands already; None where it is to be made.
    outside : callable, optional
        ``outside(path)``: a checkpoint in a file, where branches begin at files.
    progress : callable
        ``progress(node, what, done, total)``

    Raises
    ------
    ParameterError
        With all faults of the branches.
    """
    made: dict[Reference, HeatmapState] = {}
    failed: set[Reference] = set()
    for node in branches.nodes():
        if lost := [one for one in node.parents if one in failed]:
            failed.add(node.at)
            yield node, InputError(f"{lost[0]} could not be made", where=str(node.at))
            continue
        try:
            for one in node.parents:
                if one.step == FILE and one not in made and outside is not None:
                    made[one] = outside(one.branch)
            parents = [made[one] for one in node.parents if one in made]
            if node.parents and not parents:
                yield node, "what it is made from is empty"
                continue
            if nothing := has_nothing(node.at.step, parents):
                yield node, nothing
                continue
            state = known(node, parents)
            if state is None:
                branch = branches[node.at.branch]
                about = About(data_set, node.at.branch, branch.description)

                def tell(what: str, done: int, total: int, node: Node = node) -> None:
                    progress(node, what, done, total)

                state = make_checkpoint(
                    node.at.step, branch, workflow, parents, cells, about=about, progress=tell
                )
        except UserError as error:
            failed.add(node.at)
            yield node, error
            continue
        made[node.at] = state
        yield node, state
