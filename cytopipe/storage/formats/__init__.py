"""Formats of artifacts: one class for each kind, imported where it is used.

`FORMATS` has them by name; each is also an attribute of this module under its name in capitals:
``from cytopipe.storage.formats import H5AD``. Neither imports a library before it is asked for one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from cytopipe.storage.formats.format import DirectoryFormat, FileFormat, Format, SetFormat

__all__ = ["FORMATS", "DirectoryFormat", "FileFormat", "Format", "SetFormat"]

_MODULES = {
    "fasta_set": ".fasta_set",
    "h5ad": ".h5ad",
    "tsv": ".table",
    "parquet": ".table",
    "json": ".document",
    "html": ".html",
    "png": ".figure",
    "svg": ".figure",
    "pdf": ".figure",
    "tiff": ".tiff",
    "tiffs": ".tiffs",
    "ome_zarr": ".ome_zarr",
    "ome_zarr_plate": ".plate",
    "ome_zarrs": ".ome_zarrs",
    # of a domain, which turns its values into bytes itself
    "checkpoint": "cytopipe.heatmap.format",
    "checkpoint_zarr": "cytopipe.heatmap.format",
    "field_pictures": "cytopipe.export.format",
    "gallery_pdf": "cytopipe.export.format",
}


class _Formats(Mapping[str, Format]):
    def __getitem__(self, name: str) -> Format:
        return getattr(import_module(_MODULES[name], __name__), name.upper())

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


FORMATS: Mapping[str, Format] = _Formats()
"""Every format by its name; its module is imported when it is first asked for."""


def __getattr__(name: str) -> Format:
    if name.isupper() and name.lower() in _MODULES:
        return FORMATS[name.lower()]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
