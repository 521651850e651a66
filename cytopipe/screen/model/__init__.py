"""The read model: barcodes of cells by the likelihood of their spots, with everything learned from the well.

    model = estimate_read_model(tiles, library)                 # once per well, from squares of its tiles
    reads = call_reads_model(detect_reads(aligned, labels, model), model, library)
    cells = call_cells_model(reads, model, library)

or all of it, for one tile or several: ``reads, cells = call_barcodes(aligned, labels, library)``.

A pixel is a spot if, over the cycles, one channel after the other leads by more than chance makes it. Its
values are modelled as an amplitude times what a barcode promises (crosstalk and gains of each cycle, strands
that lag and run ahead), plus structure that does not change, plus noise. A cell carries none, one or two
entries of the library; the probability of each follows from all its reads together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cytopipe.errors import InputError
from cytopipe.screen.parameters import ReadModelSettings

if TYPE_CHECKING:
    import pandas as pd

    from cytopipe.screen.model.chemistry import ReadModel

__all__ = [
    "call_barcodes",
    "call_cells_model",
    "call_reads_model",
    "detect_reads",
    "estimate_read_model",
    "read_model_from_json",
]

#: Columns of the library that the table of cells repeats.
GENE_COLUMNS = ("gene", "gene_symbol", "gene_id")


def read_model_from_json(document: dict) -> ReadModel:
    """The model that `ReadModel.as_json` wrote."""
    from cytopipe.screen.model.chemistry import ReadModel

    return ReadModel.from_json(document)


def estimate_read_model(
    tiles: Iterable[tuple[np.ndarray, np.ndarray]],
    library: pd.DataFrame | None = None,
    settings: ReadModelSettings | None = None,
    *,
    bases: str | Sequence[str] = "GTAC",
) -> ReadModel:
    """Learn from the images of a well how its spots look.

    Parameters
    ----------
    tiles : iterable of (array TCYX, array YX)
        Aligned cycles whose last four channels are the bases, and labels of cells. Tiles are looked at one by
        one; only `sample_squares` squares are kept. Their order does not matter.
    library : DataFrame, optional
        With a column `barcode` (or `prefix`, or `sgRNA`); its first letters are compared, one per cycle.
        Without it, chemistry is learned from the best sequence of each spot.
    settings : ReadModelSettings, optional
    bases : str
        Order of the base channels.

    Returns
    -------
    ReadModel

    Raises
    ------
    InputError
        Tiles that do not fit each other, no tiles, or a library that cannot be used.
    """
    from itertools import chain

    from cytopipe.screen.model.entries import Entries
    from cytopipe.screen.model.estimate import estimate_model

    tiles = iter(tiles)
    first = next(tiles, None)
    if first is None:
        raise InputError("no tiles to learn the read model from", expected="one or more")
    entries = Entries(library, len(first[0]), "".join(bases))
    return estimate_model(chain([first], tiles), entries, settings or ReadModelSettings(), "".join(bases))


def detect_reads(
    aligned: np.ndarray,
    labels: np.ndarray,
    model: ReadModel,
    settings: ReadModelSettings | None = None,
    wildcards: dict[str, object] | None = None,
) -> pd.DataFrame:
    """Spots of a tile that lie in cells or near them.

    Parameters
    ----------
    aligned : array TCYX
        The last four channels are the bases.
    labels : array YX
        Labels of cells, 0 is background.
    model : ReadModel
    settings : ReadModelSettings, optional
    wildcards : dict, optional
        Columns with one value, such as plate, well and tile.

    Returns
    -------
    DataFrame
        One row per spot: `read` (from 0), `cell`, `i, j` (px), the wildcards, `peak` (the statistic, in units
        of noise), `neighbour_0, neighbour_1` (the nearest other cells
        within some px, 0 if none), `neighbour_px_0, neighbour_px_1` (how far), ``level_G, ...`` (brightness
        around it) and ``x_1_G, x_1_T, ...`` (filtered values by cycle and base, counts; NaN where
        a cycle that was shifted does not show the spot).
    """
    import pandas as pd

    from cytopipe.screen.model import detection, kernels
    from cytopipe.screen.model.estimate import check_tile

    settings = settings or ReadModelSettings()
    check_tile(aligned, labels)
    cycles = len(model.weight)
    if len(aligned) != cycles:
        raise InputError(
            "the tile has other cycles than the read model", expected=f"{cycles}", found=f"{len(aligned)}"
        )
    bases = aligned[:, -4:]
    still = np.zeros((cycles, 2), np.int64)
    height, width = labels.shape
    found = []
    mask = detection.near_cells(labels, settings.read_margin_px)
    absent = detection.gaps_of(bases)
    # A filter reaches four sigma, a peak its radius.
    halo = int(np.ceil(4 * max(model.background_sigma_px, model.spot_sigma_px))) + settings.peak_radius_px + 2
    for wide, own in detection.blocks(labels.shape, halo) if np.isfinite(model.threshold) else ():
        if not mask[wide].any():
            continue
        part = None if absent is None else absent[:, wide[0], wide[1]]
        planes, gaps = detection.filled(bases[:, :, wide[0], wide[1]], part)
        values, level = detection.filtered(
            planes, model.spot_sigma_px, model.background_sigma_px, model.drift
        )
        # Whole arrays of one type: the loops are compiled once.
        inside, cells = np.ascontiguousarray(mask[wide]), labels[wide].astype(np.int64)
        lead, constant = detection.leads_of(values, level, model.noise, model.static, model.weight)
        strength = kernels.statistic(lead, inside, still)
        top, left = wide[0].start + own[0].start, wide[1].start + own[1].start
        down, right = wide[0].start + own[0].stop, wide[1].start + own[1].stop
        borders = (top == 0, down == height, left == 0, right == width)
        spots = detection.spots(
            values, level, cells, own, borders, gaps, strength,
            np.where(inside, constant, 0) if model.constant else None,
            model.threshold, settings.peak_radius_px, settings.read_margin_px,
        )  # fmt: skip
        spots.i += top
        spots.j += left
        found.append(spots)
    columns: dict[str, object] = {"read": np.arange(sum(len(one.i) for one in found))}
    for name in ("cell", "i", "j"):
        columns[name] = _joined([getattr(one, name) for one in found], (0,), np.int64)
    columns |= wildcards or {}
    columns["peak"] = _joined([one.strength for one in found], (0,), np.float32).astype(float)
    for name, dtype in (("neighbour", np.int64), ("neighbour_px", float)):
        both = _joined([getattr(one, name) for one in found], (0, 2), dtype)
        columns |= {f"{name}_{k}": both[:, k] for k in (0, 1)}
    level = _joined([one.level for one in found], (0, 4), float)
    x = _joined([one.x for one in found], (0, cycles, 4), float)
    x = detection.separated(
        x, columns["i"], columns["j"], _joined([one.apart for one in found], (0, 2), float),
        model.spot_width_px, model.spot_sigma_px, model.background_sigma_px,
    )  # fmt: skip
    columns |= {f"level_{base}": level[:, c] for c, base in enumerate(model.bases)}
    columns |= {name: x[:, k // 4, k % 4] for k, name in enumerate(_value_columns(model))}
    return pd.DataFrame(columns)


def call_reads_model(
    reads: pd.DataFrame, model: ReadModel, library: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The best sequence of each read, with the probability that each of its bases is right.

    Parameters
    ----------
    reads : DataFrame
        As `detect_reads` gives it.
    model : ReadModel
    library : DataFrame, optional

    Returns
    -------
    DataFrame
        The columns of `reads` with, before the values: ``barcode``; ``Q_0, Q_1, ...`` (probability that the
        base of the first, second, ... cycle is right) and ``Q_min``; ``amplitude`` (counts);
        ``library_barcode`` (the entry that explains the read best, None where no entry does) and
        ``library_probability`` (against other entries, other sequences and noise).
    """
    from cytopipe.screen.model.calls import best_entries, read_likelihoods
    from cytopipe.screen.model.entries import Entries

    cycles = len(model.weight)
    entries = Entries(library, cycles, model.bases)
    parts = _arrays(reads, model)
    told = read_likelihoods(parts["x"], parts["level"], model, entries)
    letters = np.array(list(model.bases))[told.codes]
    right = np.exp(told.scores - told.scores.max(axis=2, keepdims=True))
    right = right / right.sum(axis=2, keepdims=True)
    quality = np.take_along_axis(right, told.codes[:, :, None].astype(np.int64), axis=2)[:, :, 0]
    out = reads[[name for name in reads.columns if not name.startswith(("x_", "level_"))]].copy()
    out["barcode"] = ["".join(one) for one in letters]
    for t in range(cycles):
        out[f"Q_{t}"] = quality[:, t]
    out["Q_min"] = quality.min(axis=1) if len(out) else np.zeros(0)
    out["amplitude"] = told.amplitude
    out["library_barcode"], out["library_probability"] = best_entries(told, model, entries)
    values = [name for name in reads.columns if name.startswith(("level_", "x_"))]
    import pandas as pd

    return pd.concat([out, reads[values]], axis=1)


