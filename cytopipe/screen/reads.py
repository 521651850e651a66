"""Intensities become reads: crosstalk removed by one matrix, a base and its quality per cycle.

Feldman D. et al. (2019) Optical pooled screens in human cells. Cell 179(3):787-799.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from cytopipe.errors import Finding, InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["call_bases", "call_reads", "quality", "transform_medians", "transform_percentiles"]

#: What every table of bases has; any further column is carried along.
COLUMNS = ("read", "cycle", "channel", "intensity", "cell", "i", "j")
#: By these, in this order, reads are sorted.
ORDER = ("well", "tile", "cell", "read")


def call_reads(
    bases_data: pd.DataFrame,
    peaks_data: np.ndarray | None = None,
    correction_only_in_cells: bool = True,
    normalize_bases_first: bool = True,
    method: Literal["median", "percentile"] = "median",
    cycles: int = 0,
) -> pd.DataFrame:
    """Reads of one tile, with the results of the reference's function.

    Parameters
    ----------
    bases_data : pandas.DataFrame
        From `cytopipe.screen.bases.extract_bases`, in any order of rows.
    peaks_data : numpy.ndarray, optional
        Height of each peak, YX; becomes the column ``peak``.
    correction_only_in_cells : bool
        Estimate crosstalk from reads in cells; from all where no read is in a cell.
    normalize_bases_first : bool
        Divide each channel by its median over all reads and cycles first (median). A median of 0 divides
        nothing.
    method : {"median", "percentile"}
        See `transform_medians`, `transform_percentiles`.
    cycles : int
        Cycles of the screen: a table without reads has that many columns of quality.

    Returns
    -------
    pandas.DataFrame
        One row per read, in the order of well, tile, cell, read: the columns of `bases_data` but ``cycle,
        channel, intensity``; ``barcode``; ``Q_0, Q_1, ...``, the quality from 0 to 1 in each cycle;
        ``Q_min``; ``peak``.

    Raises
    ------
    InputError
        A column is absent, a read lacks a base of a cycle, or channels cannot be told apart.
    """
    import pandas as pd

    if missing := [name for name in COLUMNS if name not in bases_data.columns]:
        raise InputError([Finding(what=f"the table of bases has no column {name!r}") for name in missing])
    if method not in ("median", "percentile"):
        raise InputError(f"no method is called {method!r}", expected="median or percentile")
    kept = [name for name in bases_data.columns if name not in ("cycle", "channel", "intensity")]
    if len(bases_data) == 0:
        intensity = np.zeros((0, cycles, 4))
        bases, reads = list("ACGT"), bases_data[kept]
    else:
        intensity, bases, rows = _by_read(bases_data)
        reads = bases_data[kept].take(rows)
        intensity = _separated(
            intensity,
            reads["cell"].to_numpy() > 0 if correction_only_in_cells else None,
            method,
            normalize_bases_first,
        )
    called = quality(intensity)
    table = {name: reads[name].to_numpy() for name in kept} | {"barcode": call_bases(intensity, bases)}
    table |= {f"Q_{cycle}": called[:, cycle] for cycle in range(called.shape[1])}
    table["Q_min"] = called.min(axis=1) if called.shape[1] else np.zeros(len(called))
    if peaks_data is not None:
        table["peak"] = peaks_data[table["i"].astype(np.int64), table["j"].astype(np.int64)]
    return pd.DataFrame(table)


def _separated(intensity: np.ndarray, in_cell: np.ndarray | None, method: str, normalize: bool) -> np.ndarray:
    """Signal per base, whole numbers, without crosstalk."""
    n, cycles, channels = intensity.shape
    flat = intensity.reshape(-1, channels)
    if method == "median" and normalize:
        medians = np.median(flat, axis=0)
        flat = flat / np.where(medians == 0, 1, medians)
    used = flat
    if in_cell is not None and in_cell.any():
        used = flat.reshape(n, -1)[in_cell].reshape(-1, channels)
    transform = transform_medians if method == "median" else transform_percentiles
    weights = transform(used)[1]
    return weights.dot(flat.T).T.astype(np.int64).reshape(n, cycles, channels)


def _by_read(bases_data: pd.DataFrame) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Intensities, reads x cycles x bases; the bases, sorted; and a row of each read, reads in order."""
    import pandas as pd

    channel, names = pd.factorize(bases_data["channel"], sort=True)
    cycle, numbers = pd.factorize(bases_data["cycle"], sort=True)
    if wrong := [name for name in names if not isinstance(name, str) or len(name) != 1]:
        raise InputError("a channel is no base", expected="one letter", found=", ".join(map(repr, wrong)))
    per_read = len(names) * len(numbers)
    slot = cycle * len(names) + channel
    blocks = len(bases_data) // per_read
    identity = [bases_data[name].to_numpy() for name in ("well", "tile", "read") if name in bases_data]
    if not _regular(slot, identity, blocks, per_read):
        by = [name for name in ORDER if name in bases_data.columns]
        codes = [pd.factorize(bases_data[name], sort=True)[0] for name in by]
        order = np.lexsort((slot, *reversed(codes)))
        slot, identity = slot[order], [one[order] for one in identity]
        if not _regular(slot, identity, blocks, per_read):
            raise InputError(
                "a read lacks a base of a cycle, or has one twice",
                expected=f"{len(numbers)} cycles x {len(names)} bases for every read",
            )
    else:
        order = np.arange(len(bases_data))
    slots = slot[:per_read]
    intensity = bases_data["intensity"].to_numpy()[order].reshape(blocks, per_read)[:, np.argsort(slots)]
    rows = order[::per_read]
    by = [name for name in ORDER if name in bases_data.columns]
    keys = [pd.factorize(bases_data[name].take(rows), sort=True)[0] for name in by]
    sort = np.lexsort(keys[::-1])
    return intensity[sort].reshape(blocks, len(numbers), len(names)), list(names), rows[sort]


