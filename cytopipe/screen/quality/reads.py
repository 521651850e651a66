"""Quality of the reads and cells of a well: bases against the library, mapping, errors, near neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from cytopipe.screen.parameters import QualitySettings
from cytopipe.screen.quality.faults import Fault

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "base_faults",
    "base_frequencies",
    "base_order",
    "cells_of_tiles",
    "distances",
    "mapping_by_quality",
    "mapping_by_threshold",
    "mismatches_by_cycle",
    "rate_faults",
    "read_faults",
    "read_findings",
]

BASES = "ACGT"
_BLOCK = 4096  # reads compared with the library at once
_SPREADS = 3
_FEWEST_CELLS = 50  # of a well, for a rate to say something
_READS_PER_CELL = 5


def base_frequencies(barcodes: Sequence[str], library: Sequence[str]) -> pd.DataFrame:
    """How often each base is read in each cycle, and how often it stands there in the library.

    Parameters
    ----------
    barcodes : sequence of str
        Of the reads, all of one length.
    library : sequence of str
        Barcodes at least as long; they are cut.

    Returns
    -------
    DataFrame
        ``cycle`` (from 1), ``base``, ``observed``, ``expected`` (fractions; NaN where there are no reads),
        ``n_reads``, ``spread``: the standard deviation of what is expected, for barcodes that are not equally
        abundant and reads that are alike within a cell.
    """
    import pandas as pd

    length = len(barcodes[0]) if len(barcodes) else min(map(len, library), default=0)
    observed, expected = _frequencies(_letters(barcodes, length)), _frequencies(_letters(library, length))
    chance = 1 / max(len(library), 1) + _READS_PER_CELL / max(len(barcodes), 1)
    return pd.DataFrame(
        {
            "cycle": np.repeat(np.arange(1, length + 1), 4),
            "base": list(BASES) * length,
            "observed": observed.ravel(),
            "expected": expected.ravel(),
            "n_reads": len(barcodes),
            "spread": np.sqrt(expected * (1 - expected) * chance).ravel(),
        }
    )


def base_order(barcodes: Sequence[str], library: Sequence[str]) -> pd.DataFrame:
    """Whether the channels are named in the right order: the share of reads in the library, for each order.

    Returns
    -------
    DataFrame
        24 rows, the best first: ``order`` (what A, C, G and T are to be renamed to) and ``mapped`` (fraction
        of the reads that are then a barcode of the library). ``ACGT`` is the order as it is.
    """
    import pandas as pd

    length = len(barcodes[0]) if len(barcodes) else 0
    known = np.unique(_codes(_letters(library, length)))
    letters = _letters(barcodes, length)
    rows = []
    for order in permutations(range(4)):
        renamed = np.append(np.array(order, np.int8), np.int8(-1))[letters]
        mapped = float(np.isin(_codes(renamed), known).mean()) if len(letters) else float("nan")
        rows.append({"order": "".join(BASES[k] for k in order), "mapped": mapped})
    return pd.DataFrame(rows).sort_values(["mapped", "order"], ascending=[False, True], ignore_index=True)


def mapping_by_threshold(
    reads: pd.DataFrame, library: Sequence[str], thresholds: Sequence[float]
) -> pd.DataFrame:
    """Share of the reads in the library, and their number, when only spots above a peak are taken.

    Returns
    -------
    DataFrame
        ``threshold_peaks``, ``n_reads``, ``n_mapped``, ``mapped`` (fraction).
    """
    return _mapping(reads, library, "peak", thresholds, "threshold_peaks")


def mapping_by_quality(reads: pd.DataFrame, library: Sequence[str], q_min: Sequence[float]) -> pd.DataFrame:
    """The same for reads of a least quality: ``q_min``, ``n_reads``, ``n_mapped``, ``mapped``."""
    return _mapping(reads, library, "Q_min", q_min, "q_min")


def _mapping(
    reads: pd.DataFrame, library: Sequence[str], column: str, limits: Sequence[float], name: str
) -> pd.DataFrame:
    import pandas as pd

    length = len(reads["barcode"].iloc[0]) if len(reads) else 0
    known = {one[:length] for one in library}
    in_cells = reads[reads["cell"] > 0] if "cell" in reads else reads
    values = in_cells[column].to_numpy(float)
    mapped = in_cells["barcode"].isin(known).to_numpy()
    rows = []
    for limit in limits:
        taken = values >= limit
        n, n_mapped = int(taken.sum()), int(mapped[taken].sum())
        rows.append(
            {name: limit, "n_reads": n, "n_mapped": n_mapped, "mapped": n_mapped / n if n else np.nan}
        )
    return pd.DataFrame(rows, columns=[name, "n_reads", "n_mapped", "mapped"])


def mismatches_by_cycle(barcodes: Sequence[str], library: Sequence[str], most: int = 2) -> pd.DataFrame:
    """Where reads differ from their only nearest barcode, by cycle and pair of bases.

    Parameters
    ----------
    barcodes, library : sequence of str
    most : int
        Differences at most; reads further away are left out.

    Returns
    -------
    DataFrame
        ``cycle``, ``expected``, ``read``, ``count``; one row for each that occurs.
    """
    import pandas as pd

    length = len(barcodes[0]) if len(barcodes) else 0
    known = np.unique(_letters(sorted({one[:length] for one in library}), length), axis=0)
    letters, times = np.unique(_letters(barcodes, length), axis=0, return_counts=True)
    counts = np.zeros((length, 4, 4), np.int64)
    for start in range(0, len(letters), _BLOCK):
        block, weight = letters[start : start + _BLOCK], times[start : start + _BLOCK]
        distance = np.zeros((len(block), len(known)), np.int16)
        for k in range(length):
            distance += block[:, k, None] != known[None, :, k]
        nearest, best = distance.argmin(1), distance.min(1)
        clear = ((distance == best[:, None]).sum(1) == 1) & (best > 0) & (best <= most)
        for k in range(length):
            truth, read = known[nearest[clear], k], block[clear, k]
            wrong = (truth != read) & (truth >= 0) & (read >= 0)
            np.add.at(counts[k], (truth[wrong], read[wrong]), weight[clear][wrong])
    where = np.argwhere(counts)
    return pd.DataFrame(
        {
            "cycle": where[:, 0] + 1,
            "expected": [BASES[k] for k in where[:, 1]],
            "read": [BASES[k] for k in where[:, 2]],
            "count": counts[tuple(where.T)],
        }
    )


def distances(barcodes: Sequence[str], library: Sequence[str]) -> pd.DataFrame:
    """How far reads are from their nearest and from their second nearest barcode.

    A screen is read well where the nearest is at 0 and the second far away.

    Parameters
    ----------
    barcodes, library : sequence of str

    Returns
    -------
    DataFrame
        ``best``, ``second`` (differing bases), ``n_reads``; one row for each pair that occurs. Without a
        second barcode, ``second`` is the length of the reads.
    """
    import pandas as pd

    length = len(barcodes[0]) if len(barcodes) else 0
    known = np.unique(_letters(sorted({one[:length] for one in library}), length), axis=0)
    letters, times = np.unique(_letters(barcodes, length), axis=0, return_counts=True)
    counts = np.zeros((length + 1, length + 1), np.int64)
    for start in range(0, len(letters) if len(known) else 0, _BLOCK):
        block = letters[start : start + _BLOCK]
        distance = np.zeros((len(block), len(known)), np.int8)
        for k in range(length):
            distance += block[:, k, None] != known[None, :, k]
        two = np.partition(distance, 1, axis=1)[:, :2] if len(known) > 1 else np.c_[distance, distance]
        two[:, 1] = two[:, 1] if len(known) > 1 else length
        np.add.at(counts, (two[:, 0], two[:, 1]), times[start : start + _BLOCK])
    best, second = np.nonzero(counts)
    return pd.DataFrame({"best": best, "second": second, "n_reads": counts[best, second]})


def cells_of_tiles(cells: pd.DataFrame, reads: pd.DataFrame, library: Sequence[str]) -> pd.DataFrame:
    """Cells and reads of every tile.

    Returns
    -------
    DataFrame
        A row per tile: ``plate, well, tile, n_cells, n_with_reads, n_called, called`` (fraction of all cells
        whose first barcode is in the library), ``n_reads, n_mapped, mapped`` (fraction of reads within
        cells).
    """
    import pandas as pd

    where = ["plate", "well", "tile"]
    length = len(reads["barcode"].iloc[0]) if len(reads) else max(map(len, library), default=0)
    known = {one[:length] for one in library}
    first = cells["cell_barcode_0"]
    told = cells[where].assign(
        n_cells=1,
        n_with_reads=first.notna().astype(int),
        n_called=first.astype("string").str[:length].isin(known).astype(int),
    )
    table = told.groupby(where, sort=True).sum()
    within = reads[reads["cell"] > 0]
    told = within[where].assign(n_reads=1, n_mapped=within["barcode"].isin(known).astype(int))
    table = table.join(told.groupby(where, sort=True).sum(), how="outer").fillna(0).astype(int).reset_index()
    with np.errstate(invalid="ignore", divide="ignore"):
        table.insert(6, "called", table["n_called"] / table["n_cells"])
        table["mapped"] = table["n_mapped"] / table["n_reads"]
    return pd.DataFrame(table)


def read_findings(
    tiles: pd.DataFrame, bases: pd.DataFrame, order: pd.DataFrame, settings: QualitySettings
) -> list[str]:
    """What is wrong with the reads of a well, in words; see :func:`read_faults`."""
    return [fault.words for fault in read_faults(tiles, bases, order, settings)]


def read_faults(
    tiles: pd.DataFrame, bases: pd.DataFrame, order: pd.DataFrame, settings: QualitySettings
) -> list[Fault]:
    """What is wrong with the reads of a well, in words that name tiles and cycles.

    Parameters
    ----------
    tiles : DataFrame
        Of `cells_of_tiles`.
    bases, order : DataFrame
        Of `base_frequencies` and `base_order`.
    settings : QualitySettings
    """
    return [*rate_faults(tiles, settings), *base_faults(bases, order, settings)]


def rate_faults(tiles: pd.DataFrame, settings: QualitySettings) -> list[Fault]:
    """Those of them that are of cells; `tiles` of `cells_of_tiles`."""
    return list(_rates(tiles, settings))


def base_faults(bases: pd.DataFrame, order: pd.DataFrame, settings: QualitySettings) -> list[Fault]:
    """Those of them that are of reads; `bases` and `order` of `base_frequencies` and `base_order`."""
    return [*_unbalanced(bases, settings), *_misnamed(order)]


def _rates(tiles: pd.DataFrame, settings: QualitySettings) -> Iterator[Fault]:
    n, called = int(tiles["n_cells"].sum()), int(tiles["n_called"].sum())
    if n >= _FEWEST_CELLS and called / n < settings.least_called:
        least = f"at least {settings.least_called:.0%}"
        words = f"{called / n:.0%} of {n:,} cells have a barcode of the library ({least})"
        yield Fault("cells_called", -1, words)
    usual = float(tiles["called"].dropna().median())
    for row in tiles.itertuples():
        if row.n_cells == 0:
            yield Fault("cells_called", row.tile, f"tile {row.tile}: no cells")
        elif len(tiles) > 2 and row.called < settings.least_of_usual * usual:
            words = f"tile {row.tile}: {row.called:.0%} of the cells have a barcode, in the well {usual:.0%}"
            yield Fault("cells_called", row.tile, words)


def _unbalanced(bases: pd.DataFrame, settings: QualitySettings) -> Iterator[Fault]:
    for row in bases.itertuples():
        if abs(row.observed - row.expected) > settings.most_base_difference + _SPREADS * row.spread:
            read, known = f"{row.observed:.0%} of the reads", f"{row.expected:.0%} of the library"
            words = f"cycle {row.cycle}: {row.base} in {read}, in {known}"
            yield Fault("bases_as_in_library", -1, words)


def _misnamed(order: pd.DataFrame) -> Iterator[Fault]:
    if not len(order):
        return
    best, as_named = order.iloc[0], order[order["order"] == BASES].iloc[0]
    if best["order"] != BASES and best["mapped"] > 0.1 and best["mapped"] > 2 * as_named["mapped"]:
        words = (
            f"the channels seem to be named in the wrong order: {best['mapped']:.0%} of the reads are in the "
            f"library when A, C, G, T are read as {', '.join(best['order'])}; {as_named['mapped']:.0%} as is"
        )
        yield Fault("channels_in_order", -1, words)


def _letters(barcodes: Sequence[str], length: int) -> np.ndarray:
    """(n, length) int8: place in ACGT, -1 for any other letter or none."""
    if not len(barcodes) or not length:
        return np.empty((0, length), np.int8)
    text = np.array([one[:length].ljust(length) for one in barcodes], dtype=f"S{length}")
    place = np.full(256, -1, np.int8)
    place[np.frombuffer(BASES.encode(), np.uint8)] = np.arange(4)
    return place[text.view(np.uint8).reshape(-1, length)]


def _frequencies(letters: np.ndarray) -> np.ndarray:
    """(length, 4) fractions; NaN where nothing was counted."""
    counts = np.stack([(letters == k).sum(0) for k in range(4)], axis=1).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return counts / counts.sum(1, keepdims=True)


def _codes(letters: np.ndarray) -> np.ndarray:
    """One value for each row, equal where the rows are."""
    if not letters.size:
        return np.empty(0, "S1")
    return np.ascontiguousarray(letters + 1).view(f"S{letters.shape[1]}").ravel()
