"""How far the cycles of an aligned tile are still apart, measured on the aligned image itself.

So it holds for every way to align, and for images that were aligned elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["measure_alignment"]

_SPOT_PX = (0.8, 3.0)  # Gaussians whose difference brings out spots
_REACH_PX = 8
_MOST_SPREAD_PX = 2.0  # windows that differ more among each other found nothing
_WINDOWS = 6  # along a side, at most


def measure_alignment(
    pixels: np.ndarray,
    cycles: Sequence[int],
    *,
    n_bases: int = 4,
    reference_cycle: int = 1,
    plate: str,
    well: str,
    tile: int,
) -> pd.DataFrame:
    """Shifts of small windows of each cycle against the reference cycle.

    What is compared is the mean over the bases of each cycle, filtered so that spots stand out: a spot
    changes its base, and keeps its place.

    Parameters
    ----------
    pixels : (T, C, Y, X)
        Aligned; the last `n_bases` channels show bases.
    cycles : sequence of int
        The number of each cycle.
    n_bases, reference_cycle : int
        A reference that the tile lacks is its first cycle.
    plate, well, tile
        Written into the table.

    Returns
    -------
    DataFrame
        A row per cycle but the reference: ``plate, well, tile, cycle``; ``n_windows``; ``residual_px``,
        median length of the shifts after an affine map was fitted through them; ``p95_px``, their 95th
        percentile as they were measured, with the noise of single windows; ``score``, their median
        correlation. NaN where windows do not agree: the two cycles have nothing in common.
    """
    import pandas as pd

    from cytopipe.screen.correlation import window_shifts

    numbers = list(cycles)
    at = numbers.index(reference_cycle) if reference_cycle in numbers else 0
    target = _spots(pixels[at, -n_bases:])
    half = int(np.clip(min(target.shape) // 8, 16, 64))
    lines = [np.unique(np.linspace(half, n - half, _WINDOWS).astype(int)) for n in target.shape]
    centres = np.array([(row, column) for row in lines[0] for column in lines[1]])
    rows = []
    for index, cycle in enumerate(numbers):
        if index == at:
            continue
        moving = _spots(pixels[index, -n_bases:])
        shifts, scores = window_shifts(target, moving, centres, np.zeros(centres.shape), half, _REACH_PX)
        known = np.isfinite(shifts[:, 0])
        row = {"plate": plate, "well": well, "tile": tile, "cycle": cycle, "n_windows": int(known.sum())}
        rows.append(row | dict.fromkeys(("residual_px", "p95_px", "score"), np.nan))
        if known.sum() <= len(centres) // 4:
            continue
        shifts = shifts[known]
        if np.median(np.hypot(*(shifts - np.median(shifts, axis=0)).T)) <= _MOST_SPREAD_PX:
            smooth = np.hypot(*_smooth(centres[known], shifts).T)
            rows[-1]["residual_px"] = float(np.median(smooth))
            rows[-1]["p95_px"] = float(np.percentile(np.hypot(*shifts.T), 95))
            rows[-1]["score"] = float(np.median(scores[known]))
    names = ["plate", "well", "tile", "cycle", "n_windows", "residual_px", "p95_px", "score"]
    return pd.DataFrame(rows, columns=names)


def _smooth(centres: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """The affine map that most windows follow, at each window: what they agree on, without their noise."""
    design = np.c_[np.ones(len(centres)), centres - centres.mean(axis=0)]
    kept, fit = np.ones(len(centres), bool), shifts
    for _ in range(4):
        fit = design @ np.linalg.lstsq(design[kept], shifts[kept], rcond=None)[0]
        off = np.hypot(*(shifts - fit).T)
        kept = off <= 2.5 * np.median(off) + 1e-6
    return fit


def _spots(planes: np.ndarray) -> np.ndarray:
    """Bases of a cycle as one image of spots, (Y, X) float32; what is far brighter than most is cut off."""
    from cytopipe.screen.correlation import bandpass

    mean = np.zeros(planes.shape[-2:], np.float32)
    for plane in planes:
        spots = bandpass(plane, *_SPOT_PX)
        cap = np.percentile(np.abs(spots[::4, ::4]), 99.5)
        if cap > 0:
            mean += np.clip(spots, -cap, cap) / np.float32(cap)
    return mean