def call_cells_model(
    reads: pd.DataFrame,
    model: ReadModel,
    library: pd.DataFrame | None,
    settings: ReadModelSettings | None = None,
) -> pd.DataFrame:
    """What each cell carries, by all its reads together.

    Parameters
    ----------
    reads : DataFrame
        As `detect_reads` or `call_reads_model` gives it, of one tile or several.
    model : ReadModel
    library : DataFrame, optional
        Without it, cells get the sequences of their reads, most frequent first, without probabilities.
    settings : ReadModelSettings, optional

    Returns
    -------
    DataFrame
        One row per cell with a read: `plate, well, tile` where reads have them, `cell`; ``cell_barcode_0,
        cell_barcode_1`` (None where it is not certain enough), ``cell_barcode_probability_0, _1`` (that the
        cell carries the most and second most likely entry), ``cell_barcode_count_0, _1`` (reads that speak
        for each), ``cell_barcode_best`` (the most likely entry, certain or not), ``p_none``, ``p_two``,
        ``n_reads``, ``call`` (``one``, ``two``, ``none`` or ``ambiguous``) and the library's gene columns
        with ``_0`` and ``_1``.
    """
    from cytopipe.screen.model.calls import cell_table

    reads = reads[reads["cell"] > 0]
    return cell_table(
        reads, _arrays(reads, model), model, library, settings or ReadModelSettings(), GENE_COLUMNS
    )


