"""Three pictures of a partition: the distances, the thresholds, the gap of each cluster.

The same tables of a report give the same PNG bytes. Colours are from Okabe & Ito's palette, which people of
all colour visions can tell apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cytopipe.decompose.curve import Curve
from cytopipe.decompose.state import State
from cytopipe.storage.formats.figure import figure_bytes, new_figure

__all__ = ["all_of"]

WITHIN, BETWEEN, LINE = "#0072B2", "#E69F00", "#555555"


def all_of(
    histogram: Mapping[str, Any], curve: Curve, clusters: Mapping[str, Any], state: State
) -> dict[str, bytes]:
    """The figures of a report, as file name to PNG bytes."""
    return {
        "histogram.png": _histogram(histogram, state),
        "thresholds.png": _thresholds(curve, len(clusters["cluster"]), state),
        "gaps.png": _gaps(clusters),
    }


def _histogram(histogram: Mapping[str, Any], state: State) -> bytes:
    figure = new_figure(7, 4)
    axes = figure.add_subplot()
    width = histogram["to"][0] - histogram["from"][0]
    for column, colour, label in (
        ("within", WITHIN, "within clusters"),
        ("between", BETWEEN, "to the nearest sequences of other clusters"),
    ):
        counts = np.asarray(histogram[column], float)
        share = counts / max(1.0, counts.sum())
        axes.bar(histogram["from"], share, width, align="edge", color=colour, alpha=0.7, label=label)
    _mark(axes, state)
    axes.set_xlabel("distance (fraction of scored positions; the last bar holds all beyond)")
    axes.set_ylabel("share of pairs")
    axes.legend(frameon=False)
    return figure_bytes(figure)


def _thresholds(curve: Curve, n_clusters: int, state: State) -> bytes:
    figure = new_figure(7, 4)
    axes = figure.add_subplot()
    axes.step(curve.thresholds, curve.clusters, where="post", color=WITHIN)
    axes.axhline(n_clusters, color=BETWEEN, linestyle="--", label=f"this partition: {n_clusters} clusters")
    _mark(axes, state)
    axes.set_xlim(0, max(0.1, 4 * state.parameters.lump))
    axes.set_xlabel("threshold (distance, single linkage)")
    axes.set_ylabel("clusters")
    axes.legend(frameon=False)
    return figure_bytes(figure)


def _gaps(clusters: Mapping[str, Any]) -> bytes:
    figure = new_figure(7, 4)
    axes = figure.add_subplot()
    gaps = np.array([np.nan if gap is None else gap for gap in clusters["gap"]], float)
    sizes = np.asarray(clusters["records"], float)
    confidence = np.asarray(clusters["confidence"], float)
    if len(gaps):
        points = axes.scatter(sizes, gaps, c=confidence, vmin=0, vmax=1, cmap="cividis", s=24)
        figure.colorbar(points, label="confidence")
        axes.set_xscale("log")
    axes.axhline(0, color=LINE, linewidth=0.8)
    axes.set_xlabel("records in the cluster")
    axes.set_ylabel("barcode gap")
    return figure_bytes(figure)


def _mark(axes, state: State) -> None:
    gap, parameters = state.gap, state.parameters
    lump = ("max_lump", parameters.lump) if gap is None else ("barcode gap", gap.divides)
    for label, value in (("min_split", parameters.min_split), lump):
        axes.axvline(value, color=LINE, linewidth=0.8, linestyle=":")
        axes.annotate(
            label, (value, 1), xycoords=("data", "axes fraction"), rotation=90, va="top", fontsize=7
        )
