"""Pictures and tables that people look at before they read an atlas's files.

They lie beside the files they show, under names no result bears: ``..._groups.png``, ``..._heat_map.png``.
Each says in its manifest from which content it was drawn, and is drawn again only when that changed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.defs.standing_atlases import CODE, catalogue_of, published
from cytopipe.defs.steps import Made
from cytopipe.errors import StorageError
from cytopipe.project import DataSet
from cytopipe.provenance import Input, Provenance

if TYPE_CHECKING:
    import pandas

__all__ = ["group_sizes", "heat_maps"]

_TARGETS = 40  # more columns than a screen shows


def group_sizes(data: DataSet, made: Made) -> tuple[pandas.DataFrame, Path, Path]:
    """Quality of a level's groups: the table, the picture of cells against counts, and the table's file."""
    from cytopipe.atlas.qc import group_size_figure, quality_table
    from cytopipe.storage.tables import format_tsv

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


def heat_maps(data: DataSet) -> dict[str, Path]:
    """A heat map of z per signature, groups x the targets that vary most; by file name."""
    from cytopipe.atlas.figures import heat_map
    from cytopipe.atlas.inference import read_activity
    from cytopipe.storage.figures import figure_bytes

    entry, catalogue = data.entry, catalogue_of(data)
    pictures = {}
    for name in entry.signatures:
        path = catalogue.activity(entry.atlas, entry.level.name, name)

        def draw(path: Path = path, name: str = name) -> bytes:
            z = read_activity(path)
            spread = z.std(axis=0).sort_values(ascending=False, kind="stable")
            title = f"{entry.atlas} {entry.level.name}: activity of {name}"
            return figure_bytes(heat_map(z[sorted(spread.index[:_TARGETS])], title, label="z"))

        picture = path.with_name(f"{path.stem}_heat_map.png")
        shown = published(data, path)
        _keep(data, picture, path, shown.sha256 if shown else "", draw)
        pictures[picture.name] = picture
    return pictures


def _keep(data: DataSet, path: Path, shows: Path, sha256: str, draw: Callable[[], bytes]) -> None:
    """Publish what `draw` gives, unless what stands was drawn from this very content."""
    from cytopipe.storage import Store
    from cytopipe.storage.figures import validate_png

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
