"""The picture of a heat map: trees, side bars, names and colours; and a small one for lists.

Drawn in the saved order and with the saved colours, in the saved orientation; nothing is computed again. The
picture grows with the number of clusters, so that names can be read.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cytopipe.errors import InputError
from cytopipe.heatmap.one_line import one_line
from cytopipe.heatmap.parameters import RenderSettings
from cytopipe.heatmap.state import MARKERS_BY_CLUSTERS, NOT_REVISED, UNASSIGNED, HeatmapState

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["colour_scale", "draw_heatmap", "render_heatmap", "shade_colours", "thumbnail_of"]

_VLAG = ("#2369bd", "#88aed6", "#e8edf2", "#f7f6f5", "#f3e7e3", "#d38f86", "#a9373b")
_MARKER = 0.24  # inches along the markers for each
_TREE, _BAR, _COUNTS, _GAP = 0.9, 0.18, 0.7, 0.06
_TWICE_FROM = 10.0
_DPI = 150
_LARGEST = 60_000  # pixels: what a PNG of matplotlib can have is 65,535


def render_heatmap(state: HeatmapState, format: str = "png", settings: RenderSettings | None = None) -> bytes:
    """The picture as the bytes of a file, the same for the same state.

    Parameters
    ----------
    state : HeatmapState
    format : {'png', 'svg', 'pdf'}
    settings : RenderSettings, optional

    Raises
    ------
    InputError
        Unknown format, or more clusters than a PNG has room for.
    """
    from cytopipe.storage.formats.figure import figure_bytes

    figure = draw_heatmap(state, settings)
    if format == "png" and max(figure.get_size_inches()) * _DPI > _LARGEST:
        raise InputError(
            "the picture is larger than a PNG can be",
            found=f"{state.n_clusters:,} clusters",
            next="Draw an SVG or a PDF, or leave out the names of clusters.",
        )
    return figure_bytes(figure, format, dpi=_DPI)


def draw_heatmap(state: HeatmapState, settings: RenderSettings | None = None) -> Figure:
    """The picture as a figure of matplotlib, for a notebook; see `render_heatmap`."""
    return _Picture(state, settings or RenderSettings()).draw()


@dataclass(frozen=True)
class _Bar:
    """A strip of colours beside the clusters."""

    title: str
    colours: list[str]


class _Picture:
    """One picture: `u` runs along the markers, `v` along the clusters, in inches; a flip swaps them."""

    def __init__(self, state: HeatmapState, settings: RenderSettings) -> None:
        self.state, self.settings = state, settings
        self.turned = state.orientation == MARKERS_BY_CLUSTERS
        n = state.n_clusters
        self.named = settings.cluster_labels
        self.pitch = (0.15 if n <= 300 else 0.085) if self.named else min(0.15, 12 / n)
        self.bars = list(self._bars()) if settings.side_bars else []
        self.counts = state.n_cells if settings.side_bars else None
        self.row_tree = settings.dendrograms and _fits(state.linkage, state.row_order)
        self.col_tree = settings.dendrograms and _fits(state.col_linkage, state.col_order)
        self.legend = list(self._legend()) if settings.legend else []

    def draw(self) -> Figure:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        state = self.state
        at = _TREE if self.row_tree else 0.0
        tree = (0.0, at)
        strips = [(at := at + _GAP, at := at + _BAR) for _ in self.bars]
        matrix_u = (at := at + _GAP, at := at + max(state.n_markers * _MARKER, 1.0))
        counts = (at := at + _GAP, at := at + _COUNTS) if self.counts is not None else None
        letters = max((len(one_line(one, 32)) for one in state.cluster_ids), default=0) if self.named else 0
        width = at + (0.1 + letters * self.pitch * 0.5 + 0.3 if letters else 0.2)
        top = 0.7 if self.col_tree else 0.0
        long = max(state.n_clusters * self.pitch, 1.2)
        written = 0.1 + max(len(one_line(one, 32)) for one in state.labels) * 0.085
        self.twice = long > _TWICE_FROM  # names of markers on both ends, or they are far from most rows
        start = top + _GAP + (written if self.twice else 0.0)
        matrix_v = (start, start + long)
        height = matrix_v[1] + 0.2 + written

        across, down = (height, width) if self.turned else (width, height)
        names = max((len(name) for name, _ in self.legend), default=0)
        rows = max(1, int((down - 1.2) / 0.17))
        columns = -(-len(self.legend) // rows) if self.legend else 0
        side = max(1.3, columns * (0.45 + 0.075 * min(names, 28)))
        self.margin, self.head = 0.25, 0.75
        self.size = (self.margin + across + side + 0.2, self.head + down + 0.1)
        self.figure = Figure(figsize=self.size)
        FigureCanvasAgg(self.figure)
        self._title()
        self._matrix(matrix_u, matrix_v)
        for bar, place in zip(self.bars, strips, strict=True):
            self._strip(bar, place, matrix_v)
        if self.row_tree:
            self._tree(state.linkage, state.row_order, tree, matrix_v, rows=True)
        if self.col_tree:
            self._tree(state.col_linkage, state.col_order, (0.0, top), matrix_u, rows=False)
        if counts:
            self._cells(counts, matrix_v)
        self._scale(self.margin + across + 0.1)
        self._names(self.margin + across + 0.1, rows)
        return self.figure

    # ------------------------------------------------------------------ geometry

    def axes(self, u: tuple[float, float], v: tuple[float, float]) -> Axes:
        """Axes over a part of the picture, with no frame."""
        (left, right), (top, bottom) = (v, u) if self.turned else (u, v)
        width, height = self.size
        made = self.figure.add_axes(
            (
                (self.margin + left) / width,
                1 - (self.head + bottom) / height,
                (right - left) / width,
                (bottom - top) / height,
            )
        )
        made.set_axis_off()
        return made

    def points(self, u: Sequence[float], v: Sequence[float]) -> list[tuple[float, float]]:
        return list(zip(v, u, strict=True)) if self.turned else list(zip(u, v, strict=True))

    def limits(self, axes: Axes, u: tuple[float, float], v: tuple[float, float]) -> None:
        """Ranges of both directions, running from the left and from the top."""
        x, y = (v, u) if self.turned else (u, v)
        axes.set_xlim(*x)
        axes.set_ylim(y[1], y[0])

    # ------------------------------------------------------------------ parts

    def _title(self) -> None:
        state = self.state
        cells = "" if state.n_cells_total is None else f", {state.n_cells_total:,} cells"
        about = f"{state.n_clusters:,} clusters x {state.n_markers} markers{cells}"
        title = f"{state.step_id}: {state.description}" if state.description else state.step_id
        _, height = self.size
        room = int(self.size[0] / 0.085)
        for line, down, size in ((one_line(title, max(room, 20)), 0.22, 10), (about, 0.42, 8)):
            self.figure.text(
                self.margin / self.size[0],
                1 - down / height,
                line,
                fontsize=size,
                va="center",
                parse_math=False,
            )

    def _matrix(self, u: tuple[float, float], v: tuple[float, float]) -> None:
        state, limit = self.state, self.settings.z_limit
        shown = state.matrix[state.row_order][:, state.col_order]
        axes = self.axes(u, v)
        axes.imshow(
            shown.T if self.turned else shown,
            aspect="auto",
            cmap=colour_scale(self.settings.palette),
            vmin=-limit,
            vmax=limit,
            interpolation="nearest",
        )
        names = [one_line(state.labels[place], 32) for place in state.col_order]
        self._labels(axes, range(len(names)), len(state.row_order) - 0.5, names, 8, along_u=True)
        if self.twice:
            self._labels(axes, range(len(names)), -0.5, names, 8, along_u=True, before=True)
        if self.named:
            far = state.n_markers - 0.5
            if self.counts is not None:
                far += (_GAP + _COUNTS) / (u[1] - u[0]) * state.n_markers
            ids = [one_line(state.cluster_ids[place], 32) for place in state.row_order]
            self._labels(axes, range(len(ids)), far, ids, min(8.0, self.pitch * 72 * 0.72), along_u=False)

    def _labels(
        self,
        axes: Axes,
        places: Sequence[float],
        beside: float,
        names: list[str],
        size: float,
        *,
        along_u: bool,
        before: bool = False,
    ) -> None:
        """Names at places along one direction, after the other direction's `beside`, or before it."""
        upright = along_u != self.turned  # along the picture's width: written upwards
        away = -3 if before else 3
        for place, name in zip(places, names, strict=True):
            axes.annotate(
                name,
                (place, beside) if upright else (beside, place),
                (0, -away) if upright else (away, 0),
                textcoords="offset points",
                annotation_clip=False,
                fontsize=size,
                rotation=90 if upright else 0,
                ha="center" if upright else ("right" if before else "left"),
                va=("bottom" if before else "top") if upright else "center_baseline",
                parse_math=False,
            )

    def _strip(self, bar: _Bar, u: tuple[float, float], v: tuple[float, float]) -> None:
        from matplotlib.colors import to_rgb

        axes = self.axes(u, v)
        shown = np.array([to_rgb(bar.colours[place]) for place in self.state.row_order])
        axes.imshow(shown[None] if self.turned else shown[:, None], aspect="auto", interpolation="nearest")
        self._labels(axes, [0], len(shown) - 0.5, [bar.title], 7, along_u=True)

    def _tree(
        self,
        tree: np.ndarray,
        order: np.ndarray,
        across: tuple[float, float],
        along: tuple[float, float],
        *,
        rows: bool,
    ) -> None:
        from matplotlib.collections import LineCollection

        axes = self.axes(across, along) if rows else self.axes(along, across)
        lines = []
        for place, height in _branches(tree, order):
            lines.append(self.points(height, place) if rows else self.points(place, height))
        axes.add_collection(LineCollection(lines, colors="#444444", linewidths=0.6))
        highest = float(tree[:, 2].max()) * 1.03 or 1.0
        ends, places = (highest, 0.0), (-0.5, len(order) - 0.5)
        self.limits(axes, ends if rows else places, places if rows else ends)
        height = self.state.dendrogram_cut
        if rows and height is not None and 0 < height < highest:
            line = self.points([height, height], list(places))
            axes.add_collection(LineCollection([line], colors="#d62728", linestyles="--", linewidths=0.8))

    def _cells(self, u: tuple[float, float], v: tuple[float, float]) -> None:
        counts = self.counts[self.state.row_order]
        axes = self.axes(u, v)
        places, most = np.arange(len(counts)), max(1, int(counts.max()))
        draw = axes.bar if self.turned else axes.barh
        draw(places, counts, 0.8, color="#8a8a8a")
        self.limits(axes, (0, most), (-0.5, len(counts) - 0.5))
        self._labels(axes, [most / 2], len(counts) - 0.5, [f"cells, to {most:,}"], 7, along_u=True)

    def _scale(self, left: float) -> None:
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        width, height = self.size
        axes = self.figure.add_axes(
            (left / width, 1 - (self.head + 0.3) / height, 1.0 / width, 0.12 / height)
        )
        limit = self.settings.z_limit
        scale = ScalarMappable(Normalize(-limit, limit), colour_scale(self.settings.palette))
        bar = self.figure.colorbar(scale, cax=axes, orientation="horizontal")
        bar.set_ticks([-limit, 0, limit], labels=[f"-{limit:g}", "0", f"{limit:g}"])
        bar.ax.tick_params(labelsize=7, length=2)
        bar.ax.set_title("z-score (SD)", fontsize=7, pad=3)

    def _names(self, left: float, rows: int) -> None:
        from matplotlib.patches import Rectangle

        if not self.legend:
            return
        width, height = self.size
        step = 0.45 + 0.075 * min(max(len(name) for name, _ in self.legend), 28)
        for number, (name, colour) in enumerate(self.legend):
            x = left + number // rows * step
            y = self.head + 0.75 + number % rows * 0.17
            corner = (x / width, 1 - (y + 0.06) / height)
            self.figure.add_artist(Rectangle(corner, 0.12 / width, 0.12 / height, color=colour, linewidth=0))
            self.figure.text(
                (x + 0.18) / width, 1 - y / height, name, fontsize=7, va="center_baseline", parse_math=False
            )

    # ------------------------------------------------------------------ what is told

    def _bars(self) -> Iterator[_Bar]:
        state = self.state
        if state.locked:
            yield _Bar("cut", [state.colour_of(one) for one in state.metacluster])
            yield _Bar(
                "revision",
                ["#ffffff" if one == NOT_REVISED else state.colour_of(one) for one in state.revision],
            )
        yield _Bar("metacluster", [state.colour_of(one) for one in state.label])

    def _legend(self) -> Iterator[tuple[str, str]]:
        for number in sorted(self.state.metaclusters, key=lambda one: (one == UNASSIGNED, one)):
            yield one_line(self.state.name_of(number), 28), self.state.colour_of(number)


