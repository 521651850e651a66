"""STARCall's way from images to cells: standardised planes, spots in scale space, nearest barcode.

STARCall (2025) PLOS Computational Biology, journal.pcbi.1013689. Unlike it, a cell is matched only within a
largest distance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numba
import numpy as np

from cytopipe.errors import InputError
from cytopipe.screen.bases import check_stack, labels_near
from cytopipe.screen.cells import cell_codes, told_columns
from cytopipe.screen.distance import encoded
from cytopipe.screen.library import library_prefixes
from cytopipe.screen.parameters import CellCallSettings, LibrarySettings, ReadSettings
from cytopipe.screen.reads import call_bases, quality

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["match_cells", "standardised", "zscore_reads"]

#: So many different reads of a cell are compared with the library, the most frequent ones.
READS_OF_CELL = 4


def zscore_reads(
    images: np.ndarray,
    cells: np.ndarray,
    settings: ReadSettings,
    wildcards: Mapping[str, object],
    bases: Sequence[str] = "GTAC",
) -> pd.DataFrame:
    """Reads of one tile.

    A spot is a blob in the sum over channels of the standard deviation over cycles of each channel's lead
    over the second brightest; so a read whose base never changes is not seen.

    Parameters
    ----------
    images : numpy.ndarray
        Bases alone, aligned, not filtered; TCYX, any numeric dtype. A float32 copy is held.
    cells : numpy.ndarray
        Labels, integer YX.
    settings : ReadSettings
    wildcards : mapping
        Columns that every row repeats: ``plate``, ``well``, ``tile``.
    bases : sequence of str
        The channels of `images`, in their order.

    Returns
    -------
    pandas.DataFrame
        ``read, cell, i, j``, the wildcards, ``barcode``, ``Q_0, ..., Q_min`` (by
        `cytopipe.screen.reads.quality`, of standardised values), ``peak`` (height of the blob) and
        ``quality``: the largest standardised value, mean over cycles. In the order of cell and read; reads
        row by row over the image.

    Raises
    ------
    InputError
        Images of different shape, or another number of channels than bases: all findings at once.
    """
    import pandas as pd

    check_stack(images, cells, bases)
    planes = standardised(images, settings.background_sigma_px)
    i, j, height = _spots(_variation(planes), settings)
    cell = labels_near(cells, i, j, settings.read_margin_px)
    order = np.argsort(cell, kind="stable")
    value = _highest_near(planes, i[order], j[order], settings.value_radius_px)
    letters = np.argsort(list(bases))
    value = value[:, :, letters]
    table = {"read": order, "cell": cell[order], "i": i[order], "j": j[order]}
    table |= {name: np.full(len(order), wildcards[name], dtype=object) for name in sorted(wildcards)}
    called = quality(np.maximum(value, 0))
    table["barcode"] = call_bases(value, [bases[one] for one in letters])
    table |= {f"Q_{cycle}": called[:, cycle] for cycle in range(called.shape[1])}
    table |= {
        "Q_min": called.min(axis=1),
        "peak": height[order],
        "quality": value.max(axis=2).mean(axis=1, dtype=np.float64),
    }
    return pd.DataFrame(table).infer_objects()


def standardised(images: np.ndarray, background_sigma_px: float = 4.0) -> np.ndarray:
    """Each plane less its blurred self, then less its mean and over its standard deviation.

    Parameters
    ----------
    images : numpy.ndarray
        TCYX.
    background_sigma_px : float
        Sigma of the blur (cut at 4 sigma; edges repeat).

    Returns
    -------
    numpy.ndarray
        float32 TCYX; a plane without contrast is 0.
    """
    import cv2

    side = 2 * int(4 * background_sigma_px + 0.5) + 1
    planes = np.empty(images.shape, dtype=np.float32)
    for t, c in np.ndindex(*images.shape[:2]):
        plane = images[t, c].astype(np.float32)
        plane -= cv2.GaussianBlur(plane, (side, side), background_sigma_px, borderType=cv2.BORDER_REPLICATE)
        mean, deviation = plane.mean(dtype=np.float64), plane.std(dtype=np.float64)
        planes[t, c] = (plane - mean) / deviation if deviation > 0 else 0
    return planes


def _variation(planes: np.ndarray) -> np.ndarray:
    """Standard deviation over cycles of each channel's lead, summed over channels; float64 YX."""
    total = np.zeros(planes.shape[1:], dtype=np.float64)
    square = np.zeros_like(total)
    for cycle in planes:
        lead = np.maximum(cycle - np.partition(cycle, -2, axis=0)[-2], 0)
        total += lead
        square += lead.astype(np.float64) ** 2
    mean = total / len(planes)
    return np.sqrt(np.maximum(square / len(planes) - mean**2, 0)).sum(axis=0)


