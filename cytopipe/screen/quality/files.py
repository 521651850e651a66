"""How quality is kept: tables and figures of one well or plate, side by side in a folder."""

from __future__ import annotations

from cytopipe.storage.formats.files import FilesFormat

__all__ = ["CELLS", "IMAGES", "MONTAGES", "PLATE", "READS"]

IMAGES = FilesFormat(
    "screen_image_quality", ("faults.tsv", "tiles.tsv", "alignment.tsv", "focus.png", "alignment.png")
)
READS = FilesFormat(
    "screen_read_quality",
    (
        "faults.tsv",
        "bases.tsv",
        "base_order.tsv",
        "mapping_by_peak.tsv",
        "mapping_by_quality.tsv",
        "mismatches.tsv",
        "distances.tsv",
        "near_neighbours.tsv",
        "bases.png",
        "mapping_by_peak.png",
        "mapping_by_quality.png",
        "mismatches.png",
        "distances.png",
    ),
)
CELLS = FilesFormat(
    "screen_cell_quality", ("faults.tsv", "tiles.tsv", "cells.png", "reads_mapped.png", "cells_called.png")
)
PLATE = FilesFormat(
    "screen_plate_quality",
    (
        "faults.tsv",
        "wells.tsv",
        "files.tsv",
        "worst_tiles.tsv",
        "cells.png",
        "cells_called.png",
        "reads_mapped.png",
        "focus.png",
        "faults.png",
    ),
)
MONTAGES = FilesFormat("screen_montages", ("cells.tsv", "*.png", "*.tiff"))
