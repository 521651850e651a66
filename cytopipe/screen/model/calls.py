"""Reads called one by one, and cells called by the likelihood of all their reads together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cytopipe.errors import InputError
from cytopipe.screen.model import kernels
from cytopipe.screen.model.chemistry import ReadModel
from cytopipe.screen.model.detection import REACH
from cytopipe.screen.model.entries import Entries
from cytopipe.screen.parameters import ReadModelSettings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Posteriors", "best_entries", "cell_posteriors", "cell_table", "read_likelihoods"]

#: Entries of a read, and of a cell in pairs, that are weighed.
MOST, PAIRED = 48, 8
#: Nats below the best sequence at which an entry no longer explains a read.
WITHIN = 18.0
#: Reads at 1, 2, ... px from another cell that are a spot of that cell, per spot that it shows, before
#: anything is known.
SPILL = 0.1 * np.exp(-np.arange(REACH) / 1.5)
#: Reads on the dark rings that the filter leaves around spots, per read of the cell's barcode; and how dark
#: rings are against spots (mean and standard deviation of the logarithm).
RINGS, RING_LIGHT = 0.1, (-2.0, 1.0)
#: Mean and shape of the number of reads per barcode, before anything is known.
OWN_READS = (4.0, 2.0)


@dataclass
class Likelihoods:
    """What `kernels.reads_under_library` takes of the reads and returns, by name."""

    x: np.ndarray
    static: np.ndarray
    codes: np.ndarray
    scores: np.ndarray
    gain: np.ndarray
    amplitude: np.ndarray
    count: np.ndarray
    entry: np.ndarray
    likelihood: np.ndarray
    any_sequence: np.ndarray
    any_entry: np.ndarray
    inverse: np.ndarray


@dataclass
class Posteriors:
    """What each cell carries; entries are numbers of `Entries`, -1 where there is none."""

    cell: np.ndarray
    best: np.ndarray
    probability: np.ndarray
    none: np.ndarray
    two: np.ndarray
    support: np.ndarray
    n_reads: np.ndarray
    learned: ReadModel


def read_likelihoods(x: np.ndarray, level: np.ndarray, model: ReadModel, entries: Entries) -> Likelihoods:
    """Each read alone, under every entry that may explain it."""
    from cytopipe.screen.model.estimate import debris_of, variances

    # Arrays of one layout: the loops are compiled once.
    level = np.ascontiguousarray(level, dtype=np.float64)
    vary, still = variances(level, model.noise, model.static, x.shape[1])
    # What a cycle does not show says nothing.
    absent = np.isnan(x)
    x, vary = np.where(absent, 0.0, x), np.where(absent, 1e30, vary)
    x = np.ascontiguousarray(x, dtype=np.float64)
    return Likelihoods(
        x,
        still,
        *kernels.reads_under_library(
            x,
            vary,
            still,
            debris_of(model.amplitude),
            model.lagged(),
            model.amplitude,
            model.jitter,
            entries.codes,
            entries.skip,
            entries.log_share(model.counts),
            WITHIN,
            MOST,
        ),
    )


def cell_posteriors(
    reads: dict[str, np.ndarray], model: ReadModel, entries: Entries, told: Likelihoods | None = None
) -> Posteriors:
    """Cells by all their reads; and the model with priors and shares as these cells have them.

    Parameters
    ----------
    reads : dict
        ``x`` (n, T, 4), ``level`` (n, 4), ``cell`` (n,), ``neighbour`` (n, 2) with -1
        where no other cell is near, ``neighbour_px`` (n, 2).
    """
    told = told or read_likelihoods(reads["x"], reads["level"], model, entries)
    share = entries.log_share(model.counts)
    any_entry = np.logaddexp.reduce(
        np.where(told.entry >= 0, told.likelihood + share[told.entry], -1e30), axis=1
    )
    shares = model.shares
    per_cell = model.own_reads[0] / shares["own"]
    kinds = np.log(per_cell * np.array([shares["noise"], shares["sequence"], shares["entry"]]))
    other = kinds[:, None] + np.stack([np.zeros(len(told.gain)), told.any_sequence, any_entry])
    others = np.logaddexp.reduce(other, axis=0)
    cell = reads["cell"]
    order = np.argsort(cell, kind="stable")
    names, starts = np.unique(cell[order], return_index=True)
    starts = np.append(starts, len(cell))
    n_reads = np.diff(starts)
    rates = _rates(model.own_reads)
    # Cells without any read are not looked at.
    unseen = np.exp(-per_cell * (1 - shares["own"]))
    silent, silent_two = np.exp(-rates).mean(), np.exp(-kernels.SPLIT * rates).mean() ** 2
    one = max(1 - model.prior_none - model.prior_two, 1e-9)
    priors = np.log(np.maximum([model.prior_none, one, model.prior_two], 1e-9))
    priors -= np.log1p(-unseen * np.array([1.0, silent, silent_two]))
    weigh = lambda against: kernels.call_cells(  # noqa: E731
        starts, order, rates, told.entry, told.likelihood, told.count, against, share, priors, PAIRED
    )
    best, probability, none, two, support, owned = weigh(others)
    # A read near another cell may be a spot of that cell, whose barcodes are known by now.
    apart = np.clip(np.ceil(reads["neighbour_px"]).astype(int), 1, REACH) - 1
    known = np.isin(reads["neighbour"], names) & (reads["neighbour"] >= 0)
    beyond = np.where(known, np.searchsorted(names, reads["neighbour"]), -1)
    strays = np.full((beyond.shape[1], len(cell)), -np.inf)
    unseen_strays = strays.copy()
    # Priors are shares of cells with reads; of cells without any, so many carry a barcode.
    carrying = one * silent / (1 - unseen * silent)
    unknown = carrying / (carrying + model.prior_none / (1 - unseen))
    for near in range(beyond.shape[1]):
        at = beyond[:, near]
        for k in (0, 1):
            is_it = (told.entry == best[at, k][:, None]) & (at >= 0)[:, None] & (told.entry >= 0)
            some, where = np.nonzero(is_it)
            much = probability[at[some], k] * support[at[some], k] * model.spill[apart[some, near]]
            strays[near, some] = np.logaddexp(
                strays[near, some], told.likelihood[some, where] + np.log(np.maximum(much, 1e-12))
            )
        # That cell may also carry a barcode of which nothing else is seen.
        there = reads["neighbour_px"][:, near] > 0
        empty = np.where(at >= 0, none[at], 1.0)
        hidden = empty * unknown + (1 - empty) * model.prior_two * silent
        much = hidden[there] * model.own_reads[0] * model.spill[apart[there, near]]
        unseen_strays[near, there] = any_entry[there] + np.log(np.maximum(much, 1e-12))
    strays = np.logaddexp(strays, unseen_strays)
    rings = _rings(told, model, entries, np.searchsorted(names, cell), best, probability * support)
    against = np.logaddexp.reduce(np.vstack([others, strays, rings]), axis=0)
    best, probability, none, two, support, owned = weigh(against)
    # What the reads of cells with a barcode are: the cell's own, or one of three other things.
    carries = np.empty(len(cell))
    carries[order] = np.repeat(1 - none, n_reads)
    kind = np.exp(other - against) * (carries * (1 - owned))
    stray = np.exp(strays - against) * (1 - owned)
    spill = np.empty(REACH)
    for px in range(REACH):
        there = (apart == px) & (beyond >= 0)
        strayed = sum(float(stray[near][there[:, near]].sum()) for near in range(len(stray)))
        kept = sum(float(owned[there[:, near]].sum()) for near in range(len(stray)))
        spill[px] = min((strayed + 20 * SPILL[px]) / (kept + 20), 0.5)
    amounts = np.array([(carries * owned).sum(), *kind.sum(axis=1)]) + 20 * np.array(
        [0.6, 0.275, 0.12, 0.005]
    )
    amounts = amounts / amounts.sum()
    counts: dict[str, int] = {}
    for which in (0, 1):
        sure = probability[:, which] > 0.9
        for one in best[sure, which]:
            name = str(entries.names[one])
            counts[name] = counts.get(name, 0) + 1
    learned = model.replace(
        shares=dict(zip(("own", "noise", "sequence", "entry"), map(float, amounts), strict=True)),
        spill=spill,
        own_reads=_own_reads(support[:, 0], probability[:, 0] * (1 - two)),
        prior_none=float(np.clip((none.sum() + 2) / (len(none) + 20), 0.01, 0.9)),
        prior_two=float(np.clip((two.sum() + 1) / (len(two) + 20), 0.005, 0.3)),
        counts=dict(sorted(counts.items())),
    )
    return Posteriors(names, best, probability, none, two, support, n_reads, learned)


def _rings(
    told: Likelihoods, model: ReadModel, entries: Entries, cell: np.ndarray, best: np.ndarray,
    support: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Log of the number of reads like each one that are dark rings of spots of its cell's first barcode.

    Around the spots of a barcode, what the filter leaves changes over the cycles against them; where
    crosstalk is strong, that looks like a barcode of which no base is the same.
    """
    from cytopipe.screen.model.estimate import debris_of

    entry = best[cell, 0].astype(np.int64)
    ring = np.array([model.amplitude[0] + RING_LIGHT[0], np.hypot(model.amplitude[1], RING_LIGHT[1])])
    found = kernels.under_dark_rings(
        told.x, told.inverse, told.static, debris_of(model.amplitude), model.lagged(), ring, entries.codes,
        entry,
    )  # fmt: skip
    return found + np.log(np.maximum(RINGS * support[cell, 0], 1e-12))


