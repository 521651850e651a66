"""The few statistics that validation needs, on NumPy values.

There are Spearman's rho with its p, false discovery rates, Kendall's W and percentile intervals. Pairs with
a missing value are left out. A statistic that its data do not determine (fewer than three pairs, a constant
side) is NaN rather than a guess.

References
----------
Benjamini & Hochberg, J. R. Stat. Soc. B 1995; Kendall & Babington Smith, Ann. Math. Stat. 1939 (W, with
the correction for ties).
"""

from __future__ import annotations

import numpy as np

__all__ = ["benjamini_hochberg", "kendall_w", "pearson", "percentile_interval", "spearman", "spearman_rows"]

MIN_PAIRS = 3


def spearman(a: np.ndarray, b: np.ndarray) -> tuple[float, float, int]:
    """Spearman's rho of two equally long vectors, its two-sided p (Student's t), and the pairs used.

    Returns
    -------
    rho, p : float
        NaN with fewer than three complete pairs or a constant side; p is also NaN with exactly two
        degrees of freedom too few to test (three pairs test with one).
    n : int
        Complete pairs.
    """
    from scipy.stats import t as student

    a, b = _complete(a, b)
    n = a.size
    rho = pearson(_ranks(a), _ranks(b))
    if np.isnan(rho):
        return rho, float("nan"), n
    with np.errstate(divide="ignore"):
        t = rho * np.sqrt((n - 2) / max(1.0 - rho * rho, 0.0)) if abs(rho) < 1 else np.inf
    return rho, float(2 * student.sf(abs(t), n - 2)), n


def spearman_rows(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman's rho of each row of `a` with the same row of `b`; NaN where a row is constant.

    Parameters
    ----------
    a, b : ndarray, (rows, values) float64, finite

    Returns
    -------
    ndarray, (rows,) float64
    """
    if a.shape[1] < MIN_PAIRS:
        return np.full(a.shape[0], np.nan)
    from scipy.stats import rankdata

    x, y = rankdata(a, axis=1), rankdata(b, axis=1)
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    scale = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    product = (x * y).sum(axis=1)
    return np.clip(np.divide(product, scale, out=np.full_like(scale, np.nan), where=scale > 0), -1, 1)


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r over complete pairs; NaN with fewer than three or a constant side."""
    a, b = _complete(a, b)
    if a.size < MIN_PAIRS or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    a, b = a - a.mean(), b - b.mean()
    # scaled to unit peak first, so that squares of very small or large values do not under- or overflow
    a, b = a / np.abs(a).max(), b / np.abs(b).max()
    return float(np.clip((a @ b) / np.sqrt((a @ a) * (b @ b)), -1.0, 1.0))


def benjamini_hochberg(pvalues: np.ndarray, axis: int = -1) -> np.ndarray:
    """Adjusted p-values that control the false discovery rate along `axis`; NaN stays and does not count.

    Examples
    --------
    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.5])).round(4).tolist()
    [0.04, 0.0533, 0.0533, 0.5]
    """
    p = np.moveaxis(np.asarray(pvalues, dtype=np.float64), axis, -1)
    tests = np.sum(~np.isnan(p), axis=-1, keepdims=True)
    order = np.argsort(p, axis=-1, kind="stable")  # NaN sorts last
    rank = np.arange(1, p.shape[-1] + 1)
    scaled = np.take_along_axis(p, order, axis=-1) * tests / rank
    scaled = np.where(np.isnan(scaled), np.inf, scaled)
    running = np.minimum(np.minimum.accumulate(scaled[..., ::-1], axis=-1)[..., ::-1], 1.0)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, running, axis=-1)
    return np.moveaxis(np.where(np.isnan(p), np.nan, adjusted), -1, axis)


def kendall_w(ratings: np.ndarray) -> float:
    """Kendall's coefficient of concordance, corrected for ties.

    Parameters
    ----------
    ratings : ndarray, (raters, items) float64
        Values to rank; each rater ranks all items.

    Returns
    -------
    float
        0 (no agreement) to 1 (one ranking); NaN with fewer than two raters or three items, or when
        every rater ties everything.
    """
    from scipy.stats import rankdata

    ratings = np.asarray(ratings, dtype=np.float64)
    raters, items = ratings.shape
    if raters < 2 or items < MIN_PAIRS or np.isnan(ratings).any():
        return float("nan")
    ranks = rankdata(ratings, axis=1)
    sums = ranks.sum(axis=0)
    ties = sum(
        float(np.sum(times.astype(float) ** 3 - times))
        for times in (np.unique(row, return_counts=True)[1] for row in ratings)
    )
    most = raters**2 * (items**3 - items) - raters * ties
    if most <= 0:
        return float("nan")
    return float(min(12 * np.square(sums - sums.mean()).sum() / most, 1.0))


def percentile_interval(values: np.ndarray, low: float = 2.5, high: float = 97.5) -> tuple[float, float]:
    """Percentile interval of resampled values; NaN values are left out, NaN if none is left."""
    values = np.asarray(values, dtype=np.float64)
    values = values[~np.isnan(values)]
    if values.size == 0:
        return float("nan"), float("nan")
    lower, upper = np.percentile(values, [low, high])
    return float(lower), float(upper)


def _complete(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    both = np.isfinite(a) & np.isfinite(b)
    return a[both], b[both]


def _ranks(values: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return rankdata(values)