def colour_scale(name: str) -> Any:
    """The colours of z-scores from low to high, as a colour map of matplotlib."""
    import matplotlib
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(name, _VLAG) if name == "vlag" else matplotlib.colormaps[name]


# ---------------------------------------------------------------------- trees


def _fits(tree: np.ndarray | None, order: np.ndarray) -> bool:
    """Whether a tree can be drawn over this order without crossing lines."""
    if tree is None or len(tree) < 1:
        return False
    return all(span == count for span, count in _spans(tree, order))


def _spans(tree: np.ndarray, order: np.ndarray) -> Iterator[tuple[int, int]]:
    """For every merge, how many places it spans and how many leaves it has."""
    n = len(order)
    low, high, count = (np.zeros(2 * n - 1, int) for _ in range(3))
    low[order], count[:n] = np.arange(n), 1
    high[:n] = low[:n]
    for at, (one, other) in enumerate(tree[:, :2].astype(int), start=n):
        if not (0 <= one < at and 0 <= other < at):
            yield 0, 1  # no tree
            return
        low[at], high[at] = min(low[one], low[other]), max(high[one], high[other])
        count[at] = count[one] + count[other]
        yield int(high[at] - low[at] + 1), int(count[at])


def _branches(tree: np.ndarray, order: np.ndarray) -> Iterator[tuple[list[float], list[float]]]:
    """Places and heights of the four corners of every merge."""
    n = len(order)
    place, height = np.zeros(2 * n - 1), np.zeros(2 * n - 1)
    place[order] = np.arange(n)
    for at, (one, other, level, _) in enumerate(tree, start=n):
        one, other = int(one), int(other)
        place[at], height[at] = (place[one] + place[other]) / 2, level
        yield [place[one], place[one], place[other], place[other]], [height[one], level, level, height[other]]


# ---------------------------------------------------------------------- the small picture


def thumbnail_of(document: Mapping[str, Any]) -> np.ndarray:
    """The small matrix in a document, as a person sees it: `cytopipe.heatmap.artifact.shades`, (Y, X) uint8.

    Raises
    ------
    InputError
        It is damaged.
    """
    try:
        small = document["thumbnail"]
        rows, columns = map(int, small["shape"])
        values = np.frombuffer(base64.b64decode(small["z"], validate=True), np.uint8).reshape(rows, columns)
        turned = document["view"]["orientation"] == MARKERS_BY_CLUSTERS
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"a thumbnail is damaged: {error}", where="thumbnail") from None
    return values.T if turned else values


def shade_colours() -> np.ndarray:
    """(256, 3) uint8: red, green and blue of every shade."""
    return (colour_scale("vlag")(np.arange(256))[:, :3] * 255).round().astype(np.uint8)
