"""A small history with a branch, a merge, and names that a hostile person chose."""

from __future__ import annotations

import numpy as np

from cytopipe.heatmap.state import HeatmapState, cluster_ids, id_of_recipe

__all__ = ["HOSTILE", "small_history"]

HOSTILE = "</script><img src=x onerror=\"document.title='broken'\"> $x$ 'q' \"Q\""


def small_history() -> list[HeatmapState]:
    """Seven checkpoints of 400 cells: a main branch, a lineage of half of them, and their merge."""
    random = np.random.default_rng(7)
    cells = random.integers(0, 20, 400).astype(np.int32)
    half = np.where(cells < 10, cells, -1).astype(np.int32)
    made: dict[str, HeatmapState] = {}

    def checkpoint(name, step, parents, row, n, **more):
        median = random.random((n, 6))
        made[name] = HeatmapState(
            cluster_ids=cluster_ids(n),
            markers=["CD3", "CD4", "CD8", "CD19", HOSTILE, "β-actin"],
            matrix=(median - median.mean(0)) / median.std(0, ddof=1),
            median=median,
            metacluster=np.arange(n) % 4,
            names={0: "T cells", 1: HOSTILE},
            colours={0: "#aa0000", 1: "#00aa00", 2: "#0000aa", 3: "#888800"},
            n_cells=np.bincount(row[row >= 0], minlength=n),
            cell_cluster=row,
            cells_digest="0" * 64,
            dendrogram_cut=2.5,
            id=id_of_recipe(name),
            parents=[made[one].id for one in parents],
            step_id=step,
            parameters={"branch": name.rpartition(".")[0], "heatmap": {"method": "average"}},
            **more,
        )

    checkpoint("main.1", 1, [], cells, 20, description="first clustering")
    checkpoint("main.2", 2, ["main.1"], cells, 20, description=HOSTILE)
    checkpoint("main.5", 5, ["main.2"], cells, 20)
    checkpoint("lineage.6", 6, ["main.2"], half, 10, subset_lineage=["T"] * 10)
    checkpoint("lineage.7", 7, ["lineage.6"], half, 10)
    checkpoint("lineage.9", 9, ["lineage.7"], half, 10)
    checkpoint("all.0", "merged", ["main.5", "lineage.9"], cells, 20)
    return list(made.values())
