"""Golden cases of `heatmap`: heat maps of a cell table, histories of UELer, and FlowSOM.

``heatmap_cases.json`` names cases with their parameters; ``heatmap_<case>.npz`` holds what came out. Labels,
numbers of metaclusters, orders and types of arrays agree; decimals to 1e-6, and the detail says where they do
in every bit. Every folder with a ``.UELer`` in it is a history: all of it is compared with its own files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from cytopipe.heatmap import linkage
from cytopipe.heatmap.artifact import serialize_heatmap_state, validate_artifact
from cytopipe.heatmap.matrix import cluster_medians, z_scores
from cytopipe.heatmap.ueler import import_ueler
from cytopipe_tests.parity import Case, Verdict, agrees, fails, heatmap_flowsom, unevaluated
from cytopipe_tests.parity.screen import equal

#: The case's name says which cells it is about: those of this lineage.
SUBSET = "subset_"
TOLERANCE = 1e-6


def cases(folder: Path) -> Iterator[Case]:
    """Every case of one ``heatmap`` golden folder."""
    listed = folder / "heatmap_cases.json"
    for name, case in json.loads(listed.read_text()).items() if listed.exists() else ():
        yield Case("heatmap", f"heatmap_{name}", partial(heatmap_case, folder, name, case))
    for project in sorted(path.parent for path in folder.glob("*/.UELer")):
        yield Case("heatmap", project.name, partial(ueler_case, project))
    yield from heatmap_flowsom.cases(folder)


def heatmap_case(folder: Path, name: str, case: Mapping[str, Any]) -> Verdict:
    """Clusters, medians, z-scores, tree, cut, metaclusters and order of the leaves."""
    if not (folder / f"heatmap_{name}.npz").exists():
        return unevaluated(f"no heatmap_{name}.npz")
    with np.load(folder / f"heatmap_{name}.npz", allow_pickle=False) as archive:
        expected = dict(archive)
    table = _cells(folder)
    if name.startswith(SUBSET):
        table = table[table["lineage"] == name.removeprefix(SUBSET)]
    found = cluster_medians(table[case["markers"]], table["node"].to_numpy())
    median = _in_own_types(found.median, table[case["markers"]])
    scores = z_scores(median, "markers" if case["across"] else "clusters")
    tree = linkage.link(scores, case["method"], case["metric"])
    made = {
        "clusters": found.clusters,
        "median": found.median,
        "z": scores,
        "Z": tree,
        "cut": np.float64(linkage.default_cut(tree)),
        "meta": linkage.cut(tree).astype(np.int64),
        "leaves": linkage.leaves(tree),
    }
    exact = True
    for key, right in expected.items():
        if wrong := equal(key, made[key], right):
            same = made[key].dtype == right.dtype and made[key].shape == right.shape
            if (
                right.dtype.kind != "f"
                or not same
                or not np.allclose(made[key], right, rtol=TOLERANCE, atol=TOLERANCE)
            ):
                return fails(wrong)
            exact = False
    count = len(set(made["meta"].tolist()))
    if "n_meta" in case and count != case["n_meta"]:
        return fails(f"{count} metaclusters, expected {case['n_meta']}")
    how = "in every bit" if exact else f"to {TOLERANCE:g}"
    return agrees(f"{len(made['clusters'])} clusters, {count} metaclusters, {how}")


def ueler_case(project: Path) -> Verdict:
    """Identifiers, parents, matrices, labels, palettes, trees and cuts of every file, and all of them."""
    import anndata

    imported = import_ueler(project)
    listed: dict[str, Mapping[str, Any]] = {}
    for path in project.glob(".UELer/dataset_*/manifest.json"):
        listed |= {node["id"]: node for node in json.loads(path.read_text())["checkpoints"]}
    files = set(project.glob(".UELer/dataset_*/checkpoints/*.h5ad"))
    if {one.path for one in imported} != files:
        return fails(f"{len(imported)} of {len(files)} files were imported")
    for one in imported:
        state, theirs = one.state, anndata.read_h5ad(one.path)
        uns, node = theirs.uns, listed.get(one.state.id, {})
        parent = uns["checkpoint"]["parent_id"]
        label = theirs.obs.get("meta_cluster_revised", theirs.obs["meta_cluster"])
        told = {
            "X": np.array_equal(state.matrix, theirs.X) and state.matrix.dtype == theirs.X.dtype,
            "id": state.id == uns["checkpoint"]["id"],
            "parent": state.parents == ((parent,) if parent else ()),
            "manifest": not node or (node["parent_id"] or "") == parent,
            "label": state.label.tolist() == label.tolist(),
            "metacluster": state.metacluster.tolist() == theirs.obs["meta_cluster"].tolist(),
            "clusters": [str(name) for name in state.obs["ueler_cluster"]] == list(theirs.obs_names),
            "colours": {str(key): colour for key, colour in state.colours.items()}
            == uns["palette"]["colors"],
            "tree": np.array_equal(state.linkage, uns["row_linkage"]),
            "cut": state.dendrogram_cut == float(uns["dendrogram_cut"]),
            "order": state.row_order.tolist() == linkage.leaves(np.asarray(uns["row_linkage"])).tolist(),
            "channels": list(state.selected_channels) == uns["ui"]["selected_channels"].tolist(),
            "medians are named as lost": state.median is not None
            or any("medians" in lost for lost in one.lost),
            "a checkpoint": not validate_artifact(serialize_heatmap_state(state)),
        }
        if wrong := [name for name, right in told.items() if not right]:
            return fails(f"{one.path.name}: {', '.join(wrong)}")
    return agrees(
        f"{len(imported)} checkpoints, {len({loss for one in imported for loss in one.lost})} losses named"
    )


@cache
def _cells(folder: Path) -> Any:
    """The cell table, intensities in float32 as the reference had them; what is constant stays float64."""
    import pandas as pd

    table = pd.read_csv(folder / "cell_table.csv")
    measured = [name for name in table if name.startswith("m") and name[1:].isdigit()]
    return table.astype(dict.fromkeys(measured, np.float32))


def _in_own_types(median: np.ndarray, table: Any) -> Any:
    import pandas as pd

    return pd.DataFrame(
        {name: median[:, place].astype(table[name].dtype) for place, name in enumerate(table)}
    )