def _regular(slot: np.ndarray, identity: list[np.ndarray], blocks: int, per_read: int) -> bool:
    """Whether rows come read by read, each with all its bases in one and the same order."""
    if len(slot) != blocks * per_read or len(np.unique(slot[:per_read])) != per_read:
        return False
    if (slot.reshape(blocks, per_read) != slot[:per_read]).any():
        return False
    return all((one.reshape(blocks, per_read) == one[::per_read, None]).all() for one in identity)


def transform_medians(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Crosstalk from the medians of the spots in which a channel is the brightest.

    Each channel's column of the matrix M is the median of those spots over their sum; where a channel is
    never the brightest, it is taken for free of crosstalk.

    Parameters
    ----------
    X : numpy.ndarray
        Intensities, spots x channels.

    Returns
    -------
    Y : numpy.ndarray
        int64, spots x channels: the integer part of W X.
    W : numpy.ndarray
        float64, channels x channels: the inverse of M.
    """
    brightest = X.argmax(axis=1)
    return _unmixed(X, [X[brightest == channel] for channel in range(X.shape[1])])


def transform_percentiles(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `transform_medians`, from the spots whose share of a channel is in that channel's top 5 percent."""
    total = X.sum(axis=1)[:, np.newaxis]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = X / total
    lit = ~np.isnan(share[:, 0])
    if not lit.any():
        return _unmixed(X, [X[:0]] * X.shape[1])
    tops = np.percentile(share[lit], 95, axis=0)
    return _unmixed(X, [X[share[:, channel] >= top] for channel, top in enumerate(tops)])


def _unmixed(X: np.ndarray, spots: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    mixed = np.eye(X.shape[1])
    for channel, own in enumerate(spots):
        if len(own) and (column := np.median(own, axis=0))[channel] > 0:
            mixed[:, channel] = column / column.sum()
    try:
        weights = np.linalg.inv(mixed)
    except np.linalg.LinAlgError as error:
        raise InputError(
            "channels cannot be told apart: two of them always shine together",
            expected="a channel for each base",
        ) from error
    return weights.dot(X.T).T.astype(np.int64), weights


def call_bases(values: np.ndarray, bases: list[str]) -> np.ndarray:
    """The brightest base of every cycle, as one text per read.

    Parameters
    ----------
    values : numpy.ndarray
        Reads x cycles x bases; of equal values the first one counts.
    bases : list of str
        Letters of the last axis.

    Returns
    -------
    numpy.ndarray
        object, one str per read.
    """
    reads, cycles, _ = values.shape
    if cycles == 0:
        return np.full(reads, "", dtype=object)
    letters = np.array([one.encode() for one in bases], dtype="S1")[values.argmax(axis=2)]
    return letters.view(f"S{cycles}").reshape(reads).astype(str).astype(object)


def quality(X: np.ndarray) -> np.ndarray:
    """Quality of each base: ``2 (1 - ln(2 + second) / ln(2 + first))``, between 0 and 1.

    Parameters
    ----------
    X : numpy.ndarray
        Signal, reads x cycles x bases; first and second are the absolute values of the two largest.

    Returns
    -------
    numpy.ndarray
        float64, reads x cycles.
    """
    ordered = np.abs(np.sort(X, axis=-1).astype(np.float64))
    return np.clip(2 * (1 - np.log(2 + ordered[..., -2]) / np.log(2 + ordered[..., -1])), 0, 1)