def _spots(image: np.ndarray, settings: ReadSettings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and heights of blobs, row by row; a blob exceeds the mean of the image."""
    from skimage.feature import blob_log

    blobs = blob_log(
        image,
        min_sigma=settings.spot_sigma_min_px,
        max_sigma=settings.spot_sigma_max_px,
        num_sigma=settings.spot_sigma_steps,
        threshold=image.mean(),
    )
    i, j = np.unique(blobs[:, :2].astype(np.int64), axis=0).T
    return i, j, image[i, j]


def _highest_near(planes: np.ndarray, i: np.ndarray, j: np.ndarray, radius_px: int) -> np.ndarray:
    """The largest value within a disk around each spot; spots x cycles x channels."""
    highest = np.full((len(i), *planes.shape[:2]), -np.inf, dtype=np.float32)
    height, width = planes.shape[-2:]
    for y, x in np.mgrid[-radius_px : radius_px + 1, -radius_px : radius_px + 1].reshape(2, -1).T:
        if y * y + x * x <= radius_px * radius_px:
            at = planes[:, :, np.clip(i + y, 0, height - 1), np.clip(j + x, 0, width - 1)]
            np.maximum(highest, at.transpose(2, 0, 1), out=highest)
    return highest


# ---------------------------------------------------------------------- cells


def match_cells(
    reads: pd.DataFrame,
    library: pd.DataFrame,
    settings: CellCallSettings | None = None,
    library_settings: LibrarySettings | None = None,
) -> pd.DataFrame:
    """The entry of the library that is nearest to the reads of a cell.

    Equal reads of a cell are merged; the four most frequent are compared. The distance of an entry is the
    smallest over these reads of the bases that differ, plus 1 / (count + 1). The smallest distance wins if no
    other entry has it, and if at most ``settings.max_distance`` bases differ.

    Parameters
    ----------
    reads : pandas.DataFrame
        From `zscore_reads`, of one or several tiles, or any table of reads.
    library : pandas.DataFrame
    settings : CellCallSettings, optional
        ``q_min`` and ``max_distance`` are used.
    library_settings : LibrarySettings, optional

    Returns
    -------
    pandas.DataFrame
        One row per cell with a read: ``[plate,] well, tile, cell``, ``cell_barcode_0`` (the entry; missing
        where none was matched), ``pre_correction_cell_barcode_0`` (the read that decided; the most frequent
        one where none was matched), ``cell_barcode_count_0`` (its spots), ``barcode_count`` (spots of the
        cell), ``bases_differ_0``, ``second_bases_differ`` (bases by which the next best entry differs, -1:
        there is none), and the library's columns with the suffix 0.
    """
    import pandas as pd

    settings, library_settings = settings or CellCallSettings(), library_settings or LibrarySettings()
    place = [name for name in ("plate", "well", "tile", "cell") if name in reads]
    if missing := [name for name in ("well", "tile", "cell", "barcode", "Q_min") if name not in reads]:
        raise InputError(f"the table of reads has no column {', '.join(map(repr, missing))}")
    length = len(reads["barcode"].iloc[0]) if len(reads) else None
    names = library_prefixes(library, length, library_settings).to_numpy(dtype=object)
    kept = (reads["cell"].to_numpy() > 0) & (reads["Q_min"].to_numpy() >= settings.q_min)
    reads = reads[kept].reset_index(drop=True)

    cell = cell_codes(reads, place)
    sequence, sequences = pd.factorize(reads["barcode"], sort=True)
    group, first, count = np.unique(
        cell * (len(sequences) + 1) + sequence, return_index=True, return_counts=True
    )
    order = np.lexsort((-count, group // (len(sequences) + 1)))
    first, count = first[order], count[order]
    _, start, number = np.unique(cell[first], return_index=True, return_counts=True)
    width = max(map(len, [*sequences, *names]))
    read, entry, differ, second = _matched(
        encoded(list(sequences), width)[sequence[first]],
        count,
        start,
        np.minimum(number, READS_OF_CELL),
        encoded(list(names), width),
        settings.max_distance,
    )
    matched = entry >= 0
    table = reads[place].take(first[start]).reset_index(drop=True)
    table["cell_barcode_0"] = np.where(matched, names[entry], None)
    table["pre_correction_cell_barcode_0"] = reads["barcode"].to_numpy()[first[read]]
    table["cell_barcode_count_0"] = count[read]
    table["barcode_count"] = np.add.reduceat(count, start) if len(start) else count
    table["bases_differ_0"], table["second_bases_differ"] = differ, second
    told = told_columns(library, [one for one in library_settings.gene_columns if one in library])
    for name in told:
        column = library[name].take(np.maximum(entry, 0)).reset_index(drop=True)
        table[f"{name}_0"] = column.where(matched) if not matched.all() else column
    return table


@numba.njit(cache=True)
def _matched(reads, count, start, number, entries, limit):  # pragma: no cover - compiled
    """For each cell: the deciding read, the entry (-1: none), bases that differ, those of the next one."""
    cells = start.shape[0]
    best_read = start.copy()
    best_entry = np.full(cells, -1, dtype=np.int64)
    best_differ = np.full(cells, -1, dtype=np.int64)
    second_differ = np.full(cells, -1, dtype=np.int64)
    for c in range(cells):
        best = second = np.inf
        chosen, chosen_read, chosen_differ = -1, start[c], -1
        for e in range(entries.shape[0]):
            nearest, nearest_read, nearest_differ = np.inf, start[c], -1
            for r in range(start[c], start[c] + number[c]):
                differ = 0
                for k in range(entries.shape[1]):
                    differ += reads[r, k] != entries[e, k]
                distance = differ + 1.0 / (count[r] + 1.0)
                if distance < nearest:
                    nearest, nearest_read, nearest_differ = distance, r, differ
            if nearest < best:
                second, second_differ[c] = best, chosen_differ
                best, chosen, chosen_read, chosen_differ = nearest, e, nearest_read, nearest_differ
            elif nearest < second:
                second, second_differ[c] = nearest, nearest_differ
        best_differ[c] = chosen_differ
        if chosen >= 0 and best < second and chosen_differ <= limit:
            best_entry[c], best_read[c] = chosen, chosen_read
    return best_read, best_entry, best_differ, second_differ
