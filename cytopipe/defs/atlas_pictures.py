"""Pictures and tables that people look at before they read an atlas's files.

They lie beside the files they show, under names no result bears: ``..._groups.png``, ``..._heat_map.png``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.defs.standing_atlases import catalogue_of
from cytopipe.defs.steps import Made
from cytopipe.project import DataSet

if TYPE_CHECKING:
    import pandas

__all__ = ["group_sizes", "heat_maps"]

_TARGETS = 40  # more columns than a screen shows


def group_sizes(data: DataSet, made: Made) -> tuple[pandas.DataFrame, Path, Path]:
    """Quality of a level's groups: the table, the picture of cells against counts, and the table's file."""
    from cytopipe.atlas.qc import group_size_figure, quality_table
    from cytopipe.storage import Store
    from cytopipe.storage.figures import validate_png
    from cytopipe.storage.tables import format_tsv

    entry = data.entry
    quality = quality_table(made.path)
    title = f"{entry.atlas} {entry.level.name}"
    image = group_size_figure(quality, title, min_cells=entry.min_cells, min_counts=entry.min_counts)
    picture = made.path.with_name(f"{made.path.stem}_groups.png")
    table = picture.with_suffix(".tsv")
    store = Store(data.folder)
    store.publish_bytes(table, format_tsv(quality.reset_index()))
    store.publish_bytes(picture, image, validate=validate_png)
    return quality, picture, table


def heat_maps(data: DataSet) -> dict[str, Path]:
    """A heat map of z per signature, groups x the targets that vary most; by file name."""
    from cytopipe.atlas.figures import heat_map
    from cytopipe.atlas.inference import read_activity
    from cytopipe.storage import Store
    from cytopipe.storage.figures import figure_bytes, validate_png

    entry, catalogue, store = data.entry, catalogue_of(data), Store(data.folder)
    pictures = {}
    for name in entry.signatures:
        path = catalogue.activity(entry.atlas, entry.level.name, name)
        z = read_activity(path)
        spread = z.std(axis=0).sort_values(ascending=False, kind="stable")
        shown = z[sorted(spread.index[:_TARGETS])]
        title = f"{entry.atlas} {entry.level.name}: activity of {name}"
        picture = path.with_name(f"{path.stem}_heat_map.png")
        store.publish_bytes(picture, figure_bytes(heat_map(shown, title, label="z")), validate=validate_png)
        pictures[picture.name] = picture
    return pictures
