"""From cells with features and barcodes to one profile per perturbation, with how sure it is.

Within each well, features are expressed in robust standard deviations of its control cells. The cells of a
well with one guide are a profile, its profiles over wells those of a perturbation. Two tests say whether a
perturbation does anything: how far its cells lie from controls, against as many control cells drawn at
random; and whether its profiles find each other among those of controls (mean average precision). Wells pass
one at a time. Equal inputs and seeds give equal tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytopipe.errors import Finding, InputError
from cytopipe.screen.parameters import AggregateSettings

__all__ = [
    "Aggregate",
    "aggregate_screen",
    "combine_profiles",
    "feature_columns",
    "mean_average_precision",
    "normalise_to_controls",
    "principal_components",
    "well_profiles",
]

_FEATURE = re.compile(r"(nucleus|cell|cytoplasm)_(?!barcode|\d+$|i$|j$|bounds)")


@dataclass(frozen=True, eq=False)
class Aggregate:
    """What a screen says of its perturbations.

    Parameters
    ----------
    profiles : DataFrame
        One row per plate, well, perturbation and replicate: see `well_profiles`.
    perturbations : DataFrame
        One row per perturbation: see `combine_profiles`; with ``mean_average_precision`` and its p-values.
    skipped : DataFrame
        ``plate``, ``well``, ``reason``: wells that could not be used.
    """

    profiles: Any = field(repr=False)
    perturbations: Any = field(repr=False)
    skipped: Any


def feature_columns(cells: Any) -> list[str]:
    """Numeric columns that measure a nucleus, a cell or its cytoplasm, and not where it is."""
    return [
        str(name)
        for name in cells.columns
        if _FEATURE.match(str(name))
        and cells[name].dtype.kind in "fiu"
        and not str(name).endswith(("_i", "_j"))
    ]


def normalise_to_controls(
    values: NDArray, is_control: NDArray, settings: AggregateSettings | None = None
) -> NDArray[np.float64]:
    """Features in robust standard deviations from the median of the controls.

    Parameters
    ----------
    values : (cells, features) array
        NaN where a feature is missing.
    is_control : (cells,) bool
    settings : AggregateSettings, optional
        `max_deviation` and `sphering`: then features are decorrelated by the covariance of the controls
        (ZCA, Kessy et al. 2018), shrunk as far as few controls demand (Ledoit and Wolf 2004).

    Returns
    -------
    (cells, features) float64
        (x - median) / (1.4826 MAD); NaN stays. A feature that does not vary among controls is NaN.
    """
    settings = settings or AggregateSettings()
    values = np.asarray(values, float)
    controls = values[is_control]
    with np.errstate(all="ignore"):
        centre = _quiet(np.nanmedian, controls)
        spread = 1.4826 * _quiet(np.nanmedian, np.abs(controls - centre))
        z = (values - centre) / np.where(spread > 1e-12 * (1 + np.abs(centre)), spread, np.nan)
    z = np.clip(z, -settings.max_deviation, settings.max_deviation)
    if not settings.sphering:
        return z
    from sklearn.covariance import ledoit_wolf

    filled = np.nan_to_num(z)
    centre = filled[is_control].mean(axis=0)
    power, axes = np.linalg.eigh(ledoit_wolf(filled[is_control] - centre, assume_centered=True)[0])
    usable = power > 1e-9 * max(power.max(), 1e-300)
    whitening = (axes[:, usable] / np.sqrt(power[usable])) @ axes[:, usable].T
    return np.where(np.isnan(z), np.nan, (filled - centre) @ whitening)


def _quiet(function: Any, values: NDArray) -> NDArray[np.float64]:
    """Along axis 0; NaN, without a warning, where a column has no value."""
    import warnings

    if not len(values):
        return np.full(values.shape[1:], np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return function(values, axis=0)


def well_profiles(
    cells: Any, settings: AggregateSettings | None = None, features: Sequence[str] | None = None
) -> Any:
    """Profiles of the perturbations of one well.

    Parameters
    ----------
    cells : DataFrame
        One row per cell: the perturbation, replicate and feature columns, and ``plate``, ``well``.
    settings : AggregateSettings, optional
    features : sequence of str, optional
        By default `feature_columns`.

    Returns
    -------
    DataFrame
        ``plate, well, perturbation, replicate, is_control, n_cells``, ``strength`` (root mean square of the
        profile, robust standard deviations), ``p_value`` (part of draws of as many control cells, without
        replacement, whose strength is as large; of controls, too), then the features.

    Raises
    ------
    InputError
        For absent columns, cells of several wells, or too few control cells.
    """
    import pandas as pd

    settings = settings or AggregateSettings()
    features = list(features) if features is not None else feature_columns(cells)
    _check(cells, features, settings)
    cells = _usable(cells, settings)
    where = " ".join(str(cells[name].iloc[0]) for name in ("plate", "well") if len(cells))
    perturbation = cells[settings.perturbation_column].astype(str).to_numpy()
    values = cells[features].to_numpy(float, copy=True)
    values[~np.isfinite(values)] = np.nan
    missing = np.isnan(values)
    values[:, missing.mean(axis=0) > settings.max_missing if len(values) else []] = np.nan
    kept = ~np.isnan(values).all(axis=0)
    whole = (
        missing[:, kept].mean(axis=1) <= settings.max_missing if kept.any() else np.zeros(len(values), bool)
    )
    cells, values, perturbation = cells[whole], values[whole], perturbation[whole]
    is_control = np.array([one.startswith(settings.control_prefix) for one in perturbation], bool)
    if is_control.sum() < settings.min_control_cells:
        raise InputError(
            f"{int(is_control.sum())} usable control cells",
            where=f"well {where}",
            expected=f"{settings.min_control_cells} or more whose perturbation begins with "
            f"{settings.control_prefix!r}",
        )
    z = normalise_to_controls(values, is_control, settings)
    column = settings.replicate_column
    replicate = cells[column].astype(str).to_numpy() if column else np.full(len(cells), "")
    key = pd.MultiIndex.from_arrays([perturbation, replicate])
    codes, groups = pd.factorize(key, sort=True)
    order = np.argsort(codes, kind="stable")
    rows, profiles = [], []
    draws = _Draws(z[is_control], settings, where)
    for code, members in zip(*_runs(codes[order], order), strict=True):
        if len(members) < settings.min_cells:
            continue
        name, guide = groups[code]
        profile = _middle(z[members], settings.statistic)
        strength = _strength(profile)
        rows.append(
            {
                "plate": cells["plate"].iloc[0],
                "well": cells["well"].iloc[0],
                "perturbation": name,
                "replicate": guide,
                "is_control": bool(name.startswith(settings.control_prefix)),
                "n_cells": len(members),
                "strength": strength,
                "p_value": draws.p_value(strength, len(members), name.startswith(settings.control_prefix)),
            }
        )
        profiles.append(profile)
    names = ["plate", "well", "perturbation", "replicate", "is_control", "n_cells", "strength", "p_value"]
    table = pd.DataFrame(rows, columns=names)
    matrix = np.array(profiles, float).reshape(len(rows), len(features))
    return pd.concat([table, pd.DataFrame(matrix, columns=features)], axis=1)


def _check(cells: Any, features: list[str], settings: AggregateSettings) -> None:
    wanted = ["plate", "well", settings.perturbation_column, *features]
    wanted += [settings.replicate_column] if settings.replicate_column else []
    faults = []
    if absent := [name for name in wanted if name not in cells.columns]:
        faults.append(Finding(what=f"columns {', '.join(absent)} are absent", where="table of cells"))
    if not features:
        faults.append(
            Finding(
                what="no column measures a cell",
                where="table of cells",
                expected="numeric columns that begin with nucleus_, cell_ or cytoplasm_",
            )
        )
    if {"plate", "well"} <= set(cells.columns) and len(cells[["plate", "well"]].drop_duplicates()) > 1:
        faults.append(Finding(what="cells of several wells", expected="the cells of one well at a time"))
    if faults:
        raise InputError(faults)


def _usable(cells: Any, settings: AggregateSettings) -> Any:
    """Cells with one known perturbation."""
    first = cells[settings.perturbation_column]
    usable = first.notna()
    if settings.replicate_column:
        usable &= cells[settings.replicate_column].notna()
    if settings.second_column and settings.second_column in cells.columns:
        second = cells[settings.second_column]
        usable &= second.isna() | (second == first)
    return cells[usable]


def _runs(codes: NDArray, order: NDArray) -> tuple[NDArray, list[NDArray]]:
    starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]]) if len(codes) else np.empty(0, int)
    return codes[starts], np.split(order, starts[1:]) if len(codes) else []


def _middle(values: NDArray, statistic: str) -> NDArray[np.float64]:
    return _quiet(np.nanmedian if statistic == "median" else np.nanmean, values)


def _strength(profile: NDArray) -> float:
    known = profile[np.isfinite(profile)]
    return float(np.sqrt(np.mean(known**2))) if len(known) else np.nan


class _Draws:
    """Strengths of draws of n control cells; drawn once for each n, whatever is asked for first."""

    def __init__(self, controls: NDArray, settings: AggregateSettings, where: str) -> None:
        # A missing value counts as the median of the controls.
        self.controls = np.nan_to_num(controls[:, ~np.isnan(controls).all(axis=0)])
        self.settings, self.where = settings, where
        self.known: dict[int, NDArray] = {}

    def p_value(self, strength: float, n: int, of_controls: bool) -> float:
        if not self.settings.bootstraps or not np.isfinite(strength):
            return np.nan
        # Half of the controls at most, or every draw would be the same; more cells are no less sure.
        n = min(n, len(self.controls) // 2)
        if n not in self.known:
            self.known[n] = self._drawn(n)
        # Draws from N controls vary by 1/n - 1/N about the middle of the same controls; other cells by
        # 1/n + 1/N, since the middle of the controls is itself uncertain.
        part = n / len(self.controls)
        draws = self.known[n] * (1.0 if of_controls else np.sqrt((1 + part) / (1 - part)))
        return float((1 + (draws >= strength).sum()) / (1 + len(draws)))

    def _drawn(self, n: int) -> NDArray[np.float64]:
        rng = np.random.default_rng([self.settings.seed, n, *self.where.encode()])
        middle = np.median if self.settings.statistic == "median" else np.mean
        strengths = []
        for _ in range(self.settings.bootstraps):
            chosen = self.controls[rng.choice(len(self.controls), n, replace=False, shuffle=False)]
            strengths.append(np.sqrt(np.mean(middle(chosen, axis=0) ** 2)))
        return np.array(strengths)


def combine_profiles(profiles: Any, settings: AggregateSettings | None = None) -> Any:
    """One profile per perturbation, from those of all wells and replicates.

    Parameters
    ----------
    profiles : DataFrame
        Tables of `well_profiles`, concatenated.

    Returns
    -------
    DataFrame
        ``perturbation, is_control, n_profiles, n_wells, n_cells, strength``, ``p_value`` (Fisher's product
        of those of the profiles), ``q_value`` (Benjamini and Hochberg, over all that are no controls), then
        the features: mean or median over the profiles, weighted by their cells.
    """
    import pandas as pd
    from scipy.stats import combine_pvalues, false_discovery_control

    settings = settings or AggregateSettings()
    names = [
        "perturbation",
        "is_control",
        "n_profiles",
        "n_wells",
        "n_cells",
        "strength",
        "p_value",
        "q_value",
    ]
    features = [one for one in profiles.columns if one not in (*names, "plate", "well", "replicate")]
    rows, matrix = [], []
    for name, group in profiles.groupby("perturbation", sort=True):
        values, weights = group[features].to_numpy(float), group["n_cells"].to_numpy(float)
        profile = _weighted_middle(values, weights, settings.statistic)
        known = group["p_value"].dropna().to_numpy()
        rows.append(
            {
                "perturbation": name,
                "is_control": bool(group["is_control"].iloc[0]),
                "n_profiles": len(group),
                "n_wells": len(group[["plate", "well"]].drop_duplicates()),
                "n_cells": int(weights.sum()),
                "strength": _strength(profile),
                "p_value": float(combine_pvalues(known).pvalue) if len(known) else np.nan,
                "q_value": np.nan,
            }
        )
        matrix.append(profile)
    table = pd.DataFrame(rows, columns=names)
    tested = (~table["is_control"].astype(bool) & table["p_value"].notna()).to_numpy(bool)
    if tested.any():
        table.loc[tested, "q_value"] = false_discovery_control(table.loc[tested, "p_value"])
    values = np.array(matrix, float).reshape(len(rows), len(features))
    return pd.concat([table, pd.DataFrame(values, columns=features)], axis=1)


def _weighted_middle(values: NDArray, weights: NDArray, statistic: str) -> NDArray[np.float64]:
    """Weighted mean, or lower weighted median, of each column, without its NaN."""
    weight = np.where(np.isnan(values), 0.0, weights[:, None])
    total = weight.sum(axis=0)
    if statistic == "mean":
        return np.where(
            total > 0, (np.nan_to_num(values) * weight).sum(axis=0) / np.maximum(total, 1e-300), np.nan
        )
    order = np.argsort(values, axis=0, kind="stable")  # NaN last, with weight 0
    risen = np.cumsum(np.take_along_axis(weight, order, axis=0), axis=0)
    at = (risen >= total / 2).argmax(axis=0)
    middle = np.take_along_axis(np.take_along_axis(values, order, axis=0), at[None], axis=0)[0]
    return np.where(total > 0, middle, np.nan)


def mean_average_precision(profiles: Any, settings: AggregateSettings | None = None) -> Any:
    """Whether the profiles of a perturbation find each other among those of controls.

    Each profile ranks the others of its perturbation and all controls by cosine similarity; the average
    precision of its own kind, averaged over the profiles (Kalinin et al. 2025). The p-value is the part of
    random rankings of the same sizes whose mean is as large.

    Returns
    -------
    DataFrame
        ``perturbation, mean_average_precision, map_p_value, map_q_value``; NaN with fewer than two profiles.
    """
    import pandas as pd
    from scipy.stats import false_discovery_control

    settings = settings or AggregateSettings()
    features = [one for one in profiles.columns if _FEATURE.match(str(one))]
    values = np.nan_to_num(profiles[features].to_numpy(float))
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-300)
    control = profiles["is_control"].to_numpy(bool)
    rows = []
    for name, members in profiles[~control].groupby("perturbation", sort=True).indices.items():
        members = np.flatnonzero(~control)[members]
        n, m = len(members), int(control.sum())
        score = p_value = np.nan
        if n > 1 and m > 0:
            own = np.einsum("ik,jk->ij", values[members], values[members])
            others = np.einsum("ik,jk->ij", values[members], values[control])
            precisions = []
            for k in range(n):
                found = np.r_[np.delete(own[k], k), others[k]]
                ranked = np.argsort(-found, kind="stable") < n - 1
                precisions.append(_average_precision(ranked[None])[0])
            score = float(np.mean(precisions))
            if settings.bootstraps:
                rng = np.random.default_rng([settings.seed, n, m])
                ranks = rng.permuted(
                    np.tile(np.arange(n - 1 + m) < n - 1, (settings.bootstraps * n, 1)), axis=1
                )
                null = _average_precision(ranks).reshape(settings.bootstraps, n).mean(axis=1)
                p_value = float((1 + (null >= score).sum()) / (1 + len(null)))
        rows.append({"perturbation": name, "mean_average_precision": score, "map_p_value": p_value})
    table = pd.DataFrame(rows, columns=["perturbation", "mean_average_precision", "map_p_value"])
    known = table["map_p_value"].notna().to_numpy()
    table["map_q_value"] = np.nan
    if known.any():
        table.loc[known, "map_q_value"] = false_discovery_control(table.loc[known, "map_p_value"])
    return table


def _average_precision(hits: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of rankings (n, places), best first: the mean over hits of the precision at each."""
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return (precision * hits).sum(axis=1) / hits.sum(axis=1)


