"""Peaks become candidate reads: the intensity of every base in every cycle, and the cell they lie in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cytopipe.errors import Finding, InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["check_stack", "extract_bases", "labels_near", "threshold_of"]


def extract_bases(
    peaks_data: np.ndarray,
    max_filtered_data: np.ndarray,
    cells_data: np.ndarray,
    threshold_peaks: float,
    wildcards: Mapping[str, object],
    bases: Sequence[str] = "GTAC",
    read_margin_px: int = 0,
) -> pd.DataFrame:
    """Intensities at the peaks above a threshold.

    Parameters
    ----------
    peaks_data : numpy.ndarray
        Height of each peak, 0 elsewhere; YX.
    max_filtered_data : numpy.ndarray
        Bases alone, TCYX, or CYX for one cycle.
    cells_data : numpy.ndarray
        Labels of cells or nuclei, integer YX.
    threshold_peaks : float
        A peak must exceed it; `threshold_of` finds one.
    wildcards : mapping
        Columns that every row repeats: ``plate``, ``well``, ``tile``; in the order of their names.
    bases : sequence of str
        The channels of `max_filtered_data`, in their order.
    read_margin_px : int
        A peak outside of cells belongs to the nearest cell within this distance.

    Returns
    -------
    pandas.DataFrame
        One row per read, cycle and channel, in the order of cell, read, cycle, channel: ``read`` (from 0, row
        by row over the image), ``cycle`` (from 1), ``channel``, ``intensity``, ``cell`` (0: none), ``i``,
        ``j`` (row and column in px), and the wildcards. The same columns where there is no peak.

    Raises
    ------
    InputError
        Images of different shape, or another number of channels than bases: all findings at once.
    """
    import pandas as pd

    maxed = max_filtered_data[None] if max_filtered_data.ndim == 3 else max_filtered_data
    check_stack(maxed, cells_data, bases, peaks_data)
    i, j = np.nonzero(peaks_data > threshold_peaks)
    cell = labels_near(cells_data, i, j, read_margin_px)
    order = np.argsort(cell, kind="stable")
    values = maxed[:, :, i[order], j[order]].transpose(2, 0, 1)
    n, cycles, channels = values.shape
    per_read = cycles * channels
    table = {
        "read": np.repeat(order, per_read),
        "cycle": np.tile(np.repeat(np.arange(1, cycles + 1), channels), n),
        "channel": np.tile(np.array(list(bases), dtype=object), n * cycles),
        "intensity": values.ravel(),
        "cell": np.repeat(cell[order], per_read),
        "i": np.repeat(i[order], per_read),
        "j": np.repeat(j[order], per_read),
    }
    return pd.DataFrame(table).assign(**{name: wildcards[name] for name in sorted(wildcards)})


def threshold_of(peaks_data: np.ndarray) -> float:
    """Height that parts the peaks that noise makes from spots, by the peaks of the image alone.

    Otsu N. (1979) A threshold selection method from gray-level histograms. IEEE Trans. SMC 9(1):62-66; of the
    logarithms of the heights, without a histogram: that place of the sorted heights is taken at which the two
    parts differ most. Where an image has no spots, noise is parted all the same.

    Parameters
    ----------
    peaks_data : numpy.ndarray
        Height of each peak, 0 elsewhere; YX.

    Returns
    -------
    float
        The highest peak that is noise; 0 where there are not two heights to part.
    """
    height = np.sort(peaks_data[peaks_data > 0].astype(np.float64))
    parts = np.flatnonzero(np.diff(height) > 0)
    if len(parts) == 0:
        return 0.0
    level = np.log(height)
    below, n_below = np.cumsum(level)[parts], parts + 1.0
    above, n_above = level.sum() - below, len(level) - n_below
    apart = n_below * n_above * (above / n_above - below / n_below) ** 2
    return float(height[parts[np.argmax(apart)]])


def labels_near(labels: np.ndarray, i: np.ndarray, j: np.ndarray, margin_px: int = 0) -> np.ndarray:
    """Labels at pixels (i, j); on background, the nearest label within a distance.

    Parameters
    ----------
    labels : numpy.ndarray
        Integer YX.
    i, j : numpy.ndarray
        Rows and columns in px, integer.
    margin_px : int
        Largest distance; of equally near pixels the upper one, then the left one counts.

    Returns
    -------
    numpy.ndarray
        Of the dtype of `labels`; 0 where no label is so near.
    """
    found = labels[i, j]
    steps = np.mgrid[-margin_px : margin_px + 1, -margin_px : margin_px + 1].reshape(2, -1)
    distance = (steps**2).sum(axis=0)
    for k in np.argsort(distance, kind="stable"):
        missing = np.flatnonzero(found == 0)
        if distance[k] == 0 or distance[k] > margin_px**2 or len(missing) == 0:
            continue
        y, x = i[missing] + steps[0, k], j[missing] + steps[1, k]
        inside = (y >= 0) & (y < labels.shape[0]) & (x >= 0) & (x < labels.shape[1])
        found[missing[inside]] = labels[y[inside], x[inside]]
    return found


def check_stack(
    maxed: np.ndarray, cells: np.ndarray, bases: Sequence[str], peaks: np.ndarray | None = None
) -> None:
    """Refuse images of bases that do not fit the bases, the labels or the peaks.

    Raises
    ------
    InputError
        With all findings at once.
    """
    findings = []
    if maxed.ndim != 4:
        findings.append(
            Finding(what="intensities have other axes", expected="TCYX", found=f"{maxed.ndim} axes")
        )
    elif maxed.shape[1] != len(bases):
        findings.append(
            Finding(
                what="intensities have another number of channels than there are bases",
                expected=f"{len(bases)} ({', '.join(bases)})",
                found=str(maxed.shape[1]),
            )
        )
    shapes = {"intensities": maxed.shape[-2:], "cells": cells.shape}
    shapes |= {} if peaks is None else {"peaks": peaks.shape}
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        findings.append(Finding(what="images differ in shape", expected="one YX shape", found=found))
    if not np.issubdtype(cells.dtype, np.integer):
        findings.append(Finding(what="labels are no integers", expected="integer", found=f"{cells.dtype}"))
    if findings:
        raise InputError(findings)
