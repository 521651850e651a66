"""Reads of a cell become its barcodes: corrected, matched with the library, ranked.

Feldman D. et al. (2019) Optical pooled screens in human cells. Cell 179(3):787-799.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from cytopipe.errors import Finding, InputError, ParameterError
from cytopipe.screen.parameters import CellCallSettings, LibrarySettings

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "call_cells",
    "cell_codes",
    "cells_of",
    "debris_like",
    "error_correct_reads",
    "told_columns",
    "trusted_corrections",
]

CELL = ["well", "tile", "cell"]
NOT_CARRIED = {"read", "barcode", "i", "j", "mapped", *CELL}
#: Barcodes of one base are debris if they are in more cells than this times what other barcodes are in, and
#: the excess has less than this probability.
DEBRIS_EXCESS, DEBRIS_CHANCE = 2.0, 0.01
#: Decoys of a small library are drawn again and again, until there are so many, but not more often.
DECOYS, DECOY_SETS = 4000, 8


def call_cells(
    reads_data: pd.DataFrame,
    df_barcode_library: pd.DataFrame | None = None,
    q_min: float = 0,
    barcode_col: str = "sgRNA",
    prefix_col: str | None = None,
    map_start: int | None = None,
    map_end: int | None = None,
    prefix_map: str = "prefix_map",
    recomb_start: int | None = None,
    recomb_end: int | None = None,
    prefix_recomb: str = "prefix_recomb",
    recomb_filter_col: str | None = None,
    recomb_q_thresh: float = 0.1,
    sort_calls: Literal["peak", "count"] = "peak",
    error_correct: bool = False,
    max_distance: int = 2,
    distance_metric: Literal["hamming", "levenshtein"] = "hamming",
    n_barcodes: int = 2,
    barcode_info_cols: Sequence[str] | None = None,
    may_correct: np.ndarray | None = None,
) -> pd.DataFrame:
    """The best barcodes of each cell, with the arguments and results of the reference's function.

    Reads that match the library come first. Among them counts the height of the peak (every read is a call
    of its own), or how often a barcode was read (the read of the best worst base, the first of several,
    stands for it; barcodes read equally often are in alphabetical order).

    Parameters
    ----------
    reads_data : pandas.DataFrame
        ``well, tile, cell, read, barcode, Q_0, Q_1, ..., Q_min``, and ``peak`` to sort by it; ``plate``
        and further columns are carried along from the read that stands for the best barcode.
    df_barcode_library : pandas.DataFrame, optional
        Without it, all reads count as matched.
    q_min : float
        Reads with a lower ``Q_min`` are left out.
    barcode_col : str
        Column of full barcodes: their first letters are compared, as many as a read has.
    prefix_col : str, optional
        Column of barcodes as they are read, instead. Without it, a column ``prefix`` is taken, if any.
    map_start, map_end : int, optional
        Cycles, from 1, of the barcode that is compared with the library's column `prefix_map`, where a read
        holds two barcodes.
    prefix_map, prefix_recomb : str
        Columns of the library with the two barcodes.
    recomb_start, recomb_end : int, optional
        Cycles of the second barcode: ``no_recomb`` tells whether it is the one of the library's entry.
    recomb_filter_col : str, optional
        Column (of the reads, or ``Q_recomb``, the worst base of these cycles) below `recomb_q_thresh` of
        which ``no_recomb`` stays open.
    recomb_q_thresh : float
    sort_calls : {"peak", "count"}
    error_correct : bool
        See `error_correct_reads`. ``pre_correction_cell_barcode_0`` is the best barcode's read before that.
    max_distance, distance_metric : int, str
        See `error_correct_reads`.
    n_barcodes : int
        Barcodes per cell, at least 2.
    barcode_info_cols : sequence of str, optional
        Columns of the library that are repeated for each barcode; none: ``gene_symbol`` and ``gene_id``, or
        ``sgRNA`` where the library has neither.
    may_correct : numpy.ndarray, optional
        bool, by row of `reads_data`: which reads may be corrected (`trusted_corrections`); none: all.

    Returns
    -------
    pandas.DataFrame
        One row per cell (label above 0) with a read, in the order of the reads that stand for their best
        barcodes, the best first. ``well, tile, cell``; for the best barcode, suffix 0: ``cell_barcode, Q_0,
        Q_1, ..., Q_min, no_recomb, cell_barcode_peak`` or ``cell_barcode_count``, columns carried along, and
        the same with suffix 1, ... for the next ones; then the library's columns. What a cell lacks is
        missing (its count 0). Without reads, the same columns.

    Raises
    ------
    InputError
        Columns are absent, or the library is not usable (`cytopipe.screen.library.check_barcodes`): all
        findings at once.
    ParameterError
        Cycles are not within the reads, or a value is unknown.
    """
    import pandas as pd

    library = df_barcode_library
    _check_reads(reads_data, sort_calls)
    length = len(reads_data["barcode"].iloc[0]) if len(reads_data) else None
    multi = map_start is not None and map_end is not None
    _check_choices(sort_calls, distance_metric, n_barcodes)
    reads = reads_data
    key = "barcode"
    if multi:
        reads = _two_barcodes(
            reads,
            (map_start, map_end),
            (recomb_start or map_start, recomb_end or map_end),
            prefix_map,
            prefix_recomb,
        )
        key = prefix_map
    good = reads["Q_min"].to_numpy() >= q_min
    reads = reads[good].reset_index(drop=True)
    names = None
    if library is not None:
        names = _library_names(library, length, barcode_col, prefix_col, prefix_map if multi else None)
    corrected = f"pre_correction_{key}" if error_correct and names is not None else None
    if corrected:
        nearest_ones = error_correct_reads(reads[key], names, max_distance, distance_metric)
        if may_correct is not None:
            nearest_ones = nearest_ones.where(may_correct[good], reads[key])
        reads = reads.assign(**{corrected: reads[key], key: nearest_ones})

    entry = np.full(len(reads), 0)
    if names is not None:
        entry = pd.Index(names).get_indexer(reads[key])
    mapped = entry >= 0
    reads["no_recomb"] = np.nan
    if multi and recomb_start is not None and library is not None:
        reads["no_recomb"] = _no_recombination(
            reads, library, entry, prefix_recomb, recomb_filter_col, recomb_q_thresh
        )
    chosen, counts = _ranked(reads, key, mapped, sort_calls, n_barcodes)

    qualities = [name for name in reads.columns if name.startswith("Q_")]
    own = [*qualities, "no_recomb", *(["peak"] if "peak" in reads and sort_calls == "peak" else [])]
    carried = [
        name
        for name in reads.columns
        if name not in NOT_CARRIED | {key, "no_recomb", "peak", corrected} and name not in qualities
    ]
    cells = reads[CELL].take(chosen[:, 0]).reset_index(drop=True)
    columns = [cells]
    for rank in range(n_barcodes):
        part = _picked(reads[[key, *own]], chosen[:, rank])
        part.columns = [
            f"{ {key: 'cell_barcode', 'peak': 'cell_barcode_peak'}.get(name, name) }_{rank}"
            for name in part.columns
        ]
        columns.append(part)
        if rank == 0:
            if corrected:
                before = _picked(reads[[corrected]], chosen[:, 0])
                columns.append(before.set_axis(["pre_correction_cell_barcode_0"], axis=1))
            columns.append(_picked(reads[carried], chosen[:, 0]))
        if sort_calls == "count":
            columns.append(_counted(counts[:, rank], f"cell_barcode_count_{rank}", chosen[:, rank]))
    inside = cells["cell"].to_numpy() > 0
    table = pd.concat(columns, axis=1)[inside].reset_index(drop=True)
    if library is None:
        return table
    told = told_columns(library, barcode_info_cols)
    parts = [table]
    for rank in range(n_barcodes):
        at = chosen[inside, rank]
        row = np.where(at >= 0, entry[at] if len(entry) else -1, -1)
        part = _picked(library[told].reset_index(drop=True), row)
        parts.append(part.set_axis([f"{name}_{rank}" for name in told], axis=1))
    return pd.concat(parts, axis=1)


def cells_of(
    reads: pd.DataFrame,
    library: pd.DataFrame | None = None,
    settings: CellCallSettings | None = None,
    library_settings: LibrarySettings | None = None,
) -> pd.DataFrame:
    """The best barcodes of each cell, as settings say.

    Parameters
    ----------
    reads : pandas.DataFrame
        See `call_cells`.
    library : pandas.DataFrame, optional
    settings : CellCallSettings, optional
    library_settings : LibrarySettings, optional

    Returns
    -------
    pandas.DataFrame
        As from `call_cells`, and with a library ``mapped_0, mapped_1, ...``: whether the barcode is in it;
        with error correction also ``bases_differ_0``, the distance of the best barcode's read to its nearest
        entry, and ``margin_0``, by how much the second nearest is farther (missing: there is none).
    """
    from cytopipe.screen.distance import two_smallest

    settings, told = settings or CellCallSettings(), library_settings or LibrarySettings()
    multi = settings.map_start is not None
    names, trusted = None, None
    if library is not None:
        length = len(reads["barcode"].iloc[0]) if len(reads) else None
        map_column = told.map_column if multi else None
        columns = (told.barcode_column, told.prefix_column, map_column)
        names = _library_names(library, length, *columns)
        cycles = slice(settings.map_start - 1, settings.map_end) if multi else slice(None)
        used = reads["barcode"].astype(object).str[cycles]
        inside = (reads["cell"].to_numpy() > 0) & (reads["Q_min"].to_numpy() >= settings.q_min)
        if settings.refuse_debris:
            refused = names.isin(debris_like(used[inside], cell_codes(reads[inside], _place(reads)), names))
            library, names = library[~refused.to_numpy()], names[~refused]
        if settings.error_correct and settings.max_false_corrections is not None:
            trusted = trusted_corrections(
                used,
                _qualities(reads, cycles),
                inside,
                names,
                settings.max_distance,
                settings.max_false_corrections,
                settings.distance_metric,
            )
    table = call_cells(
        reads,
        library,
        q_min=settings.q_min,
        barcode_col=told.barcode_column,
        prefix_col=told.prefix_column,
        map_start=settings.map_start,
        map_end=settings.map_end,
        prefix_map=told.map_column,
        recomb_start=settings.recomb_start,
        recomb_end=settings.recomb_end,
        prefix_recomb=told.recomb_column,
        recomb_filter_col=None if settings.recomb_q_thresh is None else "Q_recomb",
        recomb_q_thresh=settings.recomb_q_thresh or 0.0,
        sort_calls=settings.sort_calls,
        error_correct=settings.error_correct,
        max_distance=settings.max_distance,
        distance_metric=settings.distance_metric,
        n_barcodes=settings.n_barcodes,
        barcode_info_cols=None if library is None else [one for one in told.gene_columns if one in library],
        may_correct=trusted,
    )
    if names is not None:
        for rank in range(settings.n_barcodes):
            table[f"mapped_{rank}"] = table[f"cell_barcode_{rank}"].isin(set(names))
        if settings.error_correct:
            read = table["pre_correction_cell_barcode_0"]
            first, second = two_smallest(list(read), list(names), settings.distance_metric)
            table["bases_differ_0"] = first
            table["margin_0"] = np.where(second < 0, np.nan, second - first)
    return table


def error_correct_reads(
    reads: pd.Series,
    reference: pd.Series,
    max_distance: int = 2,
    distance_metric: Literal["hamming", "levenshtein"] = "hamming",
) -> pd.Series:
    """Reads replaced by the one nearest barcode, where there is exactly one within a distance.

    Parameters
    ----------
    reads, reference : pandas.Series of str
        Reads, and the library. By Hamming distance, letters beyond the shorter one's end differ.
    max_distance : int
    distance_metric : {"hamming", "levenshtein"}

    Returns
    -------
    pandas.Series
        Of the index of `reads`; other reads stay.
    """
    import pandas as pd

    from cytopipe.screen.distance import nearest

    code, sequences = pd.factorize(reads)
    if (code < 0).any():
        raise InputError("a read has no sequence", expected="text", found="a missing value")
    names = np.asarray(reference, dtype=object)
    replaced = np.asarray(sequences, dtype=object).copy()
    unmatched = np.flatnonzero(~np.isin(replaced.astype(str), names.astype(str)))
    entry, _, unique = nearest(list(replaced[unmatched]), list(names), max_distance, distance_metric)
    replaced[unmatched[unique]] = names[entry[unique]]
    return pd.Series(replaced[code], index=reads.index, name=reads.name, dtype=object)


def debris_like(reads: pd.Series, cell: np.ndarray, reference: pd.Series) -> list[str]:
    """Barcodes of one base that debris imitates.

    What does not change over the cycles reads as one base. Spots of such barcodes hardly stand out in the
    standard deviation over cycles, so they are seen in fewer cells than other barcodes. Where they are in
    more than twice as many, taken together and beyond chance, what shows them is mostly debris.

    Parameters
    ----------
    reads : pandas.Series of str
        Of cells.
    cell : numpy.ndarray
        A number for the cell of each read.
    reference : pandas.Series of str
        The library.

    Returns
    -------
    list of str
        All barcodes of one base, or none.
    """
    import pandas as pd
    from scipy.stats import poisson

    names = list(dict.fromkeys(reference))
    constant = [one for one in names if len(set(one)) == 1]
    others = len(names) - len(constant)
    if not constant or not others:
        return []
    shown = pd.DataFrame({"barcode": reads.to_numpy(dtype=object), "cell": cell}).drop_duplicates()
    same = shown["barcode"].isin(constant)
    # One cell more than were seen: of a handful of reads nothing is usual.
    usual = ((shown["barcode"].isin(names) & ~same).sum() + 1) / others
    expected = DEBRIS_EXCESS * usual * len(constant)
    return constant if poisson.sf(same.sum() - 1, expected) < DEBRIS_CHANCE else []


def trusted_corrections(
    reads: pd.Series,
    quality: np.ndarray,
    considered: np.ndarray,
    reference: pd.Series,
    max_distance: int,
    max_false_corrections: float,
    distance_metric: Literal["hamming", "levenshtein"] = "hamming",
    seed: int = 0,
) -> np.ndarray:
    """Which reads may be corrected so that few corrections are wrong, by barcodes that nobody used.

    Decoys are the library's barcodes with the letters of each shuffled. Of the reads that match no barcode
    and are not nearer to one, so many find a decoy at a distance by chance; of those that find a barcode of
    the library, as large a part of the rest does. Per distance, the reads of the highest mean quality (of
    all cycles but as many of the worst as bases differ) are taken, as many as the share allows.

    Elias J.E., Gygi S.P. (2007) Target-decoy search strategy for increased confidence in large-scale protein
    identifications by mass spectrometry. Nat. Methods 4:207-214.

    Parameters
    ----------
    reads : pandas.Series of str
    quality : numpy.ndarray
        Of every base, reads x cycles.
    considered : numpy.ndarray
        bool: reads that count; others are not corrected.
    reference : pandas.Series of str
        The library.
    max_distance : int
    max_false_corrections : float
        Largest share of wrong ones among the corrections.
    distance_metric : {"hamming", "levenshtein"}
    seed : int
        Of the shuffling.

    Returns
    -------
    numpy.ndarray
        bool, by read: it may be corrected to its nearest barcode.
    """
    from cytopipe.screen.distance import nearest

    names = list(reference)
    known = set(names)
    trusted = np.zeros(len(reads), dtype=bool)
    row = np.flatnonzero(considered & ~reads.isin(known).to_numpy())
    random = np.random.default_rng(seed)
    sets = []
    for _ in range(min(DECOY_SETS, max(1, DECOYS // max(len(names), 1)))):
        drawn = ["".join(random.permutation(list(one))) for one in names]
        sets.append([one for one in dict.fromkeys(drawn) if one not in known])
    if len(row) == 0 or not all(sets):
        return trusted
    told = reads.to_numpy(dtype=object)[row].astype(str)
    sequences, member = np.unique(told, return_inverse=True)
    _, distance, unique = nearest(list(sequences), names, max_distance, distance_metric)
    distance, unique = distance[member], unique[member]
    false = np.zeros((max_distance + 1, len(row)))
    for decoys in sets:
        _, far, alone = nearest(list(sequences), decoys, max_distance, distance_metric)
        for d in range(1, max_distance + 1):
            hit = (alone & (far == d))[member] & (distance >= d)
            false[d] += hit * (len(names) / len(decoys) / len(sets))
    # From the worst cycle to the best.
    ranked = np.sort(quality[row], axis=1)
    for d in range(1, max_distance + 1):
        score = ranked[:, min(d, ranked.shape[1] - 1) :].mean(axis=1)
        rest = np.flatnonzero(distance >= d)
        rest = rest[np.argsort(-score[rest], kind="stable")]
        hit = (unique & (distance == d))[rest]
        found, number = np.cumsum(hit), np.arange(1, len(rest) + 1)
        # One decoy more than were found: none is no proof.
        chance = (np.cumsum(false[d][rest]) + 1 / len(sets)) / number
        wrong = chance * np.maximum(number - found, 1)
        last = np.append(np.diff(score[rest]) != 0, True)[: len(rest)]
        within = np.flatnonzero((wrong <= max_false_corrections * found) & (found > 0) & last)
        if len(within):
            chosen = rest[: within[-1] + 1]
            trusted[row[chosen[hit[: len(chosen)]]]] = True
    return trusted


# ---------------------------------------------------------------------- ranks


def _ranked(
    reads: pd.DataFrame, key: str, mapped: np.ndarray, sort_calls: str, n_barcodes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the reads that stand for the barcodes of each cell, cells x ranks (-1: none), and counts."""
    import pandas as pd

    place = _place(reads)
    # Sorted codes: equal ranks are decided by the order of names, as a sorted group-by does.
    cell = cell_codes(reads, place)
    first = ~reads.duplicated([*place[:-1], "read"]).to_numpy()
    if sort_calls == "peak":
        rows = np.flatnonzero(first)
        order = rows[np.lexsort((-reads["peak"].to_numpy()[rows], ~mapped[rows]))]
        standing, group_cell = order, cell[order]
        size = np.ones(len(order), dtype=np.int64)
        best = np.arange(len(order))
    else:
        sequence = pd.factorize(reads[key], sort=True)[0]
        group = cell * (sequence.max(initial=0) + 1) + sequence
        groups, member = np.unique(group, return_inverse=True)
        size = np.bincount(member[first], minlength=len(groups))
        # The best read of each group: highest Q_min, then the first.
        by_quality = np.argsort(-reads["Q_min"].to_numpy(), kind="stable")
        rank = np.empty(len(reads), dtype=np.int64)
        rank[by_quality] = np.arange(len(reads))
        best = np.full(len(groups), len(reads), dtype=np.int64)
        np.minimum.at(best, member, rank)
        standing = by_quality[best] if len(reads) else best
        group_cell = cell[standing]
        order = np.lexsort((-size, ~mapped[standing]))
        standing, group_cell, size, best = standing[order], group_cell[order], size[order], best[order]
    by_cell = np.argsort(group_cell, kind="stable")
    codes, start, number = np.unique(group_cell[by_cell], return_index=True, return_counts=True)
    position = np.arange(len(by_cell)) - np.repeat(start, number)
    row = np.repeat(np.arange(len(codes)), number)
    chosen = np.full((len(codes), n_barcodes), -1, dtype=np.int64)
    counts = np.zeros((len(codes), n_barcodes), dtype=np.int64)
    kept = position < n_barcodes
    chosen[row[kept], position[kept]] = standing[by_cell[kept]]
    counts[row[kept], position[kept]] = size[by_cell[kept]]
    cells = np.argsort(best[by_cell[start]], kind="stable")
    return chosen[cells], counts[cells]