def principal_components(table: Any, share: float = 0.95) -> Any:
    """Components of profiles that hold a share of their variance, as columns ``pc_1`` ... beside the names.

    Features with a missing value are left out. The largest loading of each component is positive.
    """
    import pandas as pd

    if not 0 < share <= 1:
        raise InputError(f"a share of {share} of the variance", expected="above 0, up to 1")
    features = [one for one in table.columns if _FEATURE.match(str(one))]
    values = table[features].to_numpy(float)
    values = values[:, np.isfinite(values).all(axis=0)]
    rest = table.drop(columns=features).reset_index(drop=True)
    if len(values) < 2 or not values.shape[1]:
        return rest
    values = values - values.mean(axis=0)
    left, power, axes = np.linalg.svd(values, full_matrices=False)
    part = np.cumsum(power**2) / max(float((power**2).sum()), 1e-300)
    n = min(int(np.searchsorted(part, share - 1e-12)) + 1, len(power))
    signs = np.sign(axes[np.arange(n), np.abs(axes[:n]).argmax(axis=1)])
    columns = [f"pc_{k + 1}" for k in range(n)]
    return pd.concat([rest, pd.DataFrame(left[:, :n] * power[:n] * signs, columns=columns)], axis=1)


def aggregate_screen(
    wells: Iterable[Any], settings: AggregateSettings | None = None, features: Sequence[str] | None = None
) -> Aggregate:
    """Profiles of all perturbations, from the tables of cells of all wells, one in memory at a time.

    A well that cannot be used is told in `skipped`; where all are, or there are none, that is an error.
    """
    import pandas as pd

    settings = settings or AggregateSettings()
    tables, skipped = [], []
    for cells in wells:
        try:
            tables.append(well_profiles(cells, settings, features))
        except InputError as error:
            known = {name: cells[name].iloc[0] if name in cells.columns and len(cells) else None
                     for name in ("plate", "well")}  # fmt: skip
            skipped.append({**known, "reason": str(error)})
    if not tables:
        reasons = "; ".join(dict.fromkeys(one["reason"] for one in skipped))
        raise InputError("no well can be aggregated", found=reasons or "no wells")
    profiles = pd.concat(tables, ignore_index=True)
    perturbations = combine_profiles(profiles, settings)
    scores = mean_average_precision(profiles, settings)
    merged = perturbations[["perturbation"]].merge(scores, on="perturbation", how="left")
    at = perturbations.columns.get_loc("q_value") + 1
    for k, name in enumerate(scores.columns[1:]):
        perturbations.insert(at + k, name, merged[name].to_numpy())
    return Aggregate(profiles, perturbations, pd.DataFrame(skipped, columns=["plate", "well", "reason"]))
