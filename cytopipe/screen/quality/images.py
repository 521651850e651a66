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

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "image_findings", "measure_planes"]

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
        Written into the table.

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
    """What is wrong with the images of a well, in words that name tile, cycle and channel.

    Parameters
    ----------
    planes : DataFrame
        What `measure_planes` gave, of every tile of the well.
    settings : QualitySettings
    residuals : DataFrame, optional
        ``tile, cycle, residual_px``: how far a cycle is from the first one after alignment.
    """
    findings = [*_blank(planes, settings), *_saturated(planes, settings)]
    sound = (planes["contrast"] >= settings.least_contrast) & (planes["saturated"] <= settings.most_saturated)
    findings += _out_of_focus(planes[sound], settings)
    findings += [*_repeated(planes), *_absent_cycles(planes)]
    if residuals is not None:
        for row in residuals.itertuples():
            if not row.residual_px <= settings.most_residual_px:
                findings.append(
                    f"tile {row.tile}, cycle {row.cycle}: {row.residual_px:.2f} px out of place after "
                    f"alignment (at most {settings.most_residual_px:g})"
                )
    return findings


def _blank(planes: pd.DataFrame, settings: QualitySettings) -> Iterator[str]:
    for row in planes[planes["contrast"] < settings.least_contrast].itertuples():
        yield (
            f"tile {row.tile}, cycle {row.cycle}, {row.channel}: blank (contrast {row.contrast:.0f}, "
            f"at least {settings.least_contrast:g})"
        )


def _saturated(planes: pd.DataFrame, settings: QualitySettings) -> Iterator[str]:
    for row in planes[planes["saturated"] > settings.most_saturated].itertuples():
        yield (
            f"tile {row.tile}, cycle {row.cycle}, {row.channel}: {row.saturated:.1%} of the pixels are "
            f"saturated (at most {settings.most_saturated:.1%})"
        )


def _out_of_focus(planes: pd.DataFrame, settings: QualitySettings) -> Iterator[str]:
    for (cycle, channel), tiles in planes.groupby(["cycle", "channel"], sort=True):
        if len(tiles) < _FEWEST_TILES:
            continue
        usual = float(tiles["focus"].median())
        for row in tiles[tiles["focus"] < settings.least_focus * usual].itertuples():
            yield (
                f"tile {row.tile}, cycle {cycle}, {channel}: out of focus ({row.focus / usual:.0%} of the "
                f"well's usual sharpness, at least {settings.least_focus:.0%})"
            )


def _repeated(planes: pd.DataFrame) -> Iterator[str]:
    """Planes with the same pixels as another one that are not blank: a file was copied or named wrongly."""
    telling = planes[planes["contrast"] > 0]
    for _, same in telling.groupby("digest", sort=False):
        if len(same) > 1:
            first, *others = same.itertuples()
            for row in others:
                yield (
                    f"tile {row.tile}, cycle {row.cycle}, {row.channel}: the same pixels as "
                    f"tile {first.tile}, cycle {first.cycle}, {first.channel}"
                )


def _absent_cycles(planes: pd.DataFrame) -> Iterator[str]:
    cycles = set(planes["cycle"])
    for tile, rows in planes.groupby("tile", sort=True):
        if missing := sorted(cycles - set(rows["cycle"])):
            yield f"tile {tile}: lacks cycle {', '.join(map(str, missing))}"