def _rates(own_reads: np.ndarray, kinds: int = 6) -> np.ndarray:
    """Numbers of reads, equally probable, that stand for a gamma distribution of a mean and a shape."""
    from scipy.stats import gamma

    mean, shape = own_reads
    rates = gamma.ppf((np.arange(kinds) + 0.5) / kinds, shape, scale=mean / shape)
    return rates * (mean / rates.mean())


def _own_reads(support: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Mean and shape of a gamma distribution of reads per barcode; barcodes without a read are not seen."""
    from scipy.stats import nbinom

    number = np.maximum(np.rint(support), 1).astype(int)
    seen = np.bincount(number, weight)
    at = np.flatnonzero(seen)
    if seen.sum() < 10:
        return np.array(OWN_READS)
    least, found = np.inf, OWN_READS
    for shape in (0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0):
        for mean in np.average(number, weights=weight) * np.linspace(0.5, 1.1, 13):
            p = shape / (shape + mean)
            log = nbinom.logpmf(at, shape, p) - np.log1p(-(p**shape))
            cost = -float((seen[at] * log).sum())
            if cost < least:
                least, found = cost, (mean, shape)
    return np.array(found, float)


def best_entries(told: Likelihoods, model: ReadModel, entries: Entries) -> tuple[np.ndarray, np.ndarray]:
    """The entry that explains each read best, and its probability for a read out of a cell with a barcode."""
    n = len(told.gain)
    if not entries.size or n == 0:
        return np.full(n, None, object), np.zeros(n)
    shares = model.shares
    score = np.where(told.entry >= 0, told.likelihood + entries.log_share(model.counts)[told.entry], -np.inf)
    best = np.argmax(score, axis=1)
    top = score[np.arange(n), best]
    terms = [
        np.full(n, np.log(shares["noise"])),
        np.log(shares["sequence"]) + told.any_sequence,
        np.log(shares["own"] + shares["entry"]) + told.any_entry,
    ]
    probability = np.exp(np.log(shares["own"] + shares["entry"]) + top - np.logaddexp.reduce(terms, axis=0))
    chosen = told.entry[np.arange(n), best]
    named = np.where(told.count > 0, entries.names[np.maximum(chosen, 0)], None)
    return named, np.where(told.count > 0, probability, 0.0)


def cell_table(
    reads: pd.DataFrame,
    arrays: dict[str, np.ndarray],
    model: ReadModel,
    library: pd.DataFrame | None,
    settings: ReadModelSettings,
    gene_columns: Sequence[str],
) -> pd.DataFrame:
    """See `cytopipe.screen.model.call_cells_model`."""

    entries = Entries(library, len(model.weight), model.bases)
    keys = [name for name in ("plate", "well", "tile", "cell") if name in reads.columns]
    table = reads[keys].drop_duplicates().sort_values(keys, ignore_index=True)
    if library is None:
        return _sequences_of_cells(reads, table, keys)
    if len(reads):
        found = cell_posteriors(arrays, model, entries)
    else:
        nothing = np.zeros(0)
        found = Posteriors(
            nothing,
            np.zeros((0, 2), int),
            np.zeros((0, 2)),
            nothing,
            nothing,
            np.zeros((0, 2)),
            nothing,
            model,
        )
    sure = (found.probability >= settings.min_probability) & (found.best >= 0)
    for k in (0, 1):
        table[f"cell_barcode_{k}"] = np.where(sure[:, k], entries.names[found.best[:, k]], None)
        table[f"cell_barcode_probability_{k}"] = found.probability[:, k]
        table[f"cell_barcode_count_{k}"] = found.support[:, k]
    table["cell_barcode_best"] = np.where(found.best[:, 0] >= 0, entries.names[found.best[:, 0]], None)
    table["p_none"], table["p_two"], table["n_reads"] = found.none, found.two, found.n_reads
    call = np.where(sure[:, 1], "two", np.where(sure[:, 0], "one", "ambiguous"))
    table["call"] = np.where(~sure[:, 0] & (found.none >= 0.5), "none", call)
    for column in (one for one in gene_columns if one in library.columns):
        values = library[column].to_numpy(object)[entries.row]
        for k in (0, 1):
            table[f"{column}_{k}"] = np.where(sure[:, k], values[found.best[:, k]], None)
    return table


def _sequences_of_cells(reads: pd.DataFrame, table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Without a library: the sequences that a cell shows, the most frequent and then the surest first."""
    if "barcode" not in reads.columns:
        raise InputError("reads have no sequences", expected="the result of call_reads_model")
    counted = reads.groupby([*keys, "barcode"], sort=True)["Q_min"].agg(["size", "max"]).reset_index()
    counted = counted.sort_values([*keys, "size", "max"], ascending=[True] * len(keys) + [False, False])
    counted["rank"] = counted.groupby(keys).cumcount()
    for k in (0, 1):
        some = counted[counted["rank"] == k].set_index(keys)
        named = some[["barcode", "size"]].reindex(table.set_index(keys).index)
        table[f"cell_barcode_{k}"] = named["barcode"].where(named["barcode"].notna(), None).to_numpy(object)
        table[f"cell_barcode_count_{k}"] = named["size"].fillna(0).to_numpy()
    table["n_reads"] = reads.groupby(keys, sort=True).size().to_numpy()
    return table
