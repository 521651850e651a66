"""Pool the effects of several atlases into one.

Each atlas contributes an effect and its variance (for correlations: Fisher's z and 1 / (n - 3)). The
random-effects model gives the pooled effect and the heterogeneity between atlases: Q, tau^2, I^2. The
pooled effect and its standard error both use the random-effects weights; some existing code pools with
the fixed-effect weights and reports the random-effects error, which is a mistake.

References
----------
DerSimonian & Laird, Controlled Clinical Trials 1986; Higgins & Thompson, Statistics in Medicine 2002 (I^2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cytopipe.errors import InputError

__all__ = ["MetaAnalysis", "fisher_z", "meta_analyse", "meta_analyse_correlations"]

LARGEST_R = 1 - 1e-12  # z of a perfect correlation is infinite; its atlas would take all the weight


@dataclass(frozen=True, kw_only=True)
class MetaAnalysis:
    """A pooled effect.

    Parameters
    ----------
    effect, se, ci_low, ci_high : float
        Pooled effect, its standard error and 95 % interval (for correlations effect and interval are
        r, and `se` is on the scale of z).
    z, pvalue : float
        effect / se and its two-sided p from the normal distribution.
    q, q_pvalue : float
        Cochran's Q, and its p from chi-square with n - 1 degrees of freedom (NaN for one atlas).
    tau_squared : float
        Variance between atlases.
    i_squared : float
        Share of the variation that is between atlases, 0 to 1.
    n : int
        Atlases pooled.
    weights : tuple of float
        Random-effects weights, summing to 1, in the order given.
    """

    effect: float
    se: float
    ci_low: float
    ci_high: float
    z: float
    pvalue: float
    q: float
    q_pvalue: float
    tau_squared: float
    i_squared: float
    n: int
    weights: tuple[float, ...]


def meta_analyse(effects: Sequence[float], variances: Sequence[float]) -> MetaAnalysis:
    """Pool effects by DerSimonian and Laird's random-effects model.

    Parameters
    ----------
    effects : sequence of float
        One per atlas, finite.
    variances : sequence of float
        Their sampling variances, positive and finite.

    Returns
    -------
    MetaAnalysis

    Raises
    ------
    InputError
        If there is no effect, or a variance is not positive.
    """
    from scipy.stats import chi2, norm

    y, v = np.asarray(effects, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    if y.shape != v.shape or y.ndim != 1 or y.size == 0:
        raise InputError(
            "effects and variances do not belong together",
            expected="one finite effect and one positive variance per atlas, at least one",
            found=f"{y.size} effects, {v.size} variances",
        )
    if not (np.isfinite(y).all() and np.isfinite(v).all() and (v > 0).all()):
        raise InputError(
            "an effect is not finite or a variance not positive",
            expected="finite effects, positive variances",
            found=f"effects {y.tolist()}, variances {v.tolist()}",
        )
    fixed = 1 / v
    freedom = y.size - 1
    q = 0.0 if freedom == 0 else float(fixed @ np.square(y - (fixed @ y) / fixed.sum()))
    spread = fixed.sum() - np.square(fixed).sum() / fixed.sum()
    tau_squared = max((q - freedom) / spread, 0.0) if freedom and spread > 0 else 0.0
    weights = 1 / (v + tau_squared)
    effect = float(weights @ y / weights.sum())
    se = float(1 / np.sqrt(weights.sum()))
    half = float(norm.ppf(0.975)) * se
    return MetaAnalysis(
        effect=effect,
        se=se,
        ci_low=effect - half,
        ci_high=effect + half,
        z=effect / se,
        pvalue=float(2 * norm.sf(abs(effect / se))),
        q=q,
        q_pvalue=float(chi2.sf(q, freedom)) if freedom else float("nan"),
        tau_squared=float(tau_squared),
        i_squared=max((q - freedom) / q, 0.0) if q > 0 else 0.0,
        n=int(y.size),
        weights=tuple((weights / weights.sum()).tolist()),
    )


def meta_analyse_correlations(correlations: Sequence[float], sizes: Sequence[int]) -> MetaAnalysis:
    """Pool correlations through Fisher's z; effect and interval come back as r.

    Parameters
    ----------
    correlations : sequence of float
        r or rho per atlas, -1 to 1.
    sizes : sequence of int
        Pairs behind each, at least 4.
    """
    z, variance = zip(*(fisher_z(r, n) for r, n in zip(correlations, sizes, strict=True)), strict=True)
    pooled = meta_analyse(z, variance)
    return MetaAnalysis(
        **{
            **pooled.__dict__,
            "effect": float(np.tanh(pooled.effect)),
            "ci_low": float(np.tanh(pooled.ci_low)),
            "ci_high": float(np.tanh(pooled.ci_high)),
        }
    )


def fisher_z(correlation: float, n: int) -> tuple[float, float]:
    """Fisher's z = atanh(r) and its variance 1 / (n - 3).

    Raises
    ------
    InputError
        With fewer than 4 pairs, or a correlation outside -1 to 1.
    """
    if not -1 <= correlation <= 1 or n < 4:
        raise InputError(
            "this correlation has no Fisher z",
            expected="-1 to 1, from at least 4 pairs",
            found=f"r = {correlation}, n = {n}",
        )
    return float(np.arctanh(np.clip(correlation, -LARGEST_R, LARGEST_R))), 1.0 / (n - 3)
