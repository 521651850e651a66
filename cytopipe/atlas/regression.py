"""Ordinary linear models of a profile on a signature: a second opinion beside ridge.

`univariate` fits one target at a time, `multivariate` all at once. Both fit profiles (genes x groups) on a
prepared signature (genes x targets) and return slopes and their t. They are decoupler's `ulm` and
`mlm`; where it is installed, the tests compare both with it.

References
----------
Badia-i-Mompel et al., Bioinformatics Advances 2022, doi:10.1093/bioadv/vbac016.
"""

from __future__ import annotations

import numpy as np

from cytopipe.atlas.ridge import Estimate
from cytopipe.errors import InputError

__all__ = ["multivariate", "univariate"]


def univariate(signature: np.ndarray, profiles: np.ndarray) -> Estimate:
    """Slope of each profile on each target alone; z is its t with genes - 2 degrees of freedom.

    Parameters
    ----------
    signature : ndarray, (genes, targets) float64
    profiles : ndarray, (genes, groups) float64

    Returns
    -------
    Estimate
        A constant target or profile has slope, t 0 and p 1.
    """
    genes = signature.shape[0]
    x, y = signature - signature.mean(axis=0), profiles - profiles.mean(axis=0)
    x_squares = np.square(x).sum(axis=0)[:, None]
    y_squares = np.square(y).sum(axis=0)[None, :]
    beta = np.divide(x.T @ y, x_squares, out=np.zeros((x.shape[1], y.shape[1])), where=x_squares > 0)
    residual = np.maximum(y_squares - beta**2 * x_squares, 0.0)
    se = np.sqrt(np.divide(residual, (genes - 2) * x_squares, out=np.zeros_like(beta), where=x_squares > 0))
    return _with_t(beta, se, genes - 2)


def multivariate(signature: np.ndarray, profiles: np.ndarray) -> Estimate:
    """Slopes of each profile on all targets and an intercept; z is t with genes - targets - 1 d.f.

    Raises
    ------
    InputError
        If there are not more genes than targets, or targets are linear combinations of others: then
        slopes are not determined, and ridge is the method to use.
    """
    genes, targets = signature.shape
    freedom = genes - targets - 1
    design = np.column_stack([np.ones(genes), signature])
    if freedom < 1 or np.linalg.matrix_rank(design) < targets + 1:
        raise InputError(
            "a multivariate model does not determine the slopes of this signature",
            expected="more common genes than targets, and no target a combination of others",
            found=f"{genes} genes, {targets} targets",
            next="Use ridge or ulm.",
        )
    inverse = np.linalg.inv(design.T @ design)
    slopes = np.linalg.lstsq(design, profiles, rcond=None)[0]
    variance = np.square(profiles - design @ slopes).sum(axis=0) / freedom
    se = np.sqrt(np.outer(np.diag(inverse), variance))
    return _with_t(slopes[1:], se[1:], freedom)


def _with_t(beta: np.ndarray, se: np.ndarray, freedom: int) -> Estimate:
    from scipy.stats import t as student

    t = np.divide(beta, se, out=np.zeros_like(beta), where=se > 0)
    return Estimate(beta=beta, se=se, z=t, pvalue=2 * student.sf(np.abs(t), freedom))
