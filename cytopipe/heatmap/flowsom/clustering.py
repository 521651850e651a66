"""FlowSOM of a table of cells: nodes, metaclusters, the tree between nodes, and how good they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cytopipe.errors import Finding, InputError
from cytopipe.heatmap.flowsom.metaclusters import metaclusters
from cytopipe.heatmap.flowsom.quality import quality_figures
from cytopipe.heatmap.flowsom.spanning_tree import spanning_tree
from cytopipe.heatmap.flowsom.training import nearest_nodes, train_map
from cytopipe.heatmap.parameters import FlowSOMSettings

__all__ = ["FlowSOM", "cluster_cells"]

_LARGEST = {np.dtype(np.float32): 1e15, np.dtype(np.float64): 1e150}  # their squares are added up


@dataclass(frozen=True, eq=False)
class FlowSOM:
    """What clustering gives.

    Parameters
    ----------
    codes : ndarray, (n_nodes, n_markers) float64
        Node ``x * y_dim + y`` lies at (x, y) of the grid, as in the Python package `flowsom`.
    node : ndarray, (n_cells,) int32
        The node of every cell, from 0.
    distance : ndarray, (n_cells,) float64
        Of every cell to the code of its node.
    metacluster : ndarray, (n_nodes,) int32
        The metacluster of every node, from 0.
    mst : ndarray, (n_nodes - 1, 2) int32
        Edges of the minimum spanning tree of the codes.
    quality : dict of str to float
        Figures of `cytopipe.heatmap.flowsom.quality`.
    """

    codes: np.ndarray
    node: np.ndarray
    distance: np.ndarray
    metacluster: np.ndarray
    mst: np.ndarray
    quality: dict[str, float]

    @property
    def cell_metacluster(self) -> np.ndarray:
        """The metacluster of every cell, (n_cells,) int32."""
        return self.metacluster[self.node]


def cluster_cells(
    values: np.ndarray,
    settings: FlowSOMSettings | None = None,
    *,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FlowSOM:
    """Cluster cells by FlowSOM.

    Parameters
    ----------
    values : ndarray, (n_cells, n_markers) float32 or float64
        Transformed. Other types are taken as float64.
    settings : FlowSOMSettings, optional
    threads : int, optional
        Threads that find the nearest nodes; as many as there are cores by default. No byte depends on it.
    progress : callable, optional
        ``progress(done, total)`` in cells drawn for the training, and mapped.

    Returns
    -------
    FlowSOM

    Raises
    ------
    InputError
        Fewer cells than nodes, or values that are not finite; all findings at once.
    """
    settings = settings or FlowSOMSettings()
    values = np.asarray(values)
    if values.dtype not in (np.float32, np.float64) and values.dtype.kind in "iufb":
        values = values.astype(np.float64)
    _require_usable(values, settings)
    trained = _sample(values, settings)
    n_trained = len(trained) * settings.rlen
    total = n_trained + len(values)

    def told(before: int) -> Callable[[int, int], None] | None:
        return (lambda done, _: progress(before + done, total)) if progress else None

    codes = train_map(trained, settings, progress=told(0))
    node, distance = nearest_nodes(values, codes, settings, threads=threads, progress=told(n_trained))
    codes = codes.astype(np.float64)
    metacluster = metaclusters(codes, np.bincount(node, minlength=len(codes)), settings)
    figures = quality_figures(values, codes, node, distance, metacluster, settings)
    return FlowSOM(codes, node, distance, metacluster, spanning_tree(codes), figures)


def _sample(values: np.ndarray, settings: FlowSOMSettings) -> np.ndarray:
    n_cells = settings.train_cells
    if n_cells is None or n_cells >= len(values):
        return np.ascontiguousarray(values)
    chosen = np.random.default_rng(settings.seed).choice(len(values), n_cells, replace=False, shuffle=False)
    return values[np.sort(chosen)]


def _require_usable(values: np.ndarray, settings: FlowSOMSettings) -> None:
    if values.ndim != 2 or values.dtype.kind not in "f" or values.shape[1] == 0:
        raise InputError(
            "there is nothing to cluster",
            expected="a matrix of numbers, cells x markers",
            found=f"{values.dtype} {values.shape}",
        )
    findings = []
    n_nodes = settings.x_dim * settings.y_dim
    n_trained = min(settings.train_cells or len(values), len(values))
    if n_trained < n_nodes:
        findings.append(
            Finding(
                what="there are fewer cells to train on than nodes",
                expected=f"at least {settings.x_dim} x {settings.y_dim} = {n_nodes} cells",
                found=f"{n_trained:,}",
                next="Make x_dim and y_dim smaller, or cluster more cells.",
            )
        )
    largest = _LARGEST[values.dtype]
    for start in range(0, len(values), 1 << 16):
        part = values[start : start + (1 << 16)]
        good = np.abs(part) <= largest  # false for NaN, too
        if not good.all():
            row, column = np.argwhere(~good)[0]
            findings.append(
                Finding(
                    what=f"value of cell {start + row}, marker {column} (both counted from 0) is not usable",
                    expected=f"a finite number, at most {largest:g}",
                    found=str(part[row, column]),
                    next="Leave out cells without a measurement, or correct them.",
                )
            )
            break
    if findings:
        raise InputError(findings)