def call_barcodes(
    aligned: np.ndarray | Sequence[np.ndarray],
    cell_labels: np.ndarray | Sequence[np.ndarray],
    library: pd.DataFrame | None = None,
    settings: ReadModelSettings | None = None,
    *,
    bases: str | Sequence[str] = "GTAC",
    wildcards: Sequence[dict[str, object]] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """From aligned cycles and cells to reads and called cells.

    Parameters
    ----------
    aligned : array TCYX, or a sequence of them
        One tile, or the tiles of a well.
    cell_labels : array YX, or a sequence of them
    library : DataFrame, optional
    settings : ReadModelSettings, optional
    bases : str
        Order of the base channels, the last four.
    wildcards : sequence of dict, optional
        Columns of each tile, such as plate, well and tile; by default `tile` counts from 0.

    Returns
    -------
    reads, cells : DataFrame
        As `call_reads_model` and `call_cells_model` give them.
    """
    import pandas as pd

    single = isinstance(aligned, np.ndarray) and aligned.ndim == 4
    tiles = [(aligned, cell_labels)] if single else list(zip(aligned, cell_labels, strict=True))
    wildcards = wildcards or [{"tile": k} for k in range(len(tiles))]
    model = estimate_read_model(tiles, library, settings, bases=bases)
    reads = []
    for (cycles, labels), named in zip(tiles, wildcards, strict=True):
        found = detect_reads(cycles, labels, model, settings, named)
        reads.append(call_reads_model(found, model, library))
    every = pd.concat(reads, ignore_index=True)
    return every, call_cells_model(every, model, library, settings)


def _value_columns(model: ReadModel) -> list[str]:
    return [f"x_{t + 1}_{base}" for t in range(len(model.weight)) for base in model.bases]


def _arrays(reads: pd.DataFrame, model: ReadModel) -> dict[str, np.ndarray]:
    """Columns of reads as the arrays that the likelihood takes; cells of different tiles are different."""
    names = _value_columns(model)
    if absent := [name for name in [*names, "cell"] if name not in reads.columns]:
        raise InputError(
            "reads lack columns", expected=", ".join(absent[:5]), next="Make them with detect_reads."
        )
    x = reads[names].to_numpy(float).reshape(len(reads), len(model.weight), 4)
    level = reads[[f"level_{base}" for base in model.bases]].to_numpy(float)
    keys = [name for name in ("plate", "well", "tile", "cell") if name in reads.columns]
    number = reads.groupby(keys, sort=True).ngroup().to_numpy() if len(reads) else np.zeros(0, np.int64)
    # A neighbour is known by its number only if it has reads itself.
    numbers = reads[keys].assign(number=number).drop_duplicates(keys)
    beyond = []
    for k in (0, 1):
        one = reads[[*keys[:-1], f"neighbour_{k}"]].rename(columns={f"neighbour_{k}": "cell"})
        beyond.append(one.merge(numbers, on=keys, how="left")["number"].fillna(-1).to_numpy(np.int64))
    return {
        "x": x, "level": level, "cell": number, "neighbour": np.column_stack(beyond),
        "neighbour_px": reads[["neighbour_px_0", "neighbour_px_1"]].to_numpy(float),
    }  # fmt: skip


def _joined(parts: list[np.ndarray], empty: tuple[int, ...], dtype: type) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(empty, dtype)
