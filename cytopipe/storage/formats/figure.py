"""Figures that are the same bytes for the same drawing.

In comes a matplotlib figure; out goes PNG, SVG or PDF without dates, random ids or version strings, so that a
figure that did not change has the same digest. What must hold: nothing is drawn with a backend that needs a
display; a PNG we publish can be read to its last pixel.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.errors import InputError
from cytopipe.storage.guard.budget import declared_bytes, require_budget

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure_bytes", "new_figure", "validate_png"]

_METADATA = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": "cytopipe"},
    "pdf": {"CreationDate": None, "Producer": "cytopipe", "Creator": "cytopipe"},
}


def new_figure(width_in: float = 6.4, height_in: float = 4.8) -> Figure:
    """A figure that belongs to nobody's pyplot state and needs no display; sizes in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def figure_bytes(figure: Figure, format: str = "png", *, dpi: float = 150) -> bytes:
    """Render a figure deterministically.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    format : {'png', 'svg', 'pdf'}
    dpi : float
        Pixels per inch; for SVG and PDF only of what is rasterized.
    """
    import matplotlib

    if format not in _METADATA:
        raise InputError(f"no figure format {format!r}", expected=", ".join(_METADATA))
    sink = io.BytesIO()
    settings = {"svg.hashsalt": "cytopipe", "svg.fonttype": "path", "pdf.fonttype": 42}
    with matplotlib.rc_context(settings):
        figure.savefig(sink, format=format, dpi=dpi, metadata=_METADATA[format])
    return sink.getvalue()


def validate_png(path: Path, *, budget: int | None = None) -> None:
    """A validator for :meth:`Store.publish_file`: a PNG of a size that fits, decoded to its last pixel.

    Raises
    ------
    InputError
        Not a PNG, or damaged.
    BudgetError
        It declares more pixels than the budget holds.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG",)) as image:
            needed = declared_bytes((image.width, image.height, len(image.getbands())), 2)
            require_budget(needed, budget, what="the image", where=str(path))
            image.load()
    except Image.DecompressionBombError as error:
        raise InputError(f"is refused: {error}", where=str(path)) from None
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, MemoryError):
            raise
        raise InputError(f"is not a whole PNG: {error}", where=str(path)) from None
