"""Pictures and tables that people look at before they read an atlas's files.

They lie beside the files they show, under names no result bears: ``..._groups.png``, ``..._heat_map.png``.
Each says in its manifest from which content it was drawn, and is drawn again only when that changed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.defs.standing_atlases import CODE, published
from cytopipe.defs.steps import Made
from cytopipe.errors import StorageError
from cytopipe.project import DataSet
from cytopipe.provenance import Input, Provenance

if TYPE_CHECKING:
    import pandas

__all__ = ["group_sizes", "heat_map"]

_TARGETS = 40  # more columns than a screen shows


def group_sizes(data: DataSet, made: Made) -> tuple[pandas.DataFrame, Path, Path]:
    """Quality of a level's groups: the table, the picture of cells against counts, and the table's file."""
    from cytopipe.atlas.qc import group_size_figure, quality_table
    from cytopipe.storage.formats.table import format_tsv

    entry = data.entry
    quality = quality_table(made.path)
    picture = made.path.with_name(f"{made.path.stem}_groups.png")
    table = picture.with_suffix(".tsv")

    def draw() -> bytes:
        title = f"{entry.atlas} {entry.level.name}"
        return group_size_figure(quality, title, min_cells=entry.min_cells, min_counts=entry.min_counts)

    _keep(data, table, made.path, made.sha256, lambda: format_tsv(quality.reset_index()))
    _keep(data, picture, made.path, made.sha256, draw)
    return quality, picture, table


def heat_map(data: DataSet, made: Made) -> Path:
    """The heat map of a signature's z, groups x the targets that vary most."""
    from cytopipe.atlas import figures
    from cytopipe.atlas.inference import read_activity
    from cytopipe.storage.formats.figure import figure_bytes

    entry = data.entry

    def draw() -> bytes:
        z = read_activity(made.path)
        spread = z.std(axis=0).sort_values(ascending=False, kind="stable")
        title = f"{entry.atlas} {entry.level.name}: activity of {entry.signature}"
        return figure_bytes(figures.heat_map(z[sorted(spread.index[:_TARGETS])], title, label="z"))

    picture = made.path.with_name(f"{made.path.stem}_heat_map.png")
    shown = published(data, made.path)
    _keep(data, picture, made.path, shown.sha256 if shown else "", draw)
    return picture


def _keep(data: DataSet, path: Path, shows: Path, sha256: str, draw: Callable[[], bytes]) -> None:
    """Publish what `draw` gives, unless what stands was drawn from this very content."""
    from cytopipe.storage import Store
    from cytopipe.storage.formats.figure import validate_png

    drawn = Provenance(
        what=f"what {shows.name} looks like",
        parameters={},
        inputs=(Input(path=shows.name, sha256=sha256),),
        code_version=CODE,
    )
    try:
        standing = published(data, path)
        if standing and Provenance.from_json(standing.provenance or {}).recipe() == drawn.recipe():
            return
    except StorageError:
        pass  # damaged: drawn again
    validate = validate_png if path.suffix == ".png" else None
    Store(data.folder).publish_bytes(path, draw(), validate=validate, provenance=drawn)
