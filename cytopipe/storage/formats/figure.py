"""Figures that are the same bytes for the same drawing: PNG, SVG and PDF.

No date, random identifier or version is written, so that a figure that did not change has the same digest.
Nothing is drawn with a backend that needs a display.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.errors import InputError
from cytopipe.storage.formats.format import FileFormat
from cytopipe.storage.guard.budget import declared_bytes, require_budget

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PDF", "PNG", "SVG", "FigureFormat", "figure_bytes", "literal", "new_figure", "validate_png"]

_METADATA = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": "cytopipe"},
    "pdf": {"CreationDate": None, "Producer": "cytopipe", "Creator": "cytopipe"},
}


def literal(label: object) -> str:
    """A name as it is, to be drawn: between two dollar signs matplotlib would read TeX."""
    return str(label).replace("$", r"\$")


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
    import warnings

    import matplotlib

    if format not in _METADATA:
        raise InputError(f"no figure format {format!r}", expected=", ".join(_METADATA))
    sink = io.BytesIO()
    settings = {"svg.hashsalt": "cytopipe", "svg.fonttype": "path", "pdf.fonttype": 42}
    _take_text_as_it_is(figure)
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # a letter that no font here has is drawn as a box, which is seen
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(sink, format=format, dpi=dpi, metadata=_METADATA[format])
    return sink.getvalue()


def _take_text_as_it_is(figure: Figure) -> None:
    """Switch TeX off: a name with two dollar signs is no formula. Numbers at axes need it."""
    from matplotlib.category import StrCategoryFormatter
    from matplotlib.text import Text
    from matplotlib.ticker import FixedFormatter

    numbers = {
        id(text)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        if not isinstance(axis.get_major_formatter(), (FixedFormatter, StrCategoryFormatter))
        for text in axis.findobj(Text)
        if text is not axis.label
    }
    for text in figure.findobj(Text):
        if id(text) not in numbers:
            text.set_parse_math(False)


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


class FigureFormat(FileFormat):
    """A figure as a file.

    Parameters
    ----------
    kind : {'png', 'svg', 'pdf'}
        Also the suffix.
    dpi : float
        Pixels per inch.
    """

    def __init__(self, kind: str, dpi: float = 150) -> None:
        if kind not in _METADATA:
            raise InputError(f"no figure format {kind!r}", expected=", ".join(_METADATA))
        self.name, self.suffix, self.kinds, self.dpi = kind, f".{kind}", (kind,), dpi
        self.version = "1" if dpi == 150 else f"1 dpi={dpi:g}"

    def write(self, draft: Path, value: Figure | bytes) -> None:
        """Render a matplotlib figure, or write one that was rendered."""
        data = value if isinstance(value, bytes) else figure_bytes(value, self.name, dpi=self.dpi)
        draft.write_bytes(data)

    def validate(self, draft: Path) -> None:
        """Decode a PNG to its last pixel, parse an SVG, look for both ends of a PDF."""
        if self.name == "png":
            validate_png(draft)
        elif self.name == "svg":
            _validate_svg(draft)
        else:
            data = draft.read_bytes()
            if not (data.startswith(b"%PDF-") and data.rstrip().endswith(b"%%EOF")):
                raise InputError("is not a whole PDF", where=str(draft))

    def read(self, path: Path) -> bytes:
        """The file's bytes."""
        return path.read_bytes()

    def describe(self, path: Path) -> Mapping[str, int | float | str]:
        """Width and height of a PNG in pixels."""
        if self.name != "png":
            return {}
        from PIL import Image

        with Image.open(path, formats=("PNG",)) as image:
            return {"width_px": image.width, "height_px": image.height}


PNG, SVG, PDF = map(FigureFormat, ("png", "svg", "pdf"))


def _validate_svg(path: Path) -> None:
    from xml.etree.ElementTree import ParseError, parse

    try:
        root = parse(path).getroot()
    except ParseError as error:
        raise InputError(f"is not a whole SVG: {error}", where=str(path)) from None
    if not root.tag.endswith("svg"):
        raise InputError("is not an SVG", where=str(path), found=f"<{root.tag}>")
