"""Golden cases of `heatmap`: heat maps of a cell table, and a history of UELer.

``heatmap_cases.json`` names cases with their parameters; ``heatmap_<case>.npz`` holds what came out. All
arrays agree in every bit, metaclusters in their numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from cytopipe.heatmap import linkage
from cytopipe.heatmap.matrix import cluster_medians, z_scores
from cytopipe_tests.parity import Case, Verdict, agrees, fails, unevaluated
from cytopipe_tests.parity.screen import equal

#: The case's name says which cells it is about: those of this lineage.
SUBSET = "subset_"


def cases(folder: Path) -> Iterator[Case]:
    """Every case of one ``heatmap`` golden folder."""
    listed = folder / "heatmap_cases.json"
    for name, case in json.loads(listed.read_text()).items() if listed.exists() else ():
        yield Case("heatmap", f"heatmap_{name}", partial(heatmap_case, folder, name, case))


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
    if wrong := next(filter(None, (equal(key, made[key], expected[key]) for key in expected)), ""):
        return fails(wrong)
    count = len(set(made["meta"].tolist()))
    if "n_meta" in case and count != case["n_meta"]:
        return fails(f"{count} metaclusters, expected {case['n_meta']}")
    return agrees(f"{len(made['clusters'])} clusters, {count} metaclusters")


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
