"""Figures of validation: forest plot, heat map, and scatter plot with intervals.

Each draws a table of `validation`, `expression` or `meta` as a matplotlib figure. The figure needs no
display, and the same table renders to the same bytes. It stays legible: above a maximum number of rows,
those with the strongest evidence are kept, and the title says how many are not shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cytopipe.errors import InputError
from cytopipe.storage.formats.figure import literal, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["forest", "heat_map", "scatter"]

MAX_ROWS = 60
INK, ACCENT, QUIET = "#222222", "#1f6f8b", "#b8b8b8"


def forest(table: pd.DataFrame, title: str = "", *, label: str = "Spearman's rho") -> Figure:
    """Pooled correlations with their 95 % intervals, one row per target, largest first.

    Parameters
    ----------
    table : DataFrame
        target, effect, ci_low, ci_high, n (atlases), i_squared.
    title : str
    label : str
        What the effect is.
    """
    _require(table, ["target", "effect", "ci_low", "ci_high", "n", "i_squared"])
    shown = table.dropna(subset=["effect", "ci_low", "ci_high"])
    shown = shown.sort_values(["effect", "target"], ascending=[False, True], kind="stable")
    dropped = max(len(shown) - MAX_ROWS, 0)
    shown = shown.head(MAX_ROWS).iloc[::-1]
    figure = new_figure(6.4, max(1.6, 0.22 * len(shown) + 1.0))
    axes = figure.add_subplot()
    place = np.arange(len(shown))
    axes.axvline(0, color=QUIET, linewidth=0.8, zorder=0)
    axes.hlines(place, shown["ci_low"], shown["ci_high"], color=INK, linewidth=1.1)
    axes.scatter(shown["effect"], place, s=12 + 6 * shown["n"], marker="s", color=ACCENT, zorder=3)
    axes.set_yticks(place, [literal(name) for name in shown["target"]], fontsize=8)
    axes.set_ylim(-0.7, len(shown) - 0.3)
    axes.set_xlim(-1.02, 1.02)
    axes.set_xlabel(f"{literal(label)}, random effects, 95 % interval", fontsize=8)
    beside = axes.secondary_yaxis("right")
    notes = [f"n={n}, I²={100 * i:.0f} %" for n, i in zip(shown["n"], shown["i_squared"], strict=True)]
    beside.set_yticks(place, notes, fontsize=6, color="#555555")
    beside.tick_params(length=0)
    _finish(axes, title, dropped)
    return figure


def heat_map(
    matrix: pd.DataFrame, title: str = "", *, label: str = "r", limit: float | None = None
) -> Figure:
    """A matrix of signed values in a diverging palette; missing cells stay grey.

    Parameters
    ----------
    matrix : DataFrame
        Rows and columns are named.
    title, label : str
    limit : float, optional
        Value of full colour; the largest magnitude, if left out.
    """
    values = matrix.to_numpy(dtype=float)
    if values.size == 0:
        raise InputError("there is nothing to draw", where=title or "heat map")
    dropped = max(len(matrix) - MAX_ROWS, 0)
    if dropped:  # keep the rows that say most
        strength = np.nan_to_num(np.nanmax(np.abs(np.where(np.isnan(values), 0, values)), axis=1))
        keep = np.sort(np.argsort(-strength, kind="stable")[:MAX_ROWS])
        matrix, values = matrix.iloc[keep], values[keep]
    finite = np.abs(values[np.isfinite(values)])
    bound = limit or (float(finite.max()) if finite.size and finite.max() > 0 else 1.0)
    rows, columns = values.shape
    figure = new_figure(max(3.2, 0.32 * columns + 2.4), max(2.0, 0.2 * rows + 1.6))
    axes = figure.add_subplot()
    axes.set_facecolor("#dddddd")
    image = axes.imshow(
        np.ma.masked_invalid(values),
        cmap="RdBu_r",
        vmin=-bound,
        vmax=bound,
        aspect="auto",
        interpolation="nearest",
    )
    axes.set_xticks(
        np.arange(columns), [literal(name) for name in matrix.columns], rotation=60, ha="right", fontsize=7
    )
    axes.set_yticks(np.arange(rows), [literal(name) for name in matrix.index], fontsize=7)
    bar = figure.colorbar(image, ax=axes, shrink=min(1.0, 4 / max(0.2 * rows + 1.6, 1)))
    bar.set_label(literal(label), fontsize=8)
    _finish(axes, title, dropped)
    return figure


def scatter(points: pd.DataFrame, title: str = "", *, rho: float = float("nan"), ci: tuple = ()) -> Figure:
    """Expression against activity of one target, a point per group with its 2.5-97.5 % intervals.

    Parameters
    ----------
    points : DataFrame
        group, expression, activity, and their _low and _high (missing without resamples).
    title : str
    rho : float, optional
        Spearman's rho, and with `ci` its interval; written into the figure.
    """
    sides = ["expression", "activity"]
    _require(points, ["group", *sides, *(f"{side}_{end}" for side in sides for end in ("low", "high"))])
    shown = points.dropna(subset=sides)
    figure = new_figure(5.2, 4.4)
    axes = figure.add_subplot()
    x, y = shown["expression"].to_numpy(), shown["activity"].to_numpy()
    axes.errorbar(
        x, y, xerr=_reach(shown, "expression"), yerr=_reach(shown, "activity"),
        fmt="none", ecolor=QUIET, elinewidth=0.8, zorder=1,
    )  # fmt: skip
    axes.scatter(x, y, s=18, color=ACCENT, zorder=2)
    if len(shown) <= 40:
        for name, at, height in zip(shown["group"], x, y, strict=True):
            axes.annotate(
                literal(name), (at, height), fontsize=5.5, xytext=(3, 2), textcoords="offset points"
            )
    if np.isfinite(rho):
        interval = f" [{ci[0]:.2f}, {ci[1]:.2f}]" if len(ci) == 2 and np.isfinite(ci).all() else ""
        axes.text(
            0.02,
            0.98,
            f"rho = {rho:.2f}{interval}, n = {len(shown)}",
            transform=axes.transAxes,
            va="top",
            fontsize=8,
        )
    axes.set_xlabel("expression, log1p CPM", fontsize=8)
    axes.set_ylabel("activity, z", fontsize=8)
    _finish(axes, title, 0)
    return figure


def _reach(points: pd.DataFrame, side: str) -> np.ndarray:
    """Distances from a point to the ends of its interval; none where the interval is missing."""
    value = points[side].to_numpy()
    low, high = points[f"{side}_low"].to_numpy(), points[f"{side}_high"].to_numpy()
    # a bootstrap interval need not contain the estimate: a negative reach is drawn as none
    return np.nan_to_num(np.clip([value - low, high - value], 0, None))


def _finish(axes, title: str, dropped: int) -> None:
    if dropped:
        title = f"{title} ({dropped} weaker rows not shown)".strip()
    axes.set_title(literal(title), fontsize=9)
    axes.tick_params(axis="x", labelsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _require(table: pd.DataFrame, columns: list[str]) -> None:
    absent = [name for name in columns if name not in table.columns]
    if absent:
        raise InputError(
            "this table cannot be drawn", expected=", ".join(columns), found=f"without {', '.join(absent)}"
        )
