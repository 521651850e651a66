"""Quality of the images of a tile: focus, saturation, blank planes, planes taken twice, cycles out of place.

A single tile tells little: what is sharp depends on the sample. So `measure_planes` gives numbers for every
plane, and `image_findings` compares each with the other tiles of its well, cycle and channel.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cytopipe.screen.parameters import QualitySettings
from cytopipe.screen.quality.faults import Fault

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "image_faults", "image_findings", "measure_planes", "relative_focus"]

COLUMNS = (
    "plate",
    "well",
    "tile",
    "cycle",
    "channel",
    "median",
    "contrast",
    "saturated",
    "focus",
    "digest",
)
_SAMPLE = 1 << 16  # pixels of which percentiles are taken
_FEWEST_TILES = 4  # to say what is usual
_ALONE = 0.4  # of the least sharpness, where the other channels of an image are sharp


def measure_planes(
    planes: Sequence[np.ndarray], channels: Sequence[str], *, plate: str, well: str, tile: int, cycle: int
) -> pd.DataFrame:
    """Measure the planes of one cycle of a tile.

    Parameters
    ----------
    planes : sequence of (Y, X) arrays, uint16
    channels : sequence of str
        The name of each.
    plate, well, tile, cycle
        Written into the table; cycle 0 where there is one alone.

    Returns
    -------
    DataFrame
        A row per channel with the columns `COLUMNS`. ``median`` and ``contrast`` (percentile 99.5 minus 5)
        are intensities. ``saturated`` is the fraction of pixels at the largest value of the data type.
        ``focus`` is the energy of the Laplacian over that of the image after a Gaussian of 2 px, with the
        median subtracted: it falls when an image is blurred and does not depend on brightness.
        ``digest`` tells planes with the same pixels.
    """
    import pandas as pd

    rows = []
    for plane, channel in zip(planes, channels, strict=True):
        sample = plane.ravel()[:: max(1, plane.size // _SAMPLE)]
        low, median, high = np.percentile(sample, (5, 50, 99.5))
        rows.append(
            {
                "plate": plate,
                "well": well,
                "tile": tile,
                "cycle": cycle,
                "channel": channel,
                "median": float(median),
                "contrast": float(high - low),
                "saturated": float(np.mean(plane == _largest(plane.dtype))),
                "focus": _focus(plane, median),
                "digest": hashlib.sha256(np.ascontiguousarray(plane)).hexdigest()[:16],
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _largest(dtype: np.dtype) -> float:
    return np.inf if dtype.kind == "f" else float(np.iinfo(dtype).max)


def _focus(plane: np.ndarray, median: float) -> float:
    import cv2

    image = plane.astype(np.float32) - np.float32(median)
    smooth = cv2.GaussianBlur(image, (0, 0), 1.0)
    coarse = cv2.GaussianBlur(image, (0, 0), 2.0)
    energy = float(np.mean(coarse * coarse))
    return float(np.mean(cv2.Laplacian(smooth, cv2.CV_32F) ** 2)) / energy if energy > 0 else 0.0


def image_findings(
    planes: pd.DataFrame, settings: QualitySettings, residuals: pd.DataFrame | None = None
) -> list[str]:
    """What is wrong with the images of a well, in words; see :func:`image_faults`."""
    return [fault.words for fault in image_faults(planes, settings, residuals)]


def image_faults(
    planes: pd.DataFrame, settings: QualitySettings, residuals: pd.DataFrame | None = None
) -> list[Fault]:
    """What is wrong with the images of a well, in words that name tile, cycle and channel.

    Parameters
    ----------
    planes : DataFrame
        What `measure_planes` gave, of every tile of the well.
    settings : QualitySettings
    residuals : DataFrame, optional
        ``tile, cycle, residual_px``: how far a cycle is from the reference after alignment; NaN where the
        two show nothing in common.
    """
    faults = [*_blank(planes, settings), *_saturated(planes, settings)]
    sound = (planes["contrast"] >= settings.least_contrast) & (planes["saturated"] <= settings.most_saturated)
    faults += _out_of_focus(planes[sound], settings)
    faults += [*_repeated(planes), *_absent_cycles(planes)]
    if residuals is not None:
        faults += _out_of_place(residuals, settings)
    return faults


def relative_focus(planes: pd.DataFrame) -> pd.Series:
    """Sharpness of each plane over the median of its well, cycle and channel."""
    usual = planes.groupby(["well", "cycle", "channel"])["focus"].transform("median")
    return planes["focus"] / usual.where(usual > 0)


def _blank(planes: pd.DataFrame, settings: QualitySettings) -> Iterator[Fault]:
    for row in planes[planes["contrast"] < settings.least_contrast].itertuples():
        words = f"blank (contrast {row.contrast:.0f}, at least {settings.least_contrast:g})"
        yield Fault("not_blank", row.tile, f"{_place(row)}: {words}")


def _saturated(planes: pd.DataFrame, settings: QualitySettings) -> Iterator[Fault]:
    for row in planes[planes["saturated"] > settings.most_saturated].itertuples():
        words = f"{row.saturated:.1%} of the pixels are saturated (at most {settings.most_saturated:.1%})"
        yield Fault("not_saturated", row.tile, f"{_place(row)}: {words}")


def _out_of_focus(planes: pd.DataFrame, settings: QualitySettings) -> Iterator[Fault]:
    """A blurred image has all of its channels soft. One channel alone may just show other cells, so it has to
    be far softer."""
    share = relative_focus(planes).groupby([planes["tile"], planes["cycle"]]).transform("median")
    soft = share < settings.least_focus
    for _, tiles in planes.groupby(["cycle", "channel"], sort=True):
        if len(tiles) < _FEWEST_TILES:
            continue
        usual = float(tiles["focus"].median())
        least = usual * settings.least_focus * np.where(soft[tiles.index], 1.0, _ALONE)
        for row in tiles[tiles["focus"] < least].itertuples():
            told = f"{row.focus / usual:.0%} of the well's usual sharpness"
            words = f"out of focus ({told}, at least {settings.least_focus:.0%})"
            yield Fault("in_focus", row.tile, f"{_place(row)}: {words}")


def _repeated(planes: pd.DataFrame) -> Iterator[Fault]:
    """Planes with the same pixels as another one that are not blank: a file was copied or named wrongly."""
    telling = planes[planes["contrast"] > 0]
    for _, same in telling.groupby("digest", sort=False):
        if len(same) > 1:
            first, *others = same.itertuples()
            for row in others:
                words = f"{_place(row)}: the same pixels as {_place(first)}"
                yield Fault("taken_once", row.tile, words)


def _absent_cycles(planes: pd.DataFrame) -> Iterator[Fault]:
    cycles = set(planes["cycle"])
    for tile, rows in planes.groupby("tile", sort=True):
        if missing := sorted(cycles - set(rows["cycle"])):
            words = f"tile {tile}: lacks cycle {', '.join(map(str, missing))}"
            yield Fault("all_cycles", tile, words)


def _out_of_place(residuals: pd.DataFrame, settings: QualitySettings) -> Iterator[Fault]:
    most = settings.most_residual_px
    for row in residuals.itertuples():
        if row.residual_px <= most:
            continue
        words = f"{row.residual_px:.2f} px out of place after alignment (at most {most:g})"
        if np.isnan(row.residual_px):
            words = "shows nothing in common with the reference cycle after alignment"
        yield Fault("cycles_in_place", row.tile, f"tile {row.tile}, cycle {row.cycle}: {words}")


def _place(row) -> str:
    """Tile, cycle and channel of a plane; where there is one cycle alone, it is 0 and not told."""
    cycle = f", cycle {row.cycle}" if row.cycle else ""
    return f"tile {row.tile}{cycle}, {row.channel}"