def _place(reads: pd.DataFrame) -> list[str]:
    """Columns that tell cells apart."""
    return [name for name in ("plate", *CELL) if name in reads]


def _qualities(reads: pd.DataFrame, cycles: slice) -> np.ndarray:
    """Quality of every base of some cycles, reads x cycles; where a table lacks it, of the worst base."""
    names = [name for name in reads.columns if name.startswith("Q_") and name[2:].isdigit()]
    chosen = sorted(names, key=lambda name: int(name[2:]))[cycles] or ["Q_min"]
    return reads[chosen].to_numpy(dtype=float)


def cell_codes(reads: pd.DataFrame, names: list[str]) -> np.ndarray:
    """One number per combination of values, in the order of the names' sorted values."""
    import pandas as pd

    code = np.zeros(len(reads), dtype=np.int64)
    for name in names:
        own, values = pd.factorize(reads[name], sort=True)
        code = pd.factorize(code * (len(values) + 1) + own, sort=True)[0]
    return code


# ---------------------------------------------------------------------- columns


def _picked(table: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    """Rows of a table by number; -1 is a row of missing values (whole numbers become float64 then)."""
    import pandas as pd

    if len(table) == 0:
        return table.reindex(range(len(rows)))
    picked = table.take(np.maximum(rows, 0)).reset_index(drop=True)
    if (rows < 0).any():
        picked = picked.where(pd.Series(rows >= 0), axis=0)
        for name in picked.columns:
            if table[name].dtype == object:
                picked[name] = picked[name].where(picked[name].notna(), None)
    return picked


def _counted(counts: np.ndarray, name: str, rows: np.ndarray) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({name: counts.astype(np.float64) if (rows < 0).any() else counts})


def told_columns(library: pd.DataFrame, wanted: Sequence[str] | None) -> list[str]:
    """Columns of the library that are repeated for each barcode; by default those that name the gene."""
    if wanted is not None:
        if missing := [name for name in wanted if name not in library.columns]:
            raise InputError([Finding(what=f"the library has no column {name!r}") for name in missing])
        return list(wanted)
    told = [name for name in ("gene_symbol", "gene_id") if name in library.columns]
    return told or [name for name in ("sgRNA",) if name in library.columns]


def _library_names(
    library: pd.DataFrame, length: int | None, barcode_col: str, prefix_col: str | None, map_col: str | None
) -> pd.Series:
    """What reads are compared with, checked."""
    from cytopipe.screen.library import check_barcodes

    if map_col is None and prefix_col is None and "prefix" in library.columns:
        prefix_col = "prefix"
    column = map_col or prefix_col or barcode_col
    cut = length if column == barcode_col and not (map_col or prefix_col) else None
    check_barcodes(library, column, cut)
    return library[column] if cut is None else library[column].str[:cut]


def _two_barcodes(
    reads: pd.DataFrame,
    mapping: tuple[int, int],
    recomb: tuple[int, int],
    prefix_map: str,
    prefix_recomb: str,
) -> pd.DataFrame:
    """Reads with the barcodes of two ranges of cycles, and the worst quality of the second range."""
    worst = [f"Q_{cycle - 1}" for cycle in range(recomb[0], recomb[1] + 1)]
    missing = [name for name in worst if name not in reads.columns]
    length = len(reads["barcode"].iloc[0]) if len(reads) else None
    if len(reads) and (missing or max(mapping[1], recomb[1]) > length or min(mapping[0], recomb[0]) < 1):
        raise ParameterError(
            "the cycles of the two barcodes are not within the reads",
            expected=f"from 1 to {length}",
            found=f"{mapping[0]} to {mapping[1]}, {recomb[0]} to {recomb[1]}",
        )
    barcode = reads["barcode"].astype(object)
    present = [name for name in worst if name in reads.columns]
    return reads.assign(
        **{
            prefix_map: barcode.str[mapping[0] - 1 : mapping[1]],
            prefix_recomb: barcode.str[recomb[0] - 1 : recomb[1]],
            "Q_recomb": reads[present].min(axis=1).astype(np.float64),
        }
    )


def _no_recombination(
    reads: pd.DataFrame,
    library: pd.DataFrame,
    entry: np.ndarray,
    prefix_recomb: str,
    recomb_filter_col: str | None,
    recomb_q_thresh: float,
) -> pd.Series:
    """Whether the second barcode is the one that the library has beside the first; missing where unknown."""
    import pandas as pd

    if prefix_recomb not in library.columns:
        raise InputError(f"the library has no column {prefix_recomb!r}")
    expected = library[prefix_recomb].to_numpy(dtype=object)[entry]
    known = (entry >= 0) & pd.notna(expected)
    if recomb_filter_col is not None:
        if recomb_filter_col not in reads.columns:
            raise InputError(f"the table of reads has no column {recomb_filter_col!r}")
        known &= ~(reads[recomb_filter_col].to_numpy() < recomb_q_thresh)
    same = reads[prefix_recomb].to_numpy(dtype=object) == expected
    return pd.Series(pd.array(same, dtype="boolean"), index=reads.index).where(known, pd.NA)


def _check_reads(reads: pd.DataFrame, sort_calls: str) -> None:
    needed = [*CELL, "read", "barcode", "Q_min", *(["peak"] if sort_calls == "peak" else [])]
    if missing := [name for name in needed if name not in reads.columns]:
        raise InputError([Finding(what=f"the table of reads has no column {name!r}") for name in missing])


def _check_choices(sort_calls: str, distance_metric: str, n_barcodes: int) -> None:
    findings = []
    if sort_calls not in ("peak", "count"):
        findings.append(
            Finding(what="is unknown", where="sort_calls", expected="peak or count", found=repr(sort_calls))
        )
    if distance_metric not in ("hamming", "levenshtein"):
        findings.append(
            Finding(
                what="is unknown",
                where="distance_metric",
                expected="hamming or levenshtein",
                found=repr(distance_metric),
            )
        )
    if n_barcodes < 2:
        findings.append(
            Finding(what="is too small", where="n_barcodes", expected="2 or more", found=str(n_barcodes))
        )
    if findings:
        raise ParameterError(findings)
