"""cytopipe: every artifact of a cytometry, single-cell, imaging or barcode lab as a traceable asset.

Five domain rooms of one floor plan (`decompose`, `atlas`, `screen`, `heatmap`, `export`), one room for
how bytes reach disk (`storage`), one thin room that speaks Dagster (`defs`). The domains are plain
Python on NumPy values and paths and import no Dagster: use them from a notebook as they are.
"""

__version__ = "0.1.0"
