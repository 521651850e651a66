"""Reads called one by one, and cells called by the likelihood of all their reads together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cytopipe.screen.model import kernels
from cytopipe.screen.model.chemistry import ReadModel
from cytopipe.screen.model.entries import Entries

__all__ = ["Posteriors", "cell_posteriors", "read_likelihoods"]

#: Entries of a read, and of a cell in pairs, that are weighed.
MOST, PAIRED = 48, 8
#: Nats below the best sequence at which an entry no longer explains a read.
WITHIN = 18.0


@dataclass
class Likelihoods:
    """What `kernels.reads_under_library` returns, by name."""

    codes: np.ndarray
    scores: np.ndarray
    gain: np.ndarray
    amplitude: np.ndarray
    count: np.ndarray
    entry: np.ndarray
    likelihood: np.ndarray
    any_sequence: np.ndarray
    any_entry: np.ndarray


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

    vary, still = variances(level, model.noise, model.static, x.shape[1])
    return Likelihoods(
        *kernels.reads_under_library(
            np.ascontiguousarray(x, dtype=np.float64), vary, still, debris_of(model.amplitude), model.lagged(), model.amplitude, model.jitter,
            entries.codes, entries.skip, entries.log_share(model.counts), WITHIN, MOST,
        )  # fmt: skip
    )


def cell_posteriors(
    reads: dict[str, np.ndarray], model: ReadModel, entries: Entries, told: Likelihoods | None = None
) -> Posteriors:
    """Cells by all their reads; and the model with priors and shares as these cells have them.

    Parameters
    ----------
    reads : dict
        ``x`` (n, T, 4), ``level`` (n, 4), ``cell`` (n,), ``inside`` (n,).
    """
    told = told or read_likelihoods(reads["x"], reads["level"], model, entries)
    shares = model.shares
    rest = 1 - shares["own"]
    kinds = np.log(np.array([shares["noise"], shares["sequence"], shares["entry"]]) / rest)
    other = kinds[:, None] + np.stack([np.zeros(len(told.gain)), told.any_sequence, told.any_entry])
    others = np.logaddexp.reduce(other, axis=0)
    cell = reads["cell"]
    order = np.argsort(cell, kind="stable")
    names, starts = np.unique(cell[order], return_index=True)
    starts = np.append(starts, len(cell))
    own = np.full(len(cell), shares["own"])
    best, probability, none, two, support = kernels.call_cells(
        starts, order, own, told.entry, told.likelihood, told.count, others,
        entries.log_share(model.counts), model.prior_none, model.prior_two, PAIRED,
    )  # fmt: skip
    n_reads = np.diff(starts)
    # What the reads of cells with a barcode are: the cell's own, or one of three other things.
    carries = 1 - none
    sum_own = float((carries[:, None] * support).sum())
    per_read = np.repeat(carries, n_reads)
    owned = np.repeat(support.sum(axis=1) / np.maximum(n_reads, 1), n_reads)
    kind = np.exp(other[:, order] - others[order]) * (per_read * (1 - owned))
    amounts = np.array([sum_own, *kind.sum(axis=1)]) + 20 * np.array([0.6, 0.25, 0.12, 0.03])
    amounts = np.maximum(amounts / amounts.sum(), (0.05, 0.02, 0.01, 0.005))
    amounts = amounts / amounts.sum()
    counts: dict[str, int] = {}
    for which in (0, 1):
        sure = probability[:, which] > 0.9
        for one in best[sure, which]:
            name = str(entries.names[one])
            counts[name] = counts.get(name, 0) + 1
    learned = model.replace(
        shares=dict(zip(("own", "noise", "sequence", "entry"), map(float, amounts), strict=True)),
        prior_none=float(np.clip((none.sum() + 2) / (len(none) + 20), 0.01, 0.9)),
        prior_two=float(np.clip((two.sum() + 1) / (len(two) + 20), 0.005, 0.3)),
        counts=dict(sorted(counts.items())),
    )
    return Posteriors(names, best, probability, none, two, support, n_reads, learned)
