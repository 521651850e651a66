"""Heat maps for tests, with everything that a checkpoint can hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cytopipe.heatmap import linkage
from cytopipe.heatmap.colours import colours_of
from cytopipe.heatmap.matrix import cluster_medians, z_scores
from cytopipe.heatmap.state import NOT_REVISED, HeatmapState, cluster_ids, id_of_recipe

GOLDEN = Path(__file__).parents[2] / ".." / "shared" / "golden" / "heatmap"
HOSTILE = ("T $\\x$ <b>&amp;</b>", "a\nb\tc", "../../etc", "Ünï / 数", "=1+1", "' OR 1=1", "\u202eright", " ")


def golden(name: str) -> Path:
    """A golden file; the test is skipped, saying so, where that folder is absent."""
    path = GOLDEN / name
    if not path.exists():
        pytest.skip(f"{path} is not there: golden cases lie beside the checkout")
    return path


def make_state(
    n_clusters: int = 12, n_markers: int = 5, *, seed: int = 0, n_cells: int = 500, **fields: Any
) -> HeatmapState:
    """A heat map of random cells that has every field filled; `fields` replace them."""
    rng = np.random.default_rng(seed)
    labels = np.r_[np.arange(n_clusters), rng.integers(-1, n_clusters, n_cells)]
    values = rng.normal(size=(n_clusters, n_markers))[labels] + rng.normal(0, 0.1, (len(labels), n_markers))
    found = cluster_medians(values.astype(np.float32), labels)
    matrix = z_scores(found.median)
    tree, marker_tree = linkage.link(matrix), linkage.link(matrix.T)
    metacluster = linkage.cut(tree)
    revision = np.full(n_clusters, NOT_REVISED)
    revision[:2] = (-1, 3)
    markers = [f"CD{number}" for number in range(n_markers)]
    given: dict[str, Any] = {
        "median": found.median,
        "n_cells": found.n_cells,
        "revision": revision,
        "names": {0: "T cells", 3: HOSTILE[0]},
        "colours": colours_of([*metacluster.tolist(), -1, 3]),
        "row_order": linkage.leaves(tree),
        "col_order": linkage.leaves(marker_tree),
        "linkage": tree,
        "col_linkage": marker_tree,
        "dendrogram_cut": linkage.default_cut(tree),
        "labels": [f"{name} label" for name in markers],
        "channels": [f"{140 + number}Nd_{name}" for number, name in enumerate(markers)],
        "pct_positive": rng.random(n_markers) * 100,
        "training_markers": markers[:-1] or markers,
        "subset_filters": [{"column": "fov", "op": "in", "values": ["fov1", 2, None]}],
        "subset_filters_expr": "fov in ['fov1']",
        "subset_lineage": ["T" if number % 2 else None for number in range(n_clusters)],
        "obs": {
            "fov": np.array([f"fov{number % 2}" for number in range(n_clusters)]),
            "area": rng.random(n_clusters),
            "mask": np.arange(n_clusters),
            "kept": np.arange(n_clusters) % 3 == 0,
        },
        "embeddings": {"umap": rng.random((n_clusters, 2)), "scatter_mst": rng.random((n_clusters, 2))},
        "parameters": {"heatmap": {}, "gates": {"a/b": [1, "x", None]}, "flowsom_cutoffs": [1.5, 2]},
        "flowsom": {"seed": 42, "grid": [10, 10], "params": {"rlen": 10}},
        "cell_cluster": found.row,
        "cells_digest": "0" * 64,
        "description": "first",
        "created_at": "2026-11-25T02:00:00Z",
        "id": id_of_recipe(f"{n_clusters} {n_markers} {seed}"),
    }
    given |= {"cluster_ids": cluster_ids(n_clusters), "markers": markers}
    return HeatmapState(**given | {"matrix": matrix, "metacluster": metacluster} | fields)
